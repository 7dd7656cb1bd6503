/** A request's body is delivered unchanged, and small pieces are joined. */
import { REQUEST_WINDOW_BYTES } from "@paceline/wire/lane/protocol";
import fc from "fast-check";
import { expect, it, onTestFinished, vi } from "vitest";
import { RequestBody } from "./request-body.js";

const bytesOf = async (body: RequestBody) => {
  const pieces: Uint8Array[] = [];
  for await (const piece of body.stream()) pieces.push(piece);
  return pieces;
};

it("is complete, in one piece and as a stream, whatever pieces it arrives in", async () => {
  const sizes = fc.array(fc.oneof(fc.constant(1), fc.nat(9000), fc.constant(70_000)), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(sizes, fc.boolean(), async (sizes, isStreamed) => {
      const body = new RequestBody(() => {});
      const pieces = sizes.map((size, at) => Buffer.alloc(size, 97 + at));
      for (const piece of pieces) body.add(piece, 0, piece.length);
      body.finish();
      const got = isStreamed ? Buffer.concat(await bytesOf(body)) : Buffer.from(body.takeWhole() as Uint8Array);
      expect(got.equals(Buffer.concat(pieces))).toBe(true);
    }),
    { numRuns: 60 },
  );
});

it("gets a new window as it is read, piece by piece as it arrives", async () => {
  const granted: number[] = [];
  const body = new RequestBody((bytes) => granted.push(bytes));
  const reader = body.stream().getReader();
  const first = reader.read();
  body.add(Buffer.from("a"), 0, 1);
  expect(Buffer.from((await first).value as Uint8Array).toString()).toBe("a");
  body.add(Buffer.alloc(65_536), 0, 65_536);
  await reader.read();
  expect(granted).toEqual([65_537]);
});

it("keeps pieces of one byte in few buffers, and a piece of a much larger read in a separate buffer", async () => {
  const body = new RequestBody(() => {});
  const byte = Buffer.from("x");
  for (let i = 0; i < 200_000; i++) body.add(byte, 0, 1);
  const read = Buffer.alloc(500_000);
  body.add(read, 1000, 6000);
  body.finish();
  const pieces = await bytesOf(body);
  expect(pieces.length).toBeLessThan(8);
  const kept = pieces.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  expect(kept).toBeLessThan(2 * 205_000);
});

it("gets a new window, although little was read, if the app waits for more", async () => {
  const granted: number[] = [];
  const body = new RequestBody((bytes) => granted.push(bytes));
  const reader = body.stream().getReader();
  for (const size of [5000, 6000]) {
    body.add(Buffer.alloc(size), 0, size);
    await reader.read();
  }
  // The first piece is reported immediately.
  expect(granted).toEqual([5000]);
  const next = reader.read();
  await Promise.resolve();
  expect(granted).toEqual([5000, 6000]);
  body.finish();
  await next;
});

it("is granted anew by the quarter of a window once a whole one was, unless the lane is crowded", async () => {
  const granted: number[] = [];
  let isCrowded = false;
  const body = new RequestBody(
    (bytes) => granted.push(bytes),
    () => {},
    () => isCrowded,
  );
  const reader = body.stream().getReader();
  let next = reader.read();
  const read = async (pieces: number) => {
    granted.length = 0;
    for (let piece = 0; piece < pieces; piece++) {
      body.add(Buffer.alloc(32_768), 0, 32_768);
      await next;
      next = reader.read();
      await Promise.resolve();
    }
    return granted;
  };
  expect(await read(REQUEST_WINDOW_BYTES / 32_768)).toHaveLength(32);
  expect(await read(12)).toEqual([262_144]);
  isCrowded = true;
  // By the lane, when it becomes crowded.
  body.grantStarved();
  expect(granted).toEqual([262_144, 131_072]);
  expect(await read(2)).toEqual([32_768, 32_768]);
  body.finish();
  await next;
});

it("returns the window of unread bytes when it fails, and nothing else", async () => {
  const body = new RequestBody(() => {});
  const read = Buffer.allocUnsafeSlow(100_000).fill("x");
  const reader = body.stream().getReader();
  for (let at = 0; at < 100_000; at += 10_000) body.add(read, at, at + 10_000);
  const { value } = await reader.read();
  const pieces = [...(body as unknown as { pieces: Uint8Array[] }).pieces];
  body.fail(new Error("gone"));
  await expect(reader.read()).rejects.toThrow("gone");
  expect(value).toHaveLength(10_000);
  expect(read).toHaveLength(100_000);
  expect(pieces.map(({ length }) => length)).toEqual(Array.from({ length: 9 }, () => 0));
});

it("gets new windows often enough for the balancer to see that a slow app reads: a piece of 20 KB every 20 s", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const granted: number[] = [];
  const body = new RequestBody((bytes) => granted.push(bytes));
  const reader = body.stream().getReader();
  for (let i = 0; i < 5; i++) body.add(Buffer.alloc(20_000), 0, 20_000);
  for (let i = 0; i < 4; i++) {
    await reader.read();
    vi.advanceTimersByTime(20_000);
  }
  expect(granted).toEqual([20_000, 20_000, 20_000, 20_000]);
});
