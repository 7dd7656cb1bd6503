import { EventEmitter } from "node:events";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { UpstreamWaits } from "../kinds/proxy/upstream.js";
import { BodyWaits } from "./body-watch.js";
import { SendWatch } from "./node-watches.js";

const TIMEOUT_MS = 5000;
const PAUSE_MS = 70_000;

let pausedMs = 0;

/** Pauses the process for that long: its clock continues, and its timers do not. */
function pause(): void {
  pausedMs += PAUSE_MS;
}

beforeEach(() => {
  pausedMs = 0;
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "setTimeout", "clearTimeout", "performance"] });
  const { now } = performance;
  vi.spyOn(performance, "now").mockImplementation(() => now.call(performance) + pausedMs);
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

function upstreamWait(isConnected: boolean, onLate: () => void): void {
  const settings = { connectTimeoutMs: TIMEOUT_MS, responseTimeoutMs: TIMEOUT_MS, maxConnections: 1, isTls: false };
  const request = new EventEmitter();
  new UpstreamWaits(settings as never).begin(request as never, { onLate, isClientSlow: () => false });
  if (isConnected) request.emit("socket", { connecting: false, bytesRead: 0, bytesWritten: 100 });
}

/** Each starts a wait that `onLate` ends, with the maximum duration of the wait without data. */
const WAITS: [string, (onLate: () => void) => void, number][] = [
  ["for a piece of a body", (onLate) => new BodyWaits(TIMEOUT_MS, onLate).begin({ owner: 1, since: 0 }), TIMEOUT_MS],
  [
    "for a client that takes nothing",
    (onLate) => {
      const socket = Object.assign(new EventEmitter(), { writableLength: 1000, bytesWritten: 5000, destroy: onLate });
      new SendWatch(TIMEOUT_MS).add(socket as never);
    },
    // Without visible acknowledgements, a client has four times as long.
    4 * TIMEOUT_MS,
  ],
  ["for a connection to a proxy's upstream", (onLate) => upstreamWait(false, onLate), TIMEOUT_MS],
  ["for a response of a proxy's upstream", (onLate) => upstreamWait(true, onLate), TIMEOUT_MS],
];

describe("a pause of the process does not count", () => {
  it.each(WAITS)("%s", (_, begin, longestMs) => {
    const onLate = vi.fn();
    begin(onLate);
    vi.advanceTimersByTime(TIMEOUT_MS / 2);
    pause();
    // Data that arrived during the pause is read after these timers.
    vi.advanceTimersByTime(TIMEOUT_MS / 4);
    expect(onLate).not.toHaveBeenCalled();
    vi.advanceTimersByTime(longestMs + TIMEOUT_MS);
    expect(onLate).toHaveBeenCalled();
  });

  it("nor for a wait that begins right after the pause", () => {
    const onLate = vi.fn();
    const waits = new BodyWaits<number>(TIMEOUT_MS, onLate);
    waits.begin({ owner: 1, since: 0 });
    pause();
    waits.begin({ owner: 2, since: 0 });
    vi.advanceTimersByTime(3 * TIMEOUT_MS);
    expect(onLate).toHaveBeenCalledWith(2);
  });
});
