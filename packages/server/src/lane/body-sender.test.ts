/** A body from a file is read only as far as the balancer accepts it, and the file is always closed. */
import { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import { FRAME_HEADER_BYTES, FrameType, MAX_DATA_BYTES } from "@paceline/wire/lane/protocol";
import { expect, it, vi } from "vitest";
import type { FileBody } from "../kinds/static/file-body.js";
import { type BodyLane, BodySender } from "./body-sender.js";
import { LaneOutput } from "./lane-output.js";

function open(length: number, failsAt = Number.POSITIVE_INFINITY) {
  const file = {
    remaining: length,
    isClosed: false,
    readInto(target: Uint8Array, position: number, size: number) {
      if (length - file.remaining >= failsAt) throw new Error("it has become shorter");
      const count = Math.min(size, file.remaining);
      target.fill(120, position, position + count);
      file.remaining -= count;
      return count;
    },
    close() {
      file.isClosed = true;
    },
  };
  return file;
}

function sending(file: ReturnType<typeof open> | undefined, window: number) {
  const frames = new FrameBuffer();
  const told: string[] = [];
  const lane: BodyLane = { frames, isFull: false, queue: () => told.push("queued"), flushSoon: () => {} };
  const owner = {
    id: 7,
    trailers: "",
    onBodyEnd: () => told.push("end"),
    failed: () => told.push("failed"),
    onError: () => told.push("error"),
  };
  const sender = new BodySender(lane, owner, window, file?.remaining ?? Number.POSITIVE_INFINITY);
  if (file !== undefined) sender.sendFile(file as unknown as FileBody);
  /** The type and length of each frame so far. */
  const sent = () => {
    const list: [number, number][] = [];
    for (let at = 0; at < frames.length; at += FRAME_HEADER_BYTES + (list.at(-1)?.[1] ?? 0)) {
      list.push([frames.bytes[at + 3] as number, frames.bytes.readUIntLE(at, 3)]);
    }
    return list;
  };
  return { sender, sent, told };
}

it("is read as far as the balancer accepts it, and no further", () => {
  const file = open(200_000);
  const { sender, sent, told } = sending(file, 100_000);
  while (sender.sendSome());
  expect(sent()).toEqual([
    [FrameType.DATA, MAX_DATA_BYTES],
    [FrameType.DATA, 100_000 - MAX_DATA_BYTES],
  ]);
  expect(file.remaining).toBe(100_000);
  sender.onWindow(1_000_000);
  expect(told).toEqual(["queued", "queued"]);
  while (sender.sendSome());
  expect(sent().at(-1)).toEqual([FrameType.END, 100_000 - MAX_DATA_BYTES]);
  expect(told.at(-1)).toBe("end");
});

it("fails when the file fails, after the bytes that were read", () => {
  const { sender, sent, told } = sending(open(200_000, MAX_DATA_BYTES), 1_000_000);
  while (sender.sendSome());
  expect(sent()).toEqual([[FrameType.DATA, MAX_DATA_BYTES]]);
  expect(told.at(-1)).toBe("failed");
});

it("closes the file when nothing more is sent", () => {
  const file = open(200_000);
  const { sender } = sending(file, 10);
  sender.sendSome();
  sender.stop();
  expect(file.isClosed).toBe(true);
  expect(sender.sendSome()).toBe(false);
});

it("joins small blocks of alternating bodies, in their order, before a larger block and before the end", () => {
  const frames = new FrameBuffer();
  const queued: BodySender[] = [];
  const lane: BodyLane = { frames, isFull: false, queue: (sender) => queued.push(sender), flushSoon: () => {} };
  const owner = (id: number) => ({ id, trailers: "", onBodyEnd: () => {}, failed: () => {}, onError: () => {} });
  const ids = [1, 2, 3];
  const senders = ids.map((id) => new BodySender(lane, owner(id), 1 << 20, Number.POSITIVE_INFINITY));
  const expected = new Map(ids.map((id) => [id, ""]));
  const say = (at: number, text: string) => {
    expect(senders[at]?.write(Buffer.from(text))).toBe(true);
    expected.set(at + 1, expected.get(at + 1) + text);
  };
  for (let n = 0; n < 10_000; n++) for (const at of senders.keys()) say(at, String.fromCharCode(97 + (n % 26)));
  for (const at of senders.keys()) say(at, "L".repeat(10_000));
  say(0, "a");
  say(1, "b");
  for (const sender of queued) sender.sendSome();
  for (const sender of senders) sender.endBody();
  const got = new Map<number, string>();
  let count = 0;
  for (let at = 0; at < frames.length; ) {
    const size = frames.bytes.readUIntLE(at, 3);
    const id = frames.bytes.readUInt32LE(at + 4);
    const start = at + FRAME_HEADER_BYTES;
    got.set(id, (got.get(id) ?? "") + frames.bytes.toString("latin1", start, start + size));
    at = start + size;
    count++;
  }
  expect(got).toEqual(expected);
  expect(count).toBeLessThan(30);
});

it("gathers the blocks of a body that is always ready for a moment, and sends them with the next block, or with its end", () => {
  vi.useFakeTimers();
  try {
    const { sender, sent } = sending(undefined, 1_000_000);
    const piece = Buffer.from("x");
    sender.write(piece);
    expect(sent()).toEqual([[FrameType.DATA, 1]]);
    sender.hasten();
    for (let n = 0; n < 5000; n++) sender.write(piece);
    // The buffer was full once.
    expect(sent()).toEqual([[FrameType.DATA, 4097]]);
    vi.advanceTimersByTime(10);
    expect(sent()).toEqual([[FrameType.DATA, 5001]]);
    // The body is no longer flushed immediately.
    sender.write(piece);
    expect(sent()).toEqual([[FrameType.DATA, 5002]]);
    sender.hasten();
    sender.write(piece);
    sender.endBody();
    expect(sent()).toEqual([
      [FrameType.DATA, 5003],
      [FrameType.END, 0],
    ]);
    sender.hasten();
    sender.write(piece);
    sender.stop();
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

it("sends a small body that was created while the lane was full before a thousand large ones have each had a turn", () => {
  const LARGE_BYTES = 100_000;
  /** The lane accepts each write, but is blocked until the next one. */
  const written: number[] = [];
  const socket = {
    isBlocked: false,
    write(bytes: Buffer) {
      for (let at = 0; at < bytes.length; at += FRAME_HEADER_BYTES + bytes.readUIntLE(at, 3))
        written.push(bytes.readUInt32LE(at + 4));
      this.isBlocked = true;
      return false;
    },
  };
  const output = new LaneOutput(socket as never);
  const body = (id: number, bytes: number) => {
    const sender = new BodySender(
      output,
      { id, trailers: "", onBodyEnd: () => {}, failed: () => {}, onError: () => {} },
      1 << 20,
      bytes,
    );
    sender.sendAll(Buffer.alloc(bytes));
  };
  const drain = () => {
    socket.isBlocked = false;
    output.flush();
  };
  for (let id = 1; id <= 1000; id++) body(id, LARGE_BYTES);
  drain();
  const before = written.length;
  body(2000, 13);
  body(2001, 13);
  drain();
  drain();
  // Each small body is followed by a turn of a large one.
  expect(written.slice(before, before + 4).map((id) => id >= 2000)).toEqual([true, false, true, false]);
  // An endless series of small bodies leaves the large ones their turns.
  for (let id = 3000; id < 4000; id++) body(id, 13);
  drain();
  expect(written.slice(before).filter((id) => id >= 2000).length).toBeLessThan(written.length - before);
  // In the end, everything arrives.
  for (let turn = 0; turn < 2000; turn++) drain();
  expect(new Set(written).size).toBe(2002);
});
