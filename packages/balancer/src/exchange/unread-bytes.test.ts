/** Whose connection is reset when peers do not read. */
import { expect, test } from "vitest";
import { UnreadBytes } from "./unread-bytes.js";
import { UnreadEntry, type UnreadOwner } from "./unread-entry.js";

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** The overhead of a connection in addition to the waiting bytes; and the number of waiting bytes per connection in these tests. */
const REST_BYTES = 4096;
const UNIT = 8192;

function scene(max = 100, mostOfReader = Number.POSITIVE_INFINITY) {
  const maxBytes = max * UNIT;
  const clock = { now: 0 };
  const looked = { at: Number.POSITIVE_INFINITY };
  const told: string[] = [];
  const gone: string[] = [];
  const unread = new UnreadBytes({
    maxBytes,
    clock,
    maxReaderBytes: mostOfReader * UNIT,
    patienceMs: 5000,
    onNotice: (line) => void told.push(line),
    lookAtPeers: () => looked.at,
  });
  const peer = (name: string, surelyReadBytes?: number, stepBytes?: number) => {
    const owner = {
      ...{ unreadBytes: 0, progressBytes: 0, surelyReadBytes, stepBytes },
      locallyReadBytes: undefined as number | undefined,
      resetForMemory: () => void gone.push(name),
    } satisfies UnreadOwner;
    const entry = new UnreadEntry(owner);
    return {
      async waits(bytes: number) {
        owner.unreadBytes = bytes * UNIT - REST_BYTES;
        unread.count(entry);
        await turn();
      },
      isSure(bytes: number) {
        owner.surelyReadBytes = (owner.surelyReadBytes ?? 0) + bytes * UNIT;
      },
      isLocal(bytes: number) {
        owner.locallyReadBytes = bytes * UNIT;
      },
      reads(bytes: number, isSure = true) {
        owner.progressBytes += bytes * UNIT;
        if (isSure && owner.surelyReadBytes !== undefined) owner.surelyReadBytes += bytes * UNIT;
        owner.unreadBytes -= bytes * UNIT;
        if (owner.unreadBytes === -REST_BYTES) unread.drained(entry);
      },
    };
  };
  return { clock, looked, told, gone, unread, peer };
}

test("beyond the limit those that have read nothing give way, newcomers first, and not those that have read", async () => {
  const { gone, peer, told, unread, clock } = scene();
  const [a, b, c, d, e] = [peer("a"), peer("b"), peer("c"), peer("d"), peer("e")];
  await a.waits(40);
  clock.now = 100;
  await b.waits(40);
  clock.now = 200;
  await c.waits(20);
  clock.now = 400;
  c.reads(1);
  await d.waits(30);
  // It is too new, and nobody gives way in its place.
  expect(gone).toEqual([]);
  clock.now = 500;
  await d.waits(31);
  expect(gone).toEqual(["d"]);
  clock.now = 510;
  await e.waits(20);
  clock.now = 620;
  await e.waits(21);
  // Too little is used beyond the limit for one whose kernel may not have reported its reading yet.
  expect(gone).toEqual(["d"]);
  clock.now = 630;
  await e.waits(40);
  expect(gone).toEqual(["d", "e"]);
  clock.now = 2000;
  await a.waits(95);
  // The one before has read since.
  expect(gone).toEqual(["d", "e", "b"]);
  expect(unread.endedTotal).toBe(3);
  // At most one report in 10 s; the rest is reported later, even if there is room again.
  const line = "reset: unread bytes are near balancer.limits.maxUnreadBytes (819200)";
  expect(told).toEqual([`a connection whose peer reads nothing was ${line}`]);
  a.reads(95);
  unread.look();
  expect(told).toHaveLength(1);
  clock.now = 10_500;
  unread.look();
  unread.look();
  expect(told.slice(1)).toEqual([`2 connections whose peer reads nothing were ${line}`]);
});

