/** Compressors: the output of each operation, and how many run at once. */
import zlib from "node:zlib";
import type { Coding } from "@paceline/wire/content-coding";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RequestHead } from "../http1/request-head.js";
import { ResponseHead } from "../http1/response-head.js";
import { Compression } from "./compression.js";
import { COMPRESSORS, workingCodings } from "./compressors.js";

const RULE = { minBytes: 1024, maxStreams: 2, secrets: false };

/** Returns what a client can read of a body that is not complete yet. */
function readable(coding: Coding, bytes: Uint8Array): string {
  const { Z_SYNC_FLUSH, BROTLI_OPERATION_FLUSH } = zlib.constants;
  const { zstdDecompressSync } = zlib as typeof zlib & {
    zstdDecompressSync(bytes: Uint8Array, options: object): Buffer;
  };
  switch (coding) {
    case "gzip":
      return zlib.gunzipSync(bytes, { finishFlush: Z_SYNC_FLUSH }).toString("latin1");
    case "br":
      return zlib.brotliDecompressSync(bytes, { finishFlush: BROTLI_OPERATION_FLUSH }).toString("latin1");
    case "zstd":
      return zstdDecompressSync(bytes, { finishFlush: 1 }).toString("latin1");
  }
}

it("has br and gzip on every runtime, and zstd where node:zlib has it", () => {
  const hasZstd = "createZstdCompress" in zlib;
  expect(workingCodings()).toEqual(hasZstd ? ["zstd", "br", "gzip"] : ["br", "gzip"]);
});

describe.each(workingCodings())("%s", (coding) => {
  it("after each flush, everything that was written can be read", () => {
    const compressor = COMPRESSORS[coding]();
    let sent = Buffer.alloc(0);
    let written = "";
    for (const piece of ["data: 1\n\n", "data: 2\n\n", "x".repeat(100_000)]) {
      written += piece;
      sent = Buffer.concat([sent, compressor.write(Buffer.from(piece), "more")]);
      sent = Buffer.concat([sent, compressor.write(Buffer.alloc(0), "flush")]);
      expect(readable(coding, sent)).toBe(written);
    }
    compressor.close();
  });

  it("has no bytes of an earlier body, whether that body was finished or dropped", () => {
    const bodies = ["first ", "dropped ", "second ", "third "].map((word) => Buffer.from(word.repeat(500)));
    const coded = bodies.map((body, at) => {
      const compressor = COMPRESSORS[coding]();
      const out = [compressor.write(body, "more")];
      if (at !== 1) out.push(compressor.write(Buffer.alloc(0), "end"));
      compressor.close();
      return Buffer.concat(out);
    });
    for (const at of [0, 2, 3]) expect(readable(coding, coded[at] as Buffer)).toBe(bodies[at]?.toString());
  });

  it("returns any body in any pieces, and does not change what it has returned", () => {
    const pieces = fc.array(
      fc.tuple(fc.uint8Array({ maxLength: 20_000 }), fc.integer({ min: 1, max: 5 }), fc.boolean()),
      { maxLength: 8 },
    );
    fc.assert(
      fc.property(pieces, (list) => {
        const compressor = COMPRESSORS[coding]();
        const out: Uint8Array[] = [];
        const into: Uint8Array[] = [];
        for (const [bytes, times, isFlushed] of list) {
          const piece = Buffer.concat(Array.from({ length: times }, () => bytes));
          into.push(piece);
          out.push(compressor.write(piece, "more"));
          if (isFlushed) out.push(compressor.write(Buffer.alloc(0), "flush"));
        }
        out.push(compressor.write(Buffer.alloc(0), "end"));
        compressor.close();
        expect(readable(coding, Buffer.concat(out))).toBe(Buffer.concat(into).toString("latin1"));
      }),
      { numRuns: 30 },
    );
  });
});

