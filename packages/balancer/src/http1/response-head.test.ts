import { describe, expect, it } from "vitest";
import { FieldKind } from "./field-table.js";
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

describe("a head from the lane", () => {
  const linesOf = (text: string) => Buffer.from(text.replaceAll("\n", "\r\n"), "latin1");
  const shown = (head: ResponseHead) => ({
    hasDate: head.hasDate,
    fields: Array.from({ length: head.fields.count }, (_, i) => [
      Buffer.from(head.bytes.subarray(head.fields.nameStart(i), head.fields.nameEnd(i))).toString("latin1"),
      head.fields.value(i),
      head.fields.kinds[i],
    ]),
  });
  /** Takes the lines after `before` other bytes, and after a reason. */
  const take = (head: ResponseHead, text: string, before = "", reason = "") => {
    const lines = linesOf(text);
    const bytes = Buffer.concat([Buffer.from(before + reason), lines, Buffer.from("more")]);
    const start = before.length + reason.length;
    return head.take(200, 0, bytes, before.length, start, start + lines.length, false);
  };
  const alone = (text: string) => {
    const head = new ResponseHead();
    return take(head, text) ? shown(head) : "refused";
  };
  const HEADS = [
    "a: 1\nset-cookie: b=2\n\n",
    "a: 1\nset-cookie: b=3\n\n",
    "date: now\nconnection: x-hop\nx-hop: 1\n\n",
    "a: 1\nset-cookie: b=2\n\n\n",
    "a: 1\nset-cookie : b=2\n\n",
    "\n",
    `a: ${"1".repeat(2000)}\n\n`,
    `${"a: 1\n".repeat(40)}\n`,
  ];

  it("has the same fields whatever heads came before it, at any position, with a reason or without", () => {
    const head = new ResponseHead();
    const order = HEADS.flatMap((first) => HEADS.flatMap((second) => [first, first, second, first, second]));
    for (const [i, text] of order.entries()) {
      const isTaken = take(head, text, "x".repeat(i % 3), i % 7 === 0 ? "Fine" : "");
      expect(isTaken ? shown(head) : "refused").toEqual(alone(text));
      // Others mark fields that are not forwarded, such as the name of a file.
      if (isTaken) head.fields.kinds.fill(FieldKind.HOP, 0, head.fields.count);
    }
  });

  it("has the same fields after a head in HTTP/1.1", () => {
    const head = new ResponseHead();
    const [text] = HEADS as [string];
    const other = Buffer.from("HTTP/1.1 200 OK\r\nxyz: 12345678\r\nab: 1\r\n\r\n");
    for (let time = 0; time < 3; time++) {
      expect(take(head, text)).toBe(true);
      expect(shown(head)).toEqual(alone(text));
      expect(head.parse(other, 0, other.length, false)).toBe(other.length);
    }
  });
});
