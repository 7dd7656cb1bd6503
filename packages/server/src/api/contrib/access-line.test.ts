import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AccessEntry, accessLine } from "./access-line.js";

const entry: AccessEntry = {
  timeMs: Date.UTC(2026, 0, 5, 3, 4, 5),
  clientAddress: "192.0.2.1",
  protocol: "https",
  httpVersion: "1.1",
  host: "shop.example",
  method: "GET",
  target: "/a?b=c",
  status: 200,
  bytes: 12,
  durationMs: 1.23456,
  outcome: "whole",
  requestId: "r1",
  referer: undefined,
  userAgent: 'x"y\\z',
};

describe("a line of the access log", () => {
  it("has the format of Apache and nginx", () => {
    expect(accessLine("combined", entry)).toBe(
      '192.0.2.1 - - [05/Jan/2026:03:04:05 +0000] "GET /a?b=c HTTP/1.1" 200 12 "-" "x\\x22y\\x5Cz"\n',
    );
    const aborted = accessLine("combined", { ...entry, outcome: "aborted", bytes: undefined, clientAddress: "" });
    expect(aborted).toMatch(/^- - - .* 499 - "-"/);
  });

  it("is a JSON object", () => {
    expect(JSON.parse(accessLine("json", entry))).toEqual({
      time: "2026-01-05T03:04:05.000Z",
      clientAddress: "192.0.2.1",
      protocol: "https",
      httpVersion: "1.1",
      host: "shop.example",
      method: "GET",
      target: "/a?b=c",
      status: 200,
      bytes: 12,
      durationMs: 1.235,
      outcome: "whole",
      requestId: "r1",
      userAgent: 'x"y\\z',
    });
  });

  it("is one line of printable ASCII with every field in its place, whatever a client sends", () => {
    const text = fc.string({ unit: "binary", maxLength: 40 });
    const bytes = fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 40 });
    const latin1 = bytes.map((codes) => String.fromCharCode(...codes));
    const hostile = fc.oneof(
      text,
      latin1,
      fc.constant('" 200 0 "-" "-"\n192.0.2.9 - - ['),
      fc.constant("\u001b[2J\u009b1m"),
    );
    fc.assert(
      fc.property(hostile, hostile, hostile, hostile, (clientAddress, target, referer, userAgent) => {
        const made = { ...entry, clientAddress, target, referer, userAgent, requestId: target };
        const combined = accessLine("combined", made);
        expect(combined).toMatch(/^[\x20-\x7e]+\n$/);
        expect(combined).toMatch(/^[^ ]+ - - \[[^\]"]+\] "[^"]*" \d+ \d+ "[^"]*" "[^"]*"\n$/);
        const json = accessLine("json", made);
        expect(json).toMatch(/^[\x20-\x7e]+\n$/);
        expect(JSON.parse(json)).toMatchObject({ clientAddress, target, referer, userAgent });
      }),
    );
  });
});
