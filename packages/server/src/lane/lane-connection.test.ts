/** A lane whose balancer sends requests and does not read. */

import type { StreamSocket } from "@paceline/wire";
import { expect, it } from "vitest";
import { DEFAULT_LIMITS } from "../shared/limits.js";
import { LaneConnection } from "./lane-connection.js";

class FakeSocket implements StreamSocket {
  isBlocked = false;
  isPaused = false;
  waitingBytes = 0;
  written = 0;

  /** The kernel accepts the first write, and nothing more until it `drains`. */
  write(bytes: Uint8Array): boolean {
    this.written += bytes.length;
    this.isBlocked = true;
    return false;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  keepAlive(): void {}

  end(): void {}
  destroy(): void {}
}

const frame = (type: number, payload: number[]) => Buffer.from([payload.length, 0, 0, type, 0, 0, 0, 0, ...payload]);
const HELLO = frame(1, [...Buffer.from("PCLN"), 3, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
const PINGS = Buffer.concat(Array.from({ length: 5000 }, () => frame(14, [1, 0, 0, 0])));

it("is not read while a megabyte waits for the balancer, and is read again when the balancer has read that", () => {
  const socket = new FakeSocket();
  const services = {
    load: () => Promise.resolve(),
    limits: DEFAULT_LIMITS,
    active: () => 0,
    isLeaving: () => false,
    onError: (error: unknown) => expect.fail(String(error)),
    onRead: () => {},
    onGone: () => {},
  };
  const lane = new LaneConnection(socket, services, 0);
  lane.onData(HELLO);
  let reads = 0;
  while (!socket.isPaused && reads < 1000) {
    lane.onData(PINGS);
    reads++;
  }
  expect(socket.isPaused).toBe(true);
  expect(reads * PINGS.length).toBeLessThan(1_500_000);
  // The delayed output is sent in one write; nothing else is queued.
  socket.isBlocked = false;
  lane.onDrain();
  expect(socket.written).toBeGreaterThan(1_000_000);
  expect(socket.isPaused).toBe(false);
});
