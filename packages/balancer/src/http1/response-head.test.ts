import { describe, expect, it } from "vitest";
import { HEAD_INCOMPLETE, HEAD_REFUSED } from "./request-head.js";
import { MAX_RESPONSE_HEAD_BYTES, ResponseHead } from "./response-head.js";

function parse(text: string): { head: ResponseHead; after: number } {
  const head = new ResponseHead();
  const bytes = Buffer.from(text, "latin1");
  return { head, after: head.parse(bytes, 0, bytes.length, false) };
}

describe("a response's head", () => {
  it.each([
    ["HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", true],
    ["HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n", false],
    ["HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", false],
    ["HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false],
    ["HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", false],
    ["HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n", true],
    ["HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n", false],
  ])("%j: kept %s", (text, isKept) => {
    const { head, after } = parse(text);
    expect(after).toBe(text.length);
    expect(head.keepAlive).toBe(isKept);
  });

  it("is rejected with more than 32 options in its Connection fields, over the lane too", () => {
    const lines = (count: number) => `Connection: ${"x,".repeat(count)}\r\n\r\n`;
    for (const [count, isTaken] of [
      [32, true],
      [33, false],
    ] as const) {
      expect(parse(`HTTP/1.1 200 OK\r\n${lines(count)}`).after > 0).toBe(isTaken);
      const bytes = Buffer.from(lines(count));
      expect(new ResponseHead().take(200, 0, bytes, 0, 0, bytes.length, false)).toBe(isTaken);
    }
  });

  it.each([
    ["<", HEAD_REFUSED],
    ["<html>LEAK", HEAD_REFUSED],
    ["HTTP/2 200", HEAD_REFUSED],
    ["HTTP/", HEAD_INCOMPLETE],
    ["HTTP/1.1 200", HEAD_INCOMPLETE],
  ])("that begins with %j is rejected once it cannot be a valid head: %i", (text, result) => {
    expect(parse(text).after).toBe(result);
  });

  it("is rejected beyond its limit even if it arrives in one piece", () => {
    const lines = "HTTP/1.1 200 OK\r\nX: \r\n\r\n".length;
    const withValue = (length: number) => `HTTP/1.1 200 OK\r\nX: ${"a".repeat(length)}\r\n\r\n`;
    expect(parse(withValue(MAX_RESPONSE_HEAD_BYTES - lines)).after).toBe(MAX_RESPONSE_HEAD_BYTES);
    expect(parse(withValue(MAX_RESPONSE_HEAD_BYTES - lines + 1)).after).toBe(HEAD_REFUSED);
  });
});