describe("a pool's compression", () => {
  const asked = (accepted: string) => {
    const head = new RequestHead({ maxHeadBytes: 8192, maxHeaderFields: 100, maxBodyBytes: 1 });
    const bytes = Buffer.from(`GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: ${accepted}\r\n\r\n`);
    head.parse(bytes, 0, bytes.length);
    return head;
  };
  const html = () => {
    const head = new ResponseHead();
    const bytes = Buffer.from("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9999\r\n\r\n");
    head.parse(bytes, 0, bytes.length, false);
    return head;
  };
  const apply = (compression: Compression, accepted = "gzip", head = html()) => ({
    body: compression.apply(head, asked(accepted), false),
    added: Buffer.from(head.added ?? []).toString(),
  });

  it("runs a limited number of compressors at once, and another one when one is finished or dropped", () => {
    const compression = new Compression(RULE, () => {});
    const [first, second] = [apply(compression).body, apply(compression).body];
    expect(apply(compression)).toEqual({ body: undefined, added: "Vary: Accept-Encoding\r\n" });
    first?.end();
    first?.close();
    const third = apply(compression).body;
    expect(third).toBeDefined();
    expect(apply(compression).body).toBeUndefined();
    second?.close();
    expect(apply(compression).body).toBeDefined();
    expect(second?.write(Buffer.from("a"), 0, 1)).toHaveLength(0);
  });

  it("says on a 304, too, that the response varies", () => {
    const head = new ResponseHead();
    const bytes = Buffer.from('HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n');
    head.parse(bytes, 0, bytes.length, false);
    expect(apply(new Compression(RULE, () => {}), "gzip", head)).toEqual({
      body: undefined,
      added: "Vary: Accept-Encoding\r\n",
    });
  });

  it("counts the output, and flushes only if something was written", () => {
    const { body } = apply(new Compression(RULE, () => {}));
    const text = Buffer.from("..hello..");
    const out = [body?.write(text, 2, 7), body?.flush(), body?.flush(), body?.end()].map((each) => each ?? text);
    expect(readable("gzip", Buffer.concat(out.slice(0, 2)))).toBe("hello");
    expect(out[2]).toHaveLength(0);
    expect(zlib.gunzipSync(Buffer.concat(out)).toString()).toBe("hello");
    expect(body?.bytes).toBe(Buffer.concat(out).length);
  });

  it("ends a body of known length with its last piece", () => {
    const { body } = apply(new Compression(RULE, () => {}));
    const text = Buffer.alloc(9999, "a");
    const out = [body?.write(text, 0, 5000), body?.flush(), body?.write(text, 5000, 9999)].map((each) => each ?? text);
    expect(zlib.gunzipSync(Buffer.concat(out)).equals(text)).toBe(true);
    expect([body?.flush(), body?.end()]).toEqual([new Uint8Array(0), new Uint8Array(0)]);
    expect([body?.bytes, body?.takeBatch(), body?.takeBatch()]).toEqual([Buffer.concat(out).length, 9999, 0]);
  });

  it("has the configured types and codings, and reports which of them the runtime does not have", () => {
    const told: string[] = [];
    const types = ["Application/X-Own", "text/*", "*+json"];
    const compression = new Compression({ ...RULE, codings: ["gzip", "lzma"], types }, (line) => void told.push(line));
    expect(told).toEqual(["compress: this runtime has no lzma"]);
    expect(apply(compression, "br").body).toBeUndefined();
    const isTaken = (type: string) => {
      const head = new ResponseHead();
      const bytes = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: 9999\r\n\r\n`);
      head.parse(bytes, 0, bytes.length, false);
      const { body } = apply(compression, "gzip", head);
      body?.close();
      return body !== undefined;
    };
    const all = ["application/x-own; a=b", "text/css", "a/b+JSON", "application/json", "textual/x", "a/b+jsonx"];
    expect(all.map(isTaken)).toEqual([true, true, true, false, false, false]);
  });

  it("stays as it is while the snapshot has the same rule", () => {
    const compression = new Compression(RULE, () => {});
    expect([{ ...RULE }, { ...RULE, minBytes: 1 }, undefined].map((rule) => compression.isFrom(rule))).toEqual([
      ...[true, false, false],
    ]);
  });
});
