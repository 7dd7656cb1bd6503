import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CHUNK_LINES } from "../../../wire/test/support/chunk-lines.js";
import { BODY_MALFORMED, BODY_TOO_LARGE, BodyReader } from "./body-framing.js";

/** Reads a body from the given pieces; returns its data, and the bytes after it. */
function readIn(
  pieces: Buffer[],
  begin: (reader: BodyReader) => void,
): { data: string; rest: string; verdict: number } {
  const reader = new BodyReader();
  begin(reader);
  let data = "";
  let rest = "";
  for (const piece of pieces) {
    if (reader.isComplete) {
      rest += piece.toString("latin1");
      continue;
    }
    const after = reader.read(piece, 0, piece.length, {
      onBody: (bytes, start, end) => {
        data += Buffer.from(bytes.subarray(start, end)).toString("latin1");
      },
    });
    if (after < 0) return { data, rest, verdict: after };
    rest += piece.subarray(after).toString("latin1");
  }
  return { data, rest, verdict: reader.isComplete ? 1 : 0 };
}

/** Cuts bytes at these offsets. */
function cut(bytes: Buffer, places: number[]): Buffer[] {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  // Each piece is in a separate buffer, as with reads: the parser may move bytes in it.
  return [...at, bytes.length].map((end, i) => Buffer.from(bytes.subarray(at[i - 1] ?? 0, end)));
}

const chunkedBody = fc
  .array(
    fc.tuple(fc.string({ minLength: 1, maxLength: 40 }), fc.constantFrom("", ";x=y", ";a", " ;a=b", "\t \t; a = b")),
    { maxLength: 6 },
  )
  .map((chunks) => {
    const data = chunks.map(([text]) => Buffer.from(text).toString("latin1"));
    const framed = data.map((text, i) => `${text.length.toString(16)}${chunks[i]?.[1]}\r\n${text}\r\n`);
    return { data: data.join(""), framed: `${framed.join("")}0\r\nTrailer: x\r\n\r\n` };
  });

