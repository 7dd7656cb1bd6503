import {
  isCompressibleType,
  STREAM_ORDER,
  varyWithEncoding,
  WHOLE_ORDER,
  weakTag,
} from "@paceline/wire/content-coding";
import fc from "fast-check";
import Negotiator from "negotiator";
import { describe, expect, it } from "vitest";
import { type Coding, chooser } from "./codings.js";
import { mayBeEncoded } from "./compression.js";

const choose = chooser(["br", "zstd", "gzip"]);

describe("the choice of a coding", () => {
  it.each([
    [null, undefined, undefined, false],
    ["gzip", "gzip", "gzip", false],
    ["gzip, deflate, br, zstd", "zstd", "br", false],
    ["*", "zstd", "br", false],
    ["*;q=0", undefined, undefined, false],
    ["identity;q=0", undefined, undefined, false],
    ["identity;q=0, gzip;q=0.001", "gzip", "gzip", true],
    ["gzip, *;q=0", "gzip", "gzip", true],
  ])("%j", (value, whole, stream, mustEncode) => {
    expect(choose(value)).toEqual({ whole, stream, mustEncode });
  });

  it("follows the client: the highest weight that is not refused, in any order of the elements", () => {
    const weights = fc.record({
      br: fc.integer({ min: 0, max: 1000 }),
      zstd: fc.integer({ min: 0, max: 1000 }),
      gzip: fc.integer({ min: 0, max: 1000 }),
      identity: fc.integer({ min: 1, max: 1000 }),
    });
    const shuffle = fc.shuffledSubarray(["br", "zstd", "gzip", "identity"] as const, { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(weights, shuffle, (thousandths, order) => {
        const value = order.map((name) => `${name};q=${(thousandths[name] / 1000).toFixed(3)}`).join(", ");
        const { whole, stream, mustEncode } = choose(value);
        expect(mustEncode).toBe(false);
        for (const [chosen, preferred] of [
          [whole, WHOLE_ORDER],
          [stream, STREAM_ORDER],
        ] as const) {
          const best = Math.max(...Object.values(thousandths));
          const expected = preferred.find((name) => thousandths[name] === best);
          expect(chosen).toBe(expected);
        }
      }),
    );
  });

  it("is what negotiator chooses", () => {
    const names = ["br", "zstd", "gzip", "identity", "*"] as const;
    const items = fc
      .shuffledSubarray([...names])
      .chain((list) =>
        fc.tuple(...list.map((name) => fc.constantFrom("", ";q=0", ";q=0.5", ";q=0.001", ";q=1").map((q) => name + q))),
      );
    fc.assert(
      fc.property(items, (list) => {
        const value = list.join(", ");
        const accepted = (preferred: readonly string[]): string[] => {
          const asked = new Negotiator({ headers: { "accept-encoding": value } }) as unknown as {
            // The type declarations lack the last parameter.
            encodings(available: readonly string[], options: { preferred: readonly string[] }): string[];
          };
          return asked.encodings(["br", "zstd", "gzip", "identity"], { preferred });
        };
        const first = (order: readonly string[]) => accepted(order).find((_, at) => at === 0);
        const choice = choose(value);
        expect(choice.whole ?? "identity").toBe(first(WHOLE_ORDER) ?? "identity");
        expect(choice.stream ?? "identity").toBe(first(STREAM_ORDER) ?? "identity");
        expect(choice.mustEncode).toBe(choice.whole !== undefined && !accepted(WHOLE_ORDER).includes("identity"));
      }),
      { numRuns: 500 },
    );
  });

  it("accepts any text, and chooses nothing that is not available", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), (value) => {
        const none = chooser([])(value);
        expect(none).toEqual({ whole: undefined, stream: undefined, mustEncode: false });
        const one = chooser(["gzip"])(value).whole;
        expect([undefined, "gzip" satisfies Coding]).toContain(one);
      }),
    );
  });
});

describe("what may be compressed", () => {
  it.each([
    ["text/html; charset=utf-8", true],
    ["TEXT/EVENT-STREAM", true],
    ["application/json", true],
    ["application/problem+json", true],
    ["image/svg+xml", true],
    ["application/wasm", true],
    ["image/png", false],
    ["video/mp4", false],
    ["application/zip", false],
    ["application/octet-stream", false],
    ["font/woff2", false],
    ["", false],
    ["text", false],
  ])("%s: %s", (type, expected) => {
    expect(isCompressibleType(type)).toBe(expected);
  });

  it.each([
    ["private,No-Transform", false],
    ["no-transform=1", true],
    ["max-age=1", true],
  ])("Cache-Control: %s: %s", (value, expected) => {
    expect(mayBeEncoded("GET", 200, new Headers({ "cache-control": value }))).toBe(expected);
  });

  it.each([
    [null, "Accept-Encoding"],
    ["", "Accept-Encoding"],
    ["Origin", "Origin, Accept-Encoding"],
    ["origin, ACCEPT-ENCODING", undefined],
    ["a, *", undefined],
  ])("Vary: %s becomes %s", (vary, expected) => {
    expect(varyWithEncoding(vary)).toBe(expected);
  });

  it("makes a strong ETag weak, and leaves a weak one", () => {
    expect([weakTag('"a"'), weakTag('W/"a"')]).toEqual(['W/"a"', 'W/"a"']);
  });
});
