import fc from "fast-check";
import { expect, it } from "vitest";
import { FakeConnection } from "../../test/support/fake-transport.js";
import { BodyReader } from "./body-framing.js";
import { HeadWriter } from "./head-writer.js";
import { ResponseHead } from "./response-head.js";

/** Returns a reader's result for these bytes, and the number of pieces. */
function read(bytes: Buffer): { body: Buffer; pieces: number } {
  const reader = new BodyReader();
  reader.begin("chunked", 0);
  const pieces: Buffer[] = [];
  const after = reader.read(bytes, 0, bytes.length, {
    onBody: (from, start, end) => void pieces.push(Buffer.from(from.subarray(start, end))),
  });
  expect([after, reader.isComplete]).toEqual([bytes.length, true]);
  return { body: Buffer.concat(pieces), pieces: pieces.length };
}

it("joins small pieces of a chunked body into one chunk, and keeps every byte of both connections", () => {
  const size = fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 1, max: 20 }) }, fc.integer({ min: 1, max: 40_000 }));
  const step = fc.record({ size, to: fc.nat(1), isFlushed: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const writer = new HeadWriter(16_384, { now: 0 });
      const connections = [new FakeConnection(), new FakeConnection()] as const;
      const told: [Buffer[], Buffer[]] = [[], []];
      let next = 0;
      for (const { size, to, isFlushed } of steps) {
        const connection = connections[to] as FakeConnection;
        const piece = Buffer.from(Uint8Array.from({ length: size }, () => next++ % 251));
        (told[to] as Buffer[]).push(piece);
        writer.chunk(connection, piece, 0, size);
        if (isFlushed) writer.flush(connection);
      }
      for (const [at, connection] of connections.entries()) {
        writer.lastChunk(connection);
        writer.flush(connection);
        expect(read(connection.take()).body.equals(Buffer.concat(told[at] as Buffer[]))).toBe(true);
      }
    }),
    { numRuns: 100 },
  );
  const connection = new FakeConnection();
  const writer = new HeadWriter(16_384, { now: 0 });
  for (let i = 0; i < 60_000; i++) writer.chunk(connection, Buffer.from("x"), 0, 1);
  writer.lastChunk(connection);
  writer.flush(connection);
  const { body, pieces } = read(connection.take());
  expect(body.length).toBe(60_000);
  expect(pieces).toBeLessThan(4);
});

it("lets the kernel gather lines and large pieces until the flush, and needs no such call for small ones", () => {
  const calls: string[] = [];
  class Corkable extends FakeConnection {
    cork(): void {
      calls.push("cork");
    }
    uncork(): void {
      calls.push("uncork");
    }
    override write(bytes: Uint8Array): boolean {
      calls.push(bytes.length < 100 ? "line" : "piece");
      return super.write(bytes);
    }
    override writeTransient(bytes: Uint8Array, length: number, isLast = false): boolean {
      if (isLast) calls.push("last");
      return super.writeTransient(bytes, length);
    }
  }
  const connection = new Corkable();
  const writer = new HeadWriter(16_384, { now: 0 });
  const large = Buffer.alloc(20_000);
  const flushed = () => {
    writer.flush(connection);
    return calls.splice(0).join(" ");
  };
  writer.chunk(connection, Buffer.from("a"), 0, 1);
  expect(flushed()).toBe("line");
  writer.chunk(connection, large, 0, large.length);
  writer.chunk(connection, large, 0, large.length);
  expect(flushed()).toBe("cork line piece line piece line uncork");
  writer.body(connection, large, 0, large.length);
  expect(flushed()).toBe("piece");
  writer.chunk(connection, large, 0, large.length);
  writer.chunk(new FakeConnection(), large, 0, large.length);
  expect(calls.splice(0).join(" ")).toBe("cork line piece line uncork");
  // The FIN that follows makes the kernel send what it has gathered.
  writer.chunk(connection, large, 0, large.length);
  writer.flush(connection, true);
  expect(calls.splice(0).join(" ")).toBe("cork line piece last line");
});

it("writes each forwarded field as one line of `name: value`, however it arrived", () => {
  const name = fc.constantFrom("a", "x-b", "Connection", "Set-Cookie", "upgrade", "keep-alive");
  const space = fc.constantFrom("", " ", "  ", "\t", " \t ");
  const field = fc.record({ name, before: space, value: fc.constantFrom("", "v", "a b"), after: space });
  fc.assert(
    fc.property(fc.array(field, { maxLength: 8 }), (fields) => {
      const lines = fields.map(({ name, before, value, after }) => `${name}:${before}${value}${after}\r\n`);
      const bytes = Buffer.from(`HTTP/1.1 200 Fine\r\n${lines.join("")}content-length: 0\r\n\r\n`);
      const head = new ResponseHead();
      expect(head.parse(bytes, 0, bytes.length, false)).toBe(bytes.length);
      const writer = new HeadWriter(16_384, { now: 0 });
      const connection = new FakeConnection();
      writer.response(connection, head, "none", true, 1);
      writer.flush(connection);
      const passing = fields.filter(({ name }) => !["Connection", "upgrade", "keep-alive"].includes(name));
      const written = passing.map(({ name, value }) => `${name}: ${value}\r\n`).join("");
      const [before, after = ""] = connection
        .take()
        .toString()
        .split(/Date: .*\r\n/);
      expect(before + after).toBe(`HTTP/1.1 200 Fine\r\n${written}Content-Length: 0\r\n\r\n`);
    }),
  );
});
