import { LITTLE_WINDOW_BYTES, RESPONSE_WINDOW_BYTES } from "@paceline/wire/lane/protocol";
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { MAX_EXTRA_BYTES, MAX_WINDOW_BYTES, ResponseWindow } from "./response-window.js";

/** An instance that sends as much as a window allows. */
class Sender {
  readonly window = new ResponseWindow(4 * RESPONSE_WINDOW_BYTES);
  allowed = RESPONSE_WINDOW_BYTES;

  send(bytes: number): void {
    this.allowed -= bytes;
    expect(this.window.take(bytes)).toBe(true);
  }

  grant(isScarce = false): void {
    this.allowed += this.window.grant(isScarce ? 0 : Number.POSITIVE_INFINITY);
  }
}

/** How much windows may now have beyond their first size; windows of other tests may use some of it. */
function availableExtra(): number {
  const senders = Array.from({ length: 18 }, () => new Sender());
  for (let round = 0; round < 10; round++) {
    for (const sender of senders) {
      sender.send(sender.allowed);
      sender.grant();
    }
  }
  const extra = senders.reduce((sum, { window }) => sum + window.size - RESPONSE_WINDOW_BYTES, 0);
  for (const { window } of senders) window.reset();
  return extra;
}

afterEach(() => void vi.restoreAllMocks());

describe("the window of a response", () => {
  it("grows to its maximum while the client reads everything, and is small again for the next response", () => {
    const sender = new Sender();
    const sizes = [sender.allowed];
    while (sizes.length < 8) {
      sender.send(sender.allowed);
      sender.grant();
      sizes.push(sender.allowed);
    }
    expect(sizes.map((size) => size / RESPONSE_WINDOW_BYTES)).toEqual([1, 2, 2, 4, 8, 16, 16, 16]);
    expect(sender.window.size).toBe(MAX_WINDOW_BYTES);
    sender.window.reset();
    expect(sender.window.take(RESPONSE_WINDOW_BYTES)).toBe(true);
    expect(sender.window.take(1)).toBe(false);
    sender.window.reset();
  });

  it("shrinks to its first size for a client that stops reading for a while, and stays there", () => {
    const now = vi.spyOn(performance, "now").mockReturnValue(0);
    const sender = new Sender();
    for (let round = 0; round < 5; round++) {
      sender.send(sender.allowed);
      sender.grant();
    }
    expect(sender.allowed).toBe(MAX_WINDOW_BYTES);
    sender.send(sender.allowed);
    sender.window.pause();
    sender.grant();
    expect(sender.allowed).toBe(0);
    now.mockReturnValue(60);
    sender.window.resume();
    sender.grant();
    expect(sender.allowed).toBe(RESPONSE_WINDOW_BYTES);
    sender.send(sender.allowed);
    sender.grant();
    expect(sender.allowed).toBe(RESPONSE_WINDOW_BYTES);
    sender.window.reset();
  });

  it("is small while memory is scarce, for slow clients and for the first part of each response, and grows again after that", () => {
    const now = vi.spyOn(performance, "now").mockReturnValue(0);
    const sender = new Sender();
    sender.window.begin(true);
    sender.allowed = LITTLE_WINDOW_BYTES;
    for (const [isScarce, allowed] of [
      [true, 1],
      [false, 2],
      [false, 4],
      [true, 1],
      [true, 1],
    ] as const) {
      sender.send(sender.allowed);
      sender.grant(isScarce);
      expect(sender.allowed).toBe(allowed * LITTLE_WINDOW_BYTES);
    }
    // The client has shown that it reads everything immediately.
    for (let round = 0; round < 40; round++) {
      sender.send(sender.allowed);
      sender.grant(true);
    }
    expect(sender.allowed).toBe(MAX_WINDOW_BYTES);
    sender.send(sender.allowed);
    sender.window.pause();
    now.mockReturnValue(60);
    sender.window.resume();
    sender.grant(true);
    expect(sender.allowed).toBe(LITTLE_WINDOW_BYTES);
    sender.window.reset();
    expect(sender.window.size).toBe(RESPONSE_WINDOW_BYTES);
  });

  it("shares what memory is left with all long responses that may stop, and not with short or proven ones", () => {
    const spareBytes = 40 * RESPONSE_WINDOW_BYTES;
    const pass = (window: ResponseWindow, rounds: number, spare = spareBytes): void => {
      for (let round = 0; round < rounds; round++) {
        expect(window.take(window.size)).toBe(true);
        window.grant(spare);
      }
    };
    const [short, proven] = [new ResponseWindow(1 << 30), new ResponseWindow(4 * RESPONSE_WINDOW_BYTES)];
    pass(proven, 8);
    expect(proven.size).toBe(MAX_WINDOW_BYTES);
    const long = Array.from({ length: 79 }, () => new ResponseWindow(1 << 30));
    for (const window of long) pass(window, 1);
    expect(short.take(RESPONSE_WINDOW_BYTES / 2 - 1)).toBe(true);
    expect(short.grant(spareBytes)).toBe(0);
    for (const window of long) pass(window, 4);
    // 80 are long, with the proven one, and half of what is left is theirs. Lanes of other tests in this process may have a few more.
    for (const window of long) {
      expect(window.size).toBeLessThanOrEqual(RESPONSE_WINDOW_BYTES / 4);
      expect(window.size).toBeGreaterThan(RESPONSE_WINDOW_BYTES / 8);
    }
    pass(proven, 1);
    expect(proven.size).toBe(MAX_WINDOW_BYTES);
    const [one, ...others] = long as [ResponseWindow, ...ResponseWindow[]];
    for (const window of others) window.reset();
    pass(one, 4, 4 * spareBytes);
    expect(one.size).toBe(2 * RESPONSE_WINDOW_BYTES);
    for (const window of [short, proven, one]) window.reset();
  });

  it("never stops the sender forever, and never exceeds the common limit; nothing of the limit is in use at the end", () => {
    const clock = vi.spyOn(performance, "now").mockReturnValue(0);
    const before = availableExtra();
    const step = fc.record({
      at: fc.nat(39),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      pauseMs: fc.nat(120),
      isScarce: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const senders = Array.from({ length: 40 }, () => new Sender());
        let nowMs = 0;
        for (const { at, share, pauseMs, isScarce } of steps) {
          const sender = senders[at] as Sender;
          sender.send(Math.floor(sender.allowed * share));
          if (pauseMs > 60) {
            sender.window.pause();
            sender.grant();
            nowMs += pauseMs - 60;
            clock.mockReturnValue(nowMs);
            sender.window.resume();
          }
          sender.grant(isScarce);
          expect(sender.allowed).toBeGreaterThan(0);
          const extra = senders.reduce((sum, { window }) => sum + Math.max(0, window.size - RESPONSE_WINDOW_BYTES), 0);
          expect(extra).toBeLessThanOrEqual(MAX_EXTRA_BYTES);
        }
        for (const { window } of senders) window.reset();
        expect(availableExtra()).toBe(before);
      }),
      { numRuns: 60 },
    );
  });
});