test("hundreds of them give way in several turns, and others are served in between", async () => {
  const { gone, peer } = scene();
  await Promise.all(Array.from({ length: 300 }, (_, n) => peer(`${n}`).waits(1)));
  expect(gone).toHaveLength(64);
  await turn();
  expect(gone).toHaveLength(128);
  await turn();
  await turn();
  // From here on, they have time to prove that they read.
  expect(gone).toHaveLength(150);
});

test("beyond half of it they give way once no reader is silent for so long, the longest-waiting first", async () => {
  const { gone, peer, clock, unread } = scene();
  const [a, b] = [peer("a"), peer("b")];
  await a.waits(30);
  clock.now = 4000;
  await b.waits(30);
  unread.look();
  clock.now = 26_383;
  unread.look();
  expect(gone).toEqual([]);
  clock.now = 40_000;
  unread.look();
  // There is room for the other one.
  expect(gone).toEqual(["a"]);
});

test("far beyond the limit, the newest is reset at once", async () => {
  const { gone, peer, clock } = scene();
  const [a, b] = [peer("a"), peer("b")];
  await a.waits(50);
  clock.now = 90;
  await b.waits(101);
  expect(gone).toEqual(["b"]);
});

test("progress of a peer that is detected later restarts its time", async () => {
  const { gone, peer, clock, unread } = scene();
  const a = peer("a");
  await a.waits(60);
  clock.now = 5000;
  a.reads(-1);
  unread.look();
  clock.now = 31_383;
  unread.look();
  expect(gone).toEqual([]);
  clock.now = 31_384;
  unread.look();
  expect(gone).toEqual(["a"]);
});

test("one that was blocked before the last check is not judged without another check", async () => {
  const { gone, peer, clock, looked } = scene();
  const [a, b, c] = [peer("a"), peer("b"), peer("c")];
  await a.waits(60);
  clock.now = 5000;
  looked.at = 0;
  await b.waits(60);
  clock.now = 5100;
  await c.waits(60);
  // It is new.
  expect(gone).toEqual(["c"]);
  clock.now = 7000;
  await b.waits(95);
  expect(gone).toEqual(["c"]);
  looked.at = clock.now = 7200;
  await b.waits(96);
  expect(gone).toEqual(["c", "b"]);
});

test("a reader with very many unread bytes counts, and is reset once it reads nothing", async () => {
  const { gone, peer, clock, unread } = scene(100, 50);
  const [much, little] = [peer("much"), peer("little")];
  for (const each of [much, little]) {
    await each.waits(40);
    // Both prove that they read.
    each.reads(40);
  }
  clock.now = 20_000;
  await much.waits(60);
  await little.waits(30);
  unread.look();
  expect([gone, unread.isTight]).toEqual([[], true]);
  // Their kernels have taken more than counts.
  clock.now = 20_000 + 10_000 + 147_455;
  unread.look();
  expect(gone).toEqual([]);
  clock.now++;
  unread.look();
  expect(gone).toEqual(["much"]);
});

test("a slow reader does not give way and does not count, until it reads nothing for long", async () => {
  const { gone, peer, clock, unread } = scene(200_000);
  const slow = Array.from({ length: 100 }, (_, n) => peer(`slow ${n}`));
  for (const each of slow) await each.waits(1000);
  clock.now = 11_000;
  for (const each of slow) each.reads(2);
  const [a, b, c] = [peer("a"), peer("b"), peer("c")];
  await a.waits(110_000);
  await b.waits(90_000);
  unread.look();
  clock.now = 11_200;
  await c.waits(90_000);
  clock.now = 11_300;
  await c.waits(90_001);
  expect(gone).toEqual(["c"]);
  for (let second = 12; second < 60; second++) {
    clock.now = second * 1000;
    if (second % 4 === 0) for (const each of slow.slice(1)) each.reads(1);
    b.reads(1);
    unread.look();
    unread.look();
  }
  expect(gone).toEqual(["c", "a"]);
  b.reads(90_000 - 48);
  clock.now = 60_000;
  await peer("d").waits(199_900);
  expect(gone).toEqual(["c", "a", "slow 0"]);
});

