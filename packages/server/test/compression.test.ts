/** Compressed responses as a client sees them: on both runtimes, from a standalone server and over the lane. */

import { request as httpRequest } from "node:http";
import * as zlib from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  ask,
  eventually,
  type RuntimeName,
  type Standalone,
  startAlone,
  type Target,
  Wire,
  within,
} from "./harness.js";
import { startOverLane } from "./lane-harness.js";

const LINE = "The quick brown fox jumps over the lazy dog.\n";
const TEXT = LINE.repeat(200);

const cases: [RuntimeName, "tcp" | "lane"][] = [
  ["bun", "tcp"],
  ["bun", "lane"],
  ["node", "tcp"],
  ["node", "lane"],
];

interface Got {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  bytes: Buffer;
}

function get(target: Target, path: string, encoding: string | undefined, method = "GET"): Promise<Got> {
  return within(
    new Promise((resolve, reject) => {
      const where = "path" in target ? { socketPath: target.path } : target;
      const headers = encoding === undefined ? {} : { "accept-encoding": encoding };
      const request = httpRequest({ ...where, path, method, headers, agent: false }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, bytes: Buffer.concat(chunks) }),
        );
      });
      request.on("error", reject);
      request.end();
    }),
    `an answer to ${path}`,
  );
}

function decoded({ headers, bytes }: Got): string {
  switch (headers["content-encoding"]) {
    case "gzip":
      return zlib.gunzipSync(bytes).toString();
    case "br":
      return zlib.brotliDecompressSync(bytes).toString();
    case undefined:
      return bytes.toString();
    default:
      throw new Error(`encoded as ${headers["content-encoding"]}`);
  }
}

