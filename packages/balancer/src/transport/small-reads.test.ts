import { describe, expect, it } from "vitest";
import { askAgainMs, PIECE_BYTES, type SmallReader, SmallReads } from "./small-reads.js";

const LARGE = 65_536;
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A response that the test sends. */
class Response implements SmallReader {
  isPaused = false;
  silentSince = 0;
  askAt = 0;
  isSmall = false;
  /** The bytes in the kernel's buffer. */
  arrived = 0;
  hasEnded = false;
  /** The sizes of the reads that found bytes. */
  reads: number[] = [];
  onRead = (): void => {};
  onAsked = (): void => {};

  onSmall(): void {
    this.isSmall = true;
  }

  onUsual(): void {
    this.isSmall = false;
  }

  readPiece(mostBytes: number): number {
    const bytes = Math.min(mostBytes, this.arrived);
    this.arrived -= bytes;
    if (bytes > 0) this.reads.push(bytes);
    if (bytes > 0) this.onRead();
    this.onAsked();
    return bytes > 0 ? bytes : this.hasEnded ? 0 : -1;
  }
}

describe("small reads", () => {
  const begin = () => {
    const memory = { spareBytes: 1 << 20 };
    let now = 1000;
    const clock = { now: () => now };
    const wait = (ms: number) => {
      now += ms;
    };
    return { memory, reads: new SmallReads(memory, clock), wait };
  };

  it("begin for all responses at once, when memory is scarce and a large part of one arrives", () => {
    const { memory, reads } = begin();
    const [one, small, left, other] = [new Response(), new Response(), new Response(), new Response()];
    for (const response of [one, left]) reads.noteRead(response, LARGE);
    reads.noteRead(small, 1000);
    reads.leave(left);
    expect([one.isSmall, reads.isScarce]).toEqual([false, false]);
    memory.spareBytes = 0;
    reads.noteRead(small, 1000);
    expect(one.isSmall).toBe(false);
    reads.noteRead(other, LARGE);
    expect([one, small, left, other].map(({ isSmall }) => isSmall)).toEqual([true, true, false, true]);
    for (const response of [one, small, other]) reads.leave(response);
  });

  it("take a bounded part in a turn, and nothing while the response is paused", async () => {
    const { memory, reads } = begin();
    memory.spareBytes = 0;
    const response = new Response();
    response.arrived = 1_000_000;
    reads.begin(response);
    await turn();
    const inTurn = response.reads.length;
    expect(inTurn * PIECE_BYTES).toBe(65_536);
    response.onRead = () => {
      response.isPaused = true;
    };
    for (let n = 0; n < 5; n++) await turn();
    expect(response.reads.length).toBe(inTurn + 1);
    response.onRead = () => reads.leave(response);
    response.isPaused = false;
    reads.begin(response);
    for (let n = 0; n < 5; n++) await turn();
    expect([response.reads.length, Math.max(...response.reads)]).toEqual([inTurn + 2, PIECE_BYTES]);
  });

  it("end with the response, and one after the other when there is room again", async () => {
    const { memory, reads } = begin();
    memory.spareBytes = 0;
    const responses = Array.from({ length: 5 }, () => new Response());
    const [ended] = responses as [Response];
    ended.arrived = 10;
    ended.hasEnded = true;
    for (const response of responses) reads.begin(response);
    await turn();
    const small = () => responses.filter(({ isSmall }) => isSmall).length;
    expect([ended.isSmall, ended.reads, small()]).toEqual([false, [10], 4]);
    memory.spareBytes = 1;
    reads.begin(responses[1] as Response);
    await turn();
    expect(small()).toBe(3);
    memory.spareBytes = 1 << 20;
    reads.begin(responses[4] as Response);
    await turn();
    expect(small()).toBe(0);
  });

  it("ask a silent response again, and leave it to the runtime after a second", async () => {
    const { memory, reads, wait } = begin();
    memory.spareBytes = 0;
    const response = new Response();
    const asked = () =>
      new Promise<void>((resolve) => {
        response.onAsked = resolve;
      });
    for (const ms of [0, 1, 1000]) {
      expect([ms, response.isSmall]).toEqual([ms, ms > 0]);
      wait(ms);
      const again = asked();
      if (ms === 0) reads.begin(response);
      await again;
      await turn();
    }
    expect(response.isSmall).toBe(false);
  });

  it.each([
    [0, 1],
    [4, 1],
    [40, 10],
    [900, 64],
    [1000, undefined],
  ])("ask a response that is silent for %d ms again after %s ms", (silentMs, waitMs) => {
    expect(askAgainMs(silentMs)).toBe(waitMs);
  });
});
