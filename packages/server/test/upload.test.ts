/** Valid and invalid uploads: in pieces, cut off, over a limit; no file remains. */
import { createHash, randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask, eventually, type RuntimeName, type Standalone, startAlone, Wire } from "./harness.js";
import { startOverLane } from "./lane-harness.js";

const cases: [RuntimeName, "tcp" | "lane"][] = [
  ["bun", "tcp"],
  ["bun", "lane"],
  ["node", "tcp"],
  ["node", "lane"],
];

interface Part {
  name: string;
  fileName?: string;
  type?: string;
  value: string | Buffer;
}

const BOUNDARY = "----Boundary7MA4YWxk";

function bodyOf(parts: Part[], boundary = BOUNDARY): Buffer {
  const pieces = parts.flatMap(({ name, fileName, type, value }) => [
    `--${boundary}\r\nContent-Disposition: form-data; name="${name}"`,
    fileName === undefined ? "" : `; filename="${fileName}"`,
    type === undefined ? "" : `\r\nContent-Type: ${type}`,
    "\r\n\r\n",
    value,
    "\r\n",
  ]);
  return Buffer.concat([...pieces, `--${boundary}--\r\n`].map((piece) => Buffer.from(piece)));
}

const sha256 = (value: string | Buffer) => createHash("sha256").update(value).digest("hex");

