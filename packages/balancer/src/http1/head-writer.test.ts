import fc from "fast-check";
import { expect, it } from "vitest";
import { FakeConnection } from "../../test/support/fake-transport.js";
import { BodyReader } from "./body-framing.js";
import { HeadWriter } from "./head-writer.js";

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

it("puts small pieces of a chunked body into one chunk, and keeps every byte of both connections", () => {
  const size = fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 1, max: 20 }) }, fc.integer({ min: 1, max: 40_000 }));
  const step = fc.record({ size, to: fc.nat(1), isFlushed: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const writer = new HeadWriter(16_384);
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
  const writer = new HeadWriter(16_384);
  for (let i = 0; i < 60_000; i++) writer.chunk(connection, Buffer.from("x"), 0, 1);
  writer.lastChunk(connection);
  writer.flush(connection);
  const { body, pieces } = read(connection.take());
  expect(body.length).toBe(60_000);
  expect(pieces).toBeLessThan(4);
});
