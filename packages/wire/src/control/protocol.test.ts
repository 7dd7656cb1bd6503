/** Lines are complete for any split of the bytes. */
import fc from "fast-check";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { LineFramer } from "./protocol.js";

describe("LineFramer", () => {
  it("returns the same lines however the bytes are split, even inside a character", () => {
    const lines = fc.array(fc.string({ unit: "grapheme" }).map((s) => s.replaceAll("\n", "")));
    fc.assert(
      fc.property(lines, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (texts, cuts) => {
        const heard: string[] = [];
        const framer = new LineFramer((line) => heard.push(line));
        const bytes = Buffer.from(texts.map((text) => `${text}\n`).join(""));
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const size = cuts[turn % cuts.length] as number;
          const scratch = Buffer.from(bytes.subarray(at, at + size));
          expect(framer.push(scratch)).toBe(true);
          // A runtime may reuse its read buffer.
          scratch.fill(0);
          at += size;
        }
        expect(heard).toEqual(texts.filter((text) => text !== ""));
      }),
    );
  });

  it("accepts a line of exactly the maximum length and rejects one byte more, even in pieces", () => {
    for (const pieces of [[10], [4, 6]]) {
      const heard: string[] = [];
      const framer = new LineFramer((line) => heard.push(line), 10);
      for (const size of pieces) expect(framer.push(Buffer.alloc(size, "a"))).toBe(true);
      expect(framer.push(Buffer.from("\nb\n"))).toBe(true);
      expect(heard).toEqual(["aaaaaaaaaa", "b"]);
      for (const size of pieces) framer.push(Buffer.alloc(size, "a"));
      expect(framer.push(Buffer.from("a"))).toBe(false);
      expect(framer.push(Buffer.from("\nafter\n"))).toBe(false);
      expect(heard).toEqual(["aaaaaaaaaa", "b"]);
    }
  });

  it("returns the lines before one that is too long", () => {
    const heard: string[] = [];
    const framer = new LineFramer((line) => heard.push(line), 4);
    expect(framer.push(Buffer.from("ok\ntoo long\n"))).toBe(false);
    expect(heard).toEqual(["ok"]);
  });

  it("reallocates rarely for a line that arrives byte by byte", () => {
    const heard: string[] = [];
    const framer = new LineFramer((line) => heard.push(line));
    const room = vi.spyOn(Buffer, "allocUnsafe");
    onTestFinished(() => room.mockRestore());
    const byte = Uint8Array.of(97);
    for (let i = 0; i < 100_000; i++) framer.push(byte);
    framer.push(Uint8Array.of(10));
    expect(heard).toEqual(["a".repeat(100_000)]);
    expect(room.mock.calls.length).toBeLessThan(30);
  });
});
