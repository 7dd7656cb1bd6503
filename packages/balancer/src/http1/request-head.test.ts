import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HEAD_INCOMPLETE, HEAD_REFUSED, RequestHead } from "./request-head.js";

const LIMITS = { maxHeadBytes: 8192, maxHeaderFields: 50, maxBodyBytes: 1_000_000 };

function parse(text: string): { head: RequestHead; after: number } {
  const head = new RequestHead(LIMITS);
  const bytes = Buffer.from(text, "latin1");
  return { head, after: head.parse(bytes, 0, bytes.length) };
}

const textOf = (head: RequestHead, start: number, end: number) =>
  Buffer.from(head.bytes).toString("latin1", start, end);

describe("a request's head", () => {
  it.each([
    ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", { framing: "none", keepAlive: true, minorVersion: 1 }],
    ["GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", { keepAlive: false }],
    ["GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n", { keepAlive: false }],
    ["GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", { keepAlive: false }],
    ["GET / HTTP/1.0\r\n\r\n", { keepAlive: false, minorVersion: 0 }],
    [`GET / HTTP/1.1\r\nHost: a\r\nConnection: ${"x,".repeat(31)} close\r\n\r\n`, { keepAlive: false }],
    ["GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", { keepAlive: true }],
    ["GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", { keepAlive: false }],
    ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", { framing: "length", contentLength: 12 }],
    ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", { framing: "none" }],
    ["POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n", { framing: "chunked" }],
    ["GET / HTTP/1.1\r\nHost:\r\n\r\n", { framing: "none" }],
    ["\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", { method: "GET" }],
    ["PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", { method: "PROPFIND", isIdempotent: true }],
    ["PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", { method: "PATCH", isIdempotent: false }],
    ["OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", { method: "OPTIONS" }],
    ["GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", { isUpgrade: true }],
    ["GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", { isUpgrade: false }],
    ["GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", { isUpgrade: false }],
    ["GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: a, h2c\r\n\r\n", { isUpgrade: false }],
    [
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n",
      { isUpgrade: false, framing: "length" },
    ],
    // Connection cannot remove fields that are needed for framing and routing.
    [
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length, host\r\nContent-Length: 5\r\n\r\n",
      { framing: "length", contentLength: 5 },
    ],
  ])("%j", (text, expected) => {
    const { head, after } = parse(text);
    expect(after).toBe(text.length);
    expect(head).toMatchObject(expected);
  });

  it.each([
    ["http://B.example:8/x?y", "B.example:8", "/x?y"],
    ["http://B.example?y/z", "B.example", "?y/z"],
    ["https://b", "b", ""],
    ["HTTP://b/", "b", "/"],
  ])("reads host and target from %s, whatever Host says", (target, host, path) => {
    const { head } = parse(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect(textOf(head, head.hostStart, head.hostEnd)).toBe(host);
    expect(textOf(head, head.targetStart, head.targetEnd)).toBe(path);
  });

  it("needs more bytes for every beginning of a valid head, and for nothing else", () => {
    const text = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX:  y \r\n\r\n";
    for (let length = 0; length < text.length; length++) {
      expect(parse(text.slice(0, length)).after, JSON.stringify(text.slice(0, length))).toBe(HEAD_INCOMPLETE);
    }
    expect(parse(`${text}more`).after).toBe(text.length);
  });

  it("never reads past the end, and never accepts a head whose lines do not end with CRLF", () => {
    const alphabet = fc.constantFrom(
      "GET ",
      "/",
      " HTTP/1.1",
      "\r\n",
      "\n",
      "\r",
      "Host: a",
      ":",
      " ",
      "\t",
      "X",
      "\0",
    );
    fc.assert(
      fc.property(fc.array(alphabet, { maxLength: 14 }), (parts) => {
        const text = parts.join("");
        const { after } = parse(text);
        expect([HEAD_INCOMPLETE, HEAD_REFUSED].includes(after) || after <= text.length).toBe(true);
        if (after < 0) return;
        expect(text.slice(0, after)).toMatch(/^(\r\n)?GET \/\S* HTTP\/1\.1\r\n([^\s:]+:[^\r\n\0]*\r\n)+\r\n$/);
      }),
      { numRuns: 3000 },
    );
  });

  it("percent-encodes non-ASCII characters in the target, and counts the encoded length", () => {
    const raw = (count: number) => `GET /${"\xc3".repeat(count)}?\xff HTTP/1.1\r\nHost: a\r\n\r\n`;
    const { head, after } = parse(raw(2000));
    expect(after).toBe(raw(2000).length);
    const target = Buffer.from(head.target).toString("latin1", head.targetStart, head.targetEnd);
    expect(target).toBe(`/${"%C3".repeat(2000)}?%FF`);
    const long = parse(raw(2800));
    expect([long.after, long.head.refusal]).toEqual([HEAD_REFUSED, 414]);
    const text = raw(2720);
    const later = parse(text.replace("Host: a", "Host: a\r\nX: 1"));
    expect([later.after, later.head.refusal]).toEqual([HEAD_REFUSED, 431]);
    // The next parsed head contains nothing of it.
    expect(parse("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").head.targetEnd).toBe(6);
  });
});