for (const [runtime, transport] of cases) {
  describe(`uploads on ${runtime} over ${transport}`, () => {
    let server: Standalone;
    let before: { descriptors: number; files: number };
    beforeAll(async () => {
      server = await (transport === "lane"
        ? startOverLane(runtime, "uploads.mjs")
        : startAlone(runtime, "tcp", "uploads.mjs"));
      // The parser is loaded and the folder is created by now.
      await send(bodyOf([{ name: "f", fileName: "a", value: "a" }]));
      before = await state();
    });
    afterAll(async () => {
      const folder = join(tmpdir(), `paceline-uploads-${server?.program.child.pid}`);
      await server?.close();
      rmSync(folder, { recursive: true, force: true });
    });
    const state = async () => JSON.parse((await ask(server.target, "/state")).body);
    const nothingIsLeft = () =>
      eventually("the end of all files", async () =>
        JSON.stringify(await state()) === JSON.stringify(before) ? true : undefined,
      );
    const send = (body: Buffer, path = "/upload", type = `multipart/form-data; boundary=${BOUNDARY}`) =>
      ask(server.target, path, { method: "POST", headers: { "content-type": type }, body });

    it("accepts files and fields, with generated names, readable only by the owner", async () => {
      const bytes = randomBytes(150_000);
      const { status, body } = await send(
        bodyOf([
          { name: "title", value: "caf\u00e9" },
          { name: "photo", fileName: "../../etc/pass\u20acwd", type: "image/png", value: bytes },
          { name: "a%22b", fileName: "x%0D%0Ay.txt", value: "" },
          { name: "title", value: "" },
        ]),
      );
      expect(status).toBe(200);
      const file = { isInFolder: true, mode: 0o600 };
      expect(JSON.parse(body)).toEqual({
        fields: [
          ["title", "caf\u00e9"],
          ["title", ""],
        ],
        files: [
          {
            ...file,
            field: "photo",
            originalName: "../../etc/pass\u20acwd",
            type: "image/png",
            bytes: 150_000,
            sha256: sha256(bytes),
          },
          {
            ...file,
            field: 'a"b',
            originalName: "x\r\ny.txt",
            type: "application/octet-stream",
            bytes: 0,
            sha256: sha256(""),
          },
        ],
      });
      await nothingIsLeft();
    });

    it("does not treat an empty choice as a file", async () => {
      const { body } = await send(bodyOf([{ name: "f", fileName: "", value: "" }]));
      expect(JSON.parse(body)).toEqual({ fields: [], files: [] });
      await nothingIsLeft();
    });

    it("accepts a body in pieces, wherever it is split", async () => {
      // A file full of near-boundaries.
      const tricky = Buffer.from(`\r\n--${BOUNDARY.slice(0, -1)}\r\n--\r\r\n-${BOUNDARY}`.repeat(20));
      const body = bodyOf([
        { name: "a", value: "1" },
        { name: "f", fileName: "f.bin", value: tricky },
        { name: "b", value: "2" },
      ]);
      const head = `POST /upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary="${BOUNDARY}"\r\n`;
      let seed = 7;
      const random = (max: number) => {
        seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
        return 1 + (seed % max);
      };
      await Promise.all(
        [1, 3, 50, 200].map(async (max) => {
          const wire = new Wire(server.target).send(`${head}Transfer-Encoding: chunked\r\n\r\n`);
          for (let at = 0; at < body.length; ) {
            const piece = body.subarray(at, at + random(max));
            at += piece.length;
            wire.send(`${piece.length.toString(16)}\r\n${piece.toString("latin1")}\r\n`);
            await new Promise((resolve) => setImmediate(resolve));
          }
          const response = await wire.send("0\r\n\r\n").closed();
          expect(response).toContain(`"sha256":"${sha256(tricky)}"`);
          expect(response).toContain('[["a","1"],["b","2"]]');
        }),
      );
      await nothingIsLeft();
    });

    const f = (value: string | Buffer, name = "f"): Part => ({ name, fileName: "f", value });
    const field = (value: string, name = "n"): Part => ({ name, value });
    it.each<[string, Part[], number]>([
      ["too-many-files", [f("1"), f("2"), f("3"), f("4")], 413],
      ["too-many-fields", [field("1"), f("x"), field("2"), field("3"), field("4")], 413],
      ["file-too-large", [f("first"), f(Buffer.alloc(200_001))], 413],
      ["field-too-large", [f("first"), field("a".repeat(1001))], 413],
      ["header-too-large", [f("first"), field("1", "n".repeat(600))], 413],
      ["header-too-large", [f("first"), { ...f("x"), fileName: "n".repeat(5000) }], 413],
      ["too-large", [f(Buffer.alloc(190_000)), f(Buffer.alloc(190_000)), f(Buffer.alloc(190_000))], 413],
    ])("rejects what exceeds a limit: %s", async (code, parts, status) => {
      expect(await send(bodyOf(parts))).toMatchObject({ status, body: `${code}\n` });
      await nothingIsLeft();
    });

    it("accepts what is just within the limits", async () => {
      const parts = [f(Buffer.alloc(200_000)), f("2"), f("3"), field("a".repeat(1000)), field("2"), field("3")];
      expect((await send(bodyOf(parts))).status).toBe(200);
      await nothingIsLeft();
    });

    const whole = bodyOf([f("some text"), field("1")]);
    it.each<[string, Buffer]>([
      ["nothing", Buffer.alloc(0)],
      ["no boundary in it", Buffer.from("hello")],
      ["another boundary", bodyOf([f("x")], "other")],
      ["cut in the file", whole.subarray(0, 100)],
      ["cut in a header", whole.subarray(0, 40)],
      ["cut before the last dashes", whole.subarray(0, whole.length - 4)],
      ["cut after the first boundary", Buffer.from(`--${BOUNDARY}\r\n`)],
      ["a part without a header", Buffer.from(`--${BOUNDARY}\r\n--${BOUNDARY}--\r\n`)],
      [
        "a part without a name",
        Buffer.from(`--${BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--${BOUNDARY}--\r\n`),
      ],
      ["a part without a disposition", Buffer.from(`--${BOUNDARY}\r\nA: b\r\n\r\nx\r\n--${BOUNDARY}--\r\n`)],
      [
        "a line that is no field",
        Buffer.from(`--${BOUNDARY}\r\nx\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--${BOUNDARY}--\r\n`),
      ],
    ])("rejects malformed bodies: %s", async (_, body) => {
      expect(await send(body)).toMatchObject({ status: 400, body: "malformed\n" });
      await nothingIsLeft();
    });

    it.each([
      ["text/plain", 415, "not-multipart\n"],
      ["multipart/mixed; boundary=a", 415, "not-multipart\n"],
      ["multipart/form-data", 400, "malformed\n"],
      [`multipart/form-data; boundary=${"a".repeat(71)}`, 400, "malformed\n"],
      ['multipart/form-data; boundary="a\u00e9"', 400, "malformed\n"],
    ])("rejects a body of %s", async (type, status, body) => {
      expect(await send(whole, "/upload", type)).toMatchObject({ status, body });
    });

    it("skips what precedes the first and follows the last boundary", async () => {
      const { status, body } = await send(Buffer.concat([Buffer.from("preamble\r\n"), whole, Buffer.from("epilogue")]));
      expect(status).toBe(200);
      expect(JSON.parse(body).files).toHaveLength(1);
    });

    it("leaves nothing of an upload whose client disconnects", async () => {
      const head = `POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\nContent-Type: multipart/form-data; boundary=${BOUNDARY}\r\n\r\n`;
      const begun = bodyOf([f(Buffer.alloc(150_000, "a"))]).toString("latin1", 0, 100_000);
      const wires = Array.from({ length: 10 }, () => new Wire(server.target).send(head + begun));
      await eventually("the beginning of the files", async () =>
        (await state()).files === before.files + 10 ? true : undefined,
      );
      for (const wire of wires) wire.destroy();
      await nothingIsLeft();
    });

    it("ends an upload that takes too long, and one that cannot be written", async () => {
      const head = `POST /hurry HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\nContent-Type: multipart/form-data; boundary=${BOUNDARY}\r\n\r\n`;
      const wire = new Wire(server.target).send(head + bodyOf([f("x")]).toString("latin1", 0, 120));
      expect(await wire.gets(/too-slow/)).toMatch(/^HTTP\/1\.1 408 /);
      wire.destroy();
      expect((await send(whole, "/nowhere")).status).toBe(500);
      await nothingIsLeft();
    });

    it("removes the files when the handler throws, and keeps them if it has responded", async () => {
      expect((await send(whole, "/fail")).status).toBe(500);
      await nothingIsLeft();
      expect((await send(whole, "/keep")).body).toBe("kept");
      expect((await state()).files).toBe(before.files + 1);
      before.files++;
    });

    it("continues to serve", async () => {
      expect((await send(whole)).status).toBe(200);
      await nothingIsLeft();
    });
  });
}