test("a reader that reads less than 1,000 bytes a second is one no longer, however often it does", async () => {
  const { gone, peer, clock, unread } = scene(10_000);
  const [steady, dripping] = [peer("steady"), peer("dripping")];
  for (const each of [steady, dripping]) await each.waits(4000);
  const isCut = () => gone.includes("dripping");
  for (let second = 1; second < 120 && !isCut(); second++) {
    clock.now = second * 1000;
    steady.reads(1 / 8);
    dripping.reads(second < 20 ? 1 / 8 : 1 / 8192);
    unread.look();
    // Some come and read nothing.
    await peer("new").waits(4000);
  }
  expect([isCut(), gone.includes("steady")]).toEqual([true, false]);
});

test("readers that do not count have no more than the limit, and give way if those that count have far too much", async () => {
  const { gone, peer, clock, unread } = scene(100);
  const readers = Array.from({ length: 7 }, (_, n) => peer(`${n}`));
  for (const each of readers) {
    await each.waits(40);
    each.reads(40);
  }
  for (const each of readers) {
    clock.now += 10;
    await each.waits(30);
    unread.look();
  }
  // Three do not count.
  expect([gone, unread.isTight]).toEqual([[], true]);
  clock.now += 10;
  for (const each of readers.slice(3)) await each.waits(39);
  expect(gone).toEqual(["3"]);
});

test("below the limit a peer may be silent for as long as reading what its kernel accepted takes at 1,000 bytes per second", async () => {
  const { gone, peer, clock, unread } = scene();
  const [slow, other] = [peer("slow"), peer("other")];
  slow.reads(8);
  await slow.waits(60);
  clock.now = 10_000 + 16_384 + 65_535;
  unread.look();
  expect(gone).toEqual([]);
  clock.now++;
  unread.look();
  expect(gone).toEqual(["slow"]);
  // Above the limit there is no such time.
  other.reads(8);
  await other.waits(120);
  clock.now += 200;
  await peer("more").waits(20);
  expect(gone).toEqual(["slow", "other"]);
});

test("what its kernel accepted gives it that time even if that is known only after the first check", async () => {
  const { gone, peer, clock, unread } = scene();
  const [slow, silent] = [peer("slow", 0), peer("silent", 0)];
  for (const each of [slow, silent]) {
    await each.waits(40);
    each.reads(4, false);
    unread.look();
  }
  slow.isSure(0.4);
  clock.now = 2000;
  unread.look();
  slow.isSure(0.4);
  for (; clock.now < 42_000; clock.now += 1000) unread.look();
  expect(gone).toEqual(["silent"]);
});

/** Kernels acknowledge in pieces over a distant connection, and in whole windows over a near one. */
test.each([
  ["1,000 bytes a second, in small steps", 1, 8192],
  ["1,000 bytes a second, in large ones", 8, 65_536],
  ["10,000 bytes a second, in large ones", 8, 6554],
])("once it was seen to read, a reader of %s is never reset, however many read nothing", async (_, units, everyMs) => {
  const { gone, peer, clock, unread } = scene(1000);
  const steady = peer("steady");
  await steady.waits(20);
  for (let step = 0; step < 20; step++) {
    for (const next = clock.now + everyMs; clock.now < next; ) {
      clock.now = Math.min(next, clock.now + 1000);
      unread.look();
      // From the moment it has proved that it reads, there is no room.
      await peer("silent").waits(step === 0 ? 6 : step === 1 ? 60 : 1100);
    }
    steady.reads(units);
    unread.look();
    await steady.waits(20);
  }
  expect(gone).not.toContain("steady");
  expect(gone.length).toBeGreaterThan(10);
});

test.each([
  ["much", 32, 100],
  ["at the slowest rate for a while", 1, 10_000],
])("one that has read %s before is a reader", async (_, units, ms) => {
  const { peer, clock, unread } = scene(300);
  const a = peer("a");
  await a.waits(units);
  clock.now = ms;
  a.reads(units);
  await a.waits(290);
  unread.look();
  // It does not count.
  expect([unread.isTight, unread.isScarce]).toEqual([false, true]);
});