for (const [runtime, transport] of cases) {
  describe(`compression on ${runtime} over ${transport}`, () => {
    let server: Standalone;
    beforeAll(async () => {
      server = await (transport === "lane"
        ? startOverLane(runtime, "compressed.mjs")
        : startAlone(runtime, "tcp", "compressed.mjs"));
    });
    afterAll(() => server?.close());
    const fetched = (path: string, encoding?: string, method?: string) => get(server.target, path, encoding, method);

    it.each(["text", "html", "bytes", "blob", "long", "iterable", "cookies", "weak"])(
      "encodes %s, and the client reads what the app wrote",
      async (name) => {
        const plain = await fetched(`/${name}`);
        expect(plain.headers["content-encoding"]).toBeUndefined();
        for (const coding of ["br", "gzip"]) {
          const got = await fetched(`/${name}`, coding);
          expect(got.headers["content-encoding"]).toBe(coding);
          expect(got.bytes.length).toBeLessThan(plain.bytes.length / 4);
          expect(decoded(got)).toBe(plain.bytes.toString());
          expect(got.headers["content-type"]).toBe(plain.headers["content-type"]);
          expect(got.headers["set-cookie"]).toEqual(plain.headers["set-cookie"]);
        }
      },
    );

    it("tells caches what the response depends on, whether it was encoded or not", async () => {
      for (const encoding of [undefined, "br", "identity"]) {
        expect((await fetched("/html", encoding)).headers.vary).toBe("Cookie, Accept-Encoding");
        expect((await fetched("/vary-all", encoding)).headers.vary).toBe("*");
        expect((await fetched("/vary-same", encoding)).headers.vary).toBe("accept-encoding, cookie");
        expect((await fetched("/short", encoding)).headers.vary).toBe("Accept-Encoding");
        expect((await fetched("/picture", encoding)).headers.vary).toBeUndefined();
      }
    });

    it("makes the ETag of an encoded response weak, and removes the original length and ranges", async () => {
      const plain = await fetched("/html");
      expect(plain.headers).toMatchObject({ etag: '"a"', "accept-ranges": "bytes" });
      const { headers, bytes } = await fetched("/html", "gzip");
      expect(headers.etag).toBe('W/"a"');
      expect(headers["accept-ranges"]).toBeUndefined();
      expect(headers["content-length"]).toBe(String(bytes.length));
      expect((await fetched("/weak", "gzip")).headers.etag).toBe('W/"a"');
    });

    it("keeps status and other fields", async () => {
      const { status, headers } = await fetched("/json", "br");
      expect(status).toBe(201);
      expect(headers["content-type"]).toMatch(/^application\/json/);
    });

    it.each([
      ["short", 200],
      ["picture", 200],
      ["encoded", 200],
      ["no-transform", 200],
      ["partial", 206],
      ["digest", 200],
      ["nothing", 204],
      ["not-modified", 304],
      ["random", 200],
    ])("leaves %s alone", async (name, status) => {
      const got = await fetched(`/${name}`, "br, gzip");
      expect(got.status).toBe(status);
      expect(got.headers["content-encoding"]).toBe(name === "encoded" ? "x-own" : undefined);
      if (name === "not-modified") expect(got.headers.etag).toBe('"a"');
    });

    it("does not change the response to HEAD", async () => {
      const got = await fetched("/html", "gzip", "HEAD");
      expect(got.headers).toMatchObject({ etag: '"a"' });
      expect(got.headers["content-encoding"]).toBeUndefined();
      expect(got.bytes.length).toBe(0);
    });

    it.each([
      ["gzip;q=0.5, br;q=0.9", "br"],
      ["gzip;q=1, br;q=0.1", "gzip"],
      ["gzip;q=0, zstd;q=0, *;q=0.1", "br"],
      ["br;q=0, gzip;q=0", undefined],
      ["", undefined],
      ["identity", undefined],
      ["deflate", undefined],
      ["identity;q=1, br;q=0.5", undefined],
      ["identity;q=0, br;q=0.5", "br"],
      ["GZIP", "gzip"],
      ["gzip;q=x", undefined],
      [";;;,=", undefined],
    ])("chooses by Accept-Encoding: %j", async (encoding, expected) => {
      expect((await fetched("/html", encoding)).headers["content-encoding"]).toBe(expected);
    });

    if (runtime === "bun")
      it("prefers zstd for a complete body, and br for one that arrives block by block", async () => {
        const whole = await fetched("/html", "gzip, br, zstd");
        expect(whole.headers["content-encoding"]).toBe("zstd");
        expect(whole.bytes.readUInt32LE(0)).toBe(0xfd2fb528);
        expect((await fetched("/long", "gzip, zstd, br")).headers["content-encoding"]).toBe("br");
        expect((await fetched("/long", "zstd")).bytes.readUInt32LE(0)).toBe(0xfd2fb528);
      });

    it("encodes what it would not encode otherwise, for a client that accepts nothing else", async () => {
      expect((await fetched("/short", "gzip, identity;q=0")).headers["content-encoding"]).toBe("gzip");
      expect((await fetched("/picture", "gzip, *;q=0")).headers["content-encoding"]).toBe("gzip");
    });

    it.each(["br", "gzip"])("sends each event with %s when it comes, the head before the first", async (coding) => {
      const name = `?${coding}`;
      const open = httpRequest({ ...(server.target as object), path: `/events${name}`, agent: false });
      open.setHeader("accept-encoding", coding);
      let text = "";
      const response = await within(
        new Promise<import("node:http").IncomingMessage>((resolve) => open.on("response", resolve).end()),
        "the head",
      );
      expect(response.headers["content-encoding"]).toBe(coding);
      response.pipe(coding === "br" ? zlib.createBrotliDecompress() : zlib.createGunzip()).on("data", (piece) => {
        text += piece;
      });
      for (let n = 0; n < 3; n++) {
        await eventually(`event ${n} in ${text}`, () => text.endsWith(`data: ${n}\n\n`) || undefined);
        await eventually("the gate", async () =>
          (await ask(server.target, `/go${name}`)).body === "true" ? true : undefined,
        );
      }
      await within(new Promise((resolve) => response.on("end", resolve)), "the end");
      expect(text).toBe("data: 0\n\ndata: 1\n\ndata: 2\n\n");
    });

    it("reads no more of a source than a slow client reads, and stops it when the client disconnects", async () => {
      const produced = async () => Number((await ask(server.target, "/produced")).body);
      const count = (text: string) => server.program.output.filter((line) => line === text).length;
      const before = { begun: count("# endless began"), cancelled: count("# stream cancelled") };
      const wires = Array.from({ length: 3 }, () => {
        const wire = new Wire(server.target);
        wire.pause();
        wire.send("GET /endless HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
        return wire;
      });
      await eventually("all three to begin", () => count("# endless began") === before.begun + 3 || undefined);
      // The socket buffers of both sides fill; after that nothing moves while the server handles other requests.
      const stood = { at: -1, looks: 0 };
      await eventually("a stop of the sources", async () => {
        const now = await produced();
        stood.looks = now === stood.at ? stood.looks + 1 : 0;
        stood.at = now;
        return stood.looks > 5 || undefined;
      });
      for (const wire of wires) wire.destroy();
      await eventually(
        "the cancelling of all three",
        () => count("# stream cancelled") === before.cancelled + 3 || undefined,
      );
      // Their memory is free again: there is room for four more.
      const next = await Promise.all(Array.from({ length: 4 }, () => fetched("/long", "gzip")));
      expect(next.map(({ headers }) => headers["content-encoding"])).toEqual(Array(4).fill("gzip"));
    });

    it("does not encode a response while too many are compressed block by block", async () => {
      const names = [0, 1, 2, 3].map((n) => `?room${n}`);
      const wires = names.map((name) =>
        new Wire(server.target).send(`GET /events${name} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n`),
      );
      for (const wire of wires) await wire.gets(/content-encoding: gzip/i);
      const got = await fetched("/long", "gzip");
      expect(got.headers).toMatchObject({ vary: "Accept-Encoding" });
      expect(got.headers["content-encoding"]).toBeUndefined();
      // A body in memory needs no room.
      expect((await fetched("/html", "gzip")).headers["content-encoding"]).toBe("gzip");
      for (const wire of wires) wire.destroy();
      await eventually("room", async () =>
        (await fetched("/long", "gzip")).headers["content-encoding"] === "gzip" ? true : undefined,
      );
    });

    it("cuts off a response whose body fails", async () => {
      await expect(fetched("/fails-midway", "gzip")).rejects.toThrow();
      expect(decoded(await fetched("/text", "gzip"))).toBe(TEXT);
    });
  });
}