describe("chunked", () => {
  it("returns the same data however the bytes are split, and leaves what follows", () => {
    fc.assert(
      fc.property(chunkedBody, fc.array(fc.nat(), { maxLength: 12 }), ({ data, framed }, places) => {
        const pieces = cut(Buffer.from(`${framed}GET /next`, "latin1"), places);
        const read = readIn(pieces, (reader) => reader.begin("chunked", 0));
        expect(read).toEqual({ data, rest: "GET /next", verdict: 1 });
      }),
    );
  });

  it.each([
    ["none", 100_000, "", 1, "whole"],
    ["short ones", 100_000, ";a=b", 1, "whole"],
    ["those of large chunks", 1000, `;${"e".repeat(200)}`, 200, "whole"],
    ["long ones of small chunks", 1000, `;${"e".repeat(200)}`, 1, "malformed"],
  ])("may have extensions in proportion to its data: %s", (_, count, extension, size, verdict) => {
    const chunk = `${size.toString(16)}${extension}\r\n${"x".repeat(size)}\r\n`;
    const pieces = [Buffer.from(`${chunk.repeat(count)}0\r\n\r\n`)];
    const read = readIn(pieces, (reader) => reader.begin("chunked", 0));
    expect(read.verdict).toBe(verdict === "whole" ? 1 : BODY_MALFORMED);
  });

  it.each([
    [false, "", undefined],
    [true, "", undefined],
    [true, "A: 1\r\nb:\r\n", "A: 1\r\nb:\r\n"],
    [false, "A: 1\r\n", undefined],
  ])("keeps trailers if it should (%j): %j", (keepsTrailers, section, trailers) => {
    const reader = new BodyReader();
    reader.keepsTrailers = keepsTrailers;
    for (let round = 0; round < 2; round++) {
      const bytes = Buffer.from(`1\r\nx\r\n0\r\n${section}\r\n`);
      reader.begin("chunked", 0);
      for (let at = 0; at < bytes.length; at++) reader.read(bytes, at, at + 1, { onBody: () => {} });
      expect(reader.isComplete).toBe(true);
      const kept = reader.takeTrailers();
      expect(kept && Buffer.from(kept).toString()).toBe(trailers);
      expect(reader.trailerBytes).toBe(0);
    }
    reader.begin("none", 0);
    expect(reader.takeTrailers()).toBeUndefined();
  });

  it("returns the data of small chunks of one read as one piece, and a large chunk in place", () => {
    const large = "L".repeat(5000);
    const bytes = Buffer.from(
      `${"1\r\nx\r\n".repeat(10_000)}1388\r\n${large}\r\n2\r\nyz\r\n1\r\n!\r\n0\r\n\r\n`,
      "latin1",
    );
    const reader = new BodyReader();
    reader.begin("chunked", 0);
    const pieces: string[] = [];
    reader.read(bytes, 0, bytes.length, {
      onBody: (from, start, end) => void pieces.push(Buffer.from(from.subarray(start, end)).toString("latin1")),
    });
    expect(pieces).toEqual(["x".repeat(10_000), large, "yz!"]);
  });

  it.each([
    [true, `X: ${"a".repeat(9000)}\r\n\r\n`],
    [false, `X: ${"a".repeat(9000)}\r\n\r\n`],
    [true, `${"X: a\r\n".repeat(33)}\r\n`],
  ])("drops trailers that are too large or too many if told to, kept (%s) or not", (keepsTrailers, section) => {
    const begin = (dropsLargeTrailers: boolean) => (reader: BodyReader) => {
      reader.keepsTrailers = keepsTrailers;
      reader.dropsLargeTrailers = dropsLargeTrailers;
      reader.begin("chunked", 0);
    };
    const bytes = Buffer.from(`2\r\nok\r\n0\r\n${section}next`);
    expect(readIn([bytes], begin(true))).toEqual({ data: "ok", rest: "next", verdict: 1 });
    expect(readIn([bytes], begin(false)).verdict).toBe(BODY_MALFORMED);
    const endless = Buffer.from(`0\r\nX: ${"a".repeat(1 << 20)}`);
    expect(readIn([endless], begin(true)).verdict).toBe(BODY_MALFORMED);
    const reader = new BodyReader();
    begin(true)(reader);
    reader.read(bytes, 0, bytes.length, { onBody() {} });
    expect(reader.takeTrailers()).toBeUndefined();
  });

  it.each([
    ["\r\n", 1],
    ["\r", 0],
    ["b", 0],
    [": 1\r\n\r\n", BODY_MALFORMED],
    ["b 1\r\n\r\n", BODY_MALFORMED],
    ["b: \0\r\n\r\n", BODY_MALFORMED],
    ["b: 1\n\r\n", BODY_MALFORMED],
    ["b: 1\r\r\n", BODY_MALFORMED],
    ["\r\n", BODY_MALFORMED, (1 << 20) / 8],
  ])("reads too many trailers, and then %j, however they are split", (last, verdict, count = 40) => {
    const bytes = Buffer.from(`2\r\nok\r\n0\r\n${"Abc:\td\xff\r\n".repeat(count)}${last}`, "latin1");
    for (const step of [3, 300, bytes.length]) {
      const pieces: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += step) pieces.push(bytes.subarray(at, at + step));
      const readers: BodyReader[] = [];
      const result = readIn(pieces, (reader) => {
        reader.keepsTrailers = reader.dropsLargeTrailers = true;
        reader.begin("chunked", 0);
        readers.push(reader);
      });
      expect(result).toMatchObject({ data: "ok", verdict });
      expect(readers[0]?.takeTrailers()).toBeUndefined();
    }
  });

  it("keeps incomplete trailers in one buffer of about their size", () => {
    const bytes = Buffer.from(`0\r\n${`X: ${"a".repeat(245)}\r\n`.repeat(32)}\r\n`);
    for (const step of [1, 700, bytes.length - 1]) {
      const reader = new BodyReader();
      reader.keepsTrailers = true;
      reader.begin("chunked", 0);
      for (let at = 0; at < bytes.length - 1; at += step)
        reader.read(bytes, at, Math.min(at + step, bytes.length - 1), { onBody() {} });
      expect(reader.trailerBytes).toBeLessThanOrEqual(8192);
      reader.read(bytes, bytes.length - 1, bytes.length, { onBody() {} });
      expect(Buffer.from(reader.takeTrailers() ?? []).equals(bytes.subarray(3, -2))).toBe(true);
    }
  });

  it("returns the same verdict on invalid bytes however they are split", () => {
    fc.assert(
      fc.property(
        chunkedBody,
        fc.nat(),
        fc.nat(255),
        fc.array(fc.nat(), { maxLength: 8 }),
        ({ framed }, at, byte, places) => {
          const bytes = Buffer.from(framed, "latin1");
          bytes[at % bytes.length] = byte;
          const begin = (reader: BodyReader) => reader.begin("chunked", 0);
          const whole = readIn(cut(bytes, []), begin);
          const pieces = readIn(cut(bytes, places), begin);
          expect(pieces.verdict).toBe(whole.verdict);
          expect(pieces.data).toBe(whole.data);
        },
      ),
    );
  });

  it("rejects a body beyond its limit before its data", () => {
    const begin = (reader: BodyReader) => reader.begin("chunked", 0, 7);
    expect(readIn([Buffer.from("5\r\nhello\r\n3\r\n")], begin)).toEqual({
      data: "hello",
      rest: "",
      verdict: BODY_TOO_LARGE,
    });
  });

  it.each(CHUNK_LINES)("limits a chunk's line: %s", (_, body, isTaken) => {
    const { verdict } = readIn([Buffer.from(body)], (reader) => reader.begin("chunked", 0));
    expect(verdict).toBe(isTaken ? 1 : BODY_MALFORMED);
  });
});

describe("length and close", () => {
  it("takes as many bytes as announced, and leaves what follows", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.array(fc.nat(), { maxLength: 6 }), (text, places) => {
        const data = Buffer.from(text);
        const pieces = cut(Buffer.concat([data, Buffer.from("next")]), places);
        const read = readIn(pieces, (reader) => reader.begin("length", data.length));
        expect(read).toEqual({ data: data.toString("latin1"), rest: "next", verdict: 1 });
      }),
    );
  });

  it("takes everything until the close, and is never complete by itself", () => {
    const read = readIn([Buffer.from("a"), Buffer.from("b")], (reader) => reader.begin("close", 0));
    expect(read).toEqual({ data: "ab", rest: "", verdict: 0 });
  });
});