test("what a kernel accepts at first is no proof later", async () => {
  const { peer, clock, unread } = scene();
  const silent = peer("silent");
  await silent.waits(60);
  silent.reads(8);
  for (; clock.now < 20_000; clock.now += 1000) unread.look();
  // It still counts.
  expect(unread.isTight).toBe(true);
});

test("time with nothing unread is no time in which one has read slowly", async () => {
  const { peer, clock, unread } = scene(300);
  const a = peer("a");
  await a.waits(1);
  clock.now = 5000;
  a.reads(1);
  clock.now = 600_000;
  await a.waits(290);
  clock.now = 606_000;
  a.reads(1);
  unread.look();
  expect([unread.isTight, unread.isScarce]).toEqual([false, true]);
});

test("what a peer on this machine has read before it was blocked counts, so that those that have read nothing go first", async () => {
  const { gone, peer, clock, unread } = scene();
  const [silent, reader] = [peer("silent"), peer("reader")];
  await silent.waits(40);
  silent.isLocal(0);
  clock.now = 10;
  await reader.waits(40);
  reader.isLocal(1);
  clock.now = 3000;
  unread.look();
  await reader.waits(115);
  expect(gone).toEqual(["silent"]);
});

test("the kernel of a unix socket may hide more than others", async () => {
  const { gone, peer, clock, unread } = scene();
  const slow = peer("slow", undefined, 212_992);
  await slow.waits(60);
  clock.now = 10_000 + 16_384 + 212_991;
  unread.look();
  expect(gone).toEqual([]);
  clock.now++;
  unread.look();
  expect(gone).toEqual(["slow"]);
});

test("bytes that were read, or belong to nobody, are free", async () => {
  const { gone, peer } = scene();
  for (let n = 0; n < 100; n++) {
    const each = peer(`${n}`);
    await each.waits(90);
    each.reads(90);
  }
  const last = peer("last");
  await last.waits(100);
  expect(gone).toEqual([]);
});

test("memory is scarce once half of the limit is used, even by readers that do not count, until they have read", async () => {
  const { peer, clock, unread } = scene();
  const [reader, other] = [peer("reader"), peer("other")];
  await reader.waits(40);
  reader.reads(40);
  clock.now = 11_000;
  await reader.waits(40);
  expect([unread.isTight, unread.isScarce, unread.spareBytes]).toEqual([false, false, 10 * UNIT]);
  await other.waits(20);
  expect([unread.isTight, unread.isScarce]).toEqual([true, true]);
  unread.look();
  // The reader has proved that it reads, and no longer counts.
  expect([unread.isTight, unread.isScarce]).toEqual([false, true]);
  reader.reads(40);
  expect([unread.isScarce, unread.spareBytes]).toEqual([false, 30 * UNIT]);
});

test("what only the kernel has accepted is no proof if bytes wait before the kernel is full", async () => {
  const { gone, peer, clock, unread } = scene();
  const [a, b] = [peer("a", 0), peer("b", 0)];
  for (const [each, isSure] of [
    [a, false],
    [b, true],
  ] as const) {
    await each.waits(40);
    each.reads(40, isSure);
    await each.waits(60);
  }
  clock.now = 30_000;
  unread.look();
  expect(gone).toEqual(["a"]);
});

test("a reader that has just fallen behind again is not reset, nor while others cannot be judged yet", async () => {
  const { gone, peer, clock, looked } = scene();
  const [reader, other, silent] = [peer("reader"), peer("other"), peer("silent")];
  for (const each of [reader, other]) {
    await each.waits(40);
    each.reads(40);
  }
  await silent.waits(60);
  clock.now = 5000;
  looked.at = 0;
  await reader.waits(95);
  // There is no room for two that do not count.
  clock.now = 5100;
  await other.waits(95);
  expect(gone).toEqual([]);
  looked.at = clock.now = 6000;
  await other.waits(96);
  expect(gone).toEqual(["silent"]);
});
