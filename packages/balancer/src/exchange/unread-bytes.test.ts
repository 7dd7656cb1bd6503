/** Whose connection is reset when peers do not read. */
import { expect, test } from "vitest";
import { UnreadBytes, type UnreadOwner, UnreadPlace } from "./unread-bytes.js";

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
    tell: (line) => void told.push(line),
    lookAtPeers: () => looked.at,
  });
  const peer = (name: string, surelyReadBytes?: number) => {
    const owner = {
      ...{ unreadBytes: 0, progressBytes: 0, surelyReadBytes },
      giveUnreadWay: () => void gone.push(name),
    } satisfies UnreadOwner;
    const place = new UnreadPlace(owner);
    return {
      async waits(bytes: number) {
        owner.unreadBytes = bytes * UNIT - REST_BYTES;
        unread.count(place);
        await turn();
      },
      isSure(bytes: number) {
        owner.surelyReadBytes = (owner.surelyReadBytes ?? 0) + bytes * UNIT;
      },
      reads(bytes: number, isSure = true) {
        owner.progressBytes += bytes * UNIT;
        if (isSure && owner.surelyReadBytes !== undefined) owner.surelyReadBytes += bytes * UNIT;
        owner.unreadBytes -= bytes * UNIT;
        if (owner.unreadBytes === -REST_BYTES) unread.drained(place);
      },
    };
  };
  return { clock, looked, told, gone, unread, peer };
}

test("beyond the limit those that have read nothing give way, the longest-waiting first", async () => {
  const { gone, peer, told, unread, clock } = scene();
  const [a, b, c, d] = [peer("a"), peer("b"), peer("c"), peer("d")];
  await a.waits(40);
  await b.waits(40);
  a.reads(1);
  await c.waits(20);
  expect(gone).toEqual([]);
  clock.now = 200;
  await d.waits(30);
  // The first one has read since.
  expect(gone).toEqual(["b"]);
  await d.waits(45);
  expect(gone).toEqual(["b", "c"]);
  expect(unread.endedTotal).toBe(2);
  // At most one report in 10 s; the rest is reported later, even if there is room again.
  const line =
    "connection whose peer reads nothing was reset: unread bytes are near balancer.limits.maxUnreadBytes (819200)";
  expect(told).toEqual([`a ${line}`]);
  a.reads(39);
  d.reads(45);
  unread.look();
  expect(told).toHaveLength(1);
  clock.now = 10_200;
  unread.look();
  unread.look();
  expect(told).toEqual([`a ${line}`, `a ${line}`]);
});

test("beyond half of it they give way after some seconds, and nobody who has just been blocked", async () => {
  const { gone, peer, clock, unread } = scene();
  const [a, b, c] = [peer("a"), peer("b"), peer("c")];
  await a.waits(30);
  clock.now = 4000;
  await b.waits(30);
  unread.look();
  expect(gone).toEqual([]);
  clock.now = 9999;
  unread.look();
  expect(gone).toEqual([]);
  clock.now = 10_000;
  unread.look();
  expect(gone).toEqual(["a"]);
  clock.now = 25_000;
  unread.look();
  expect(gone).toEqual(["a"]);
  await c.waits(90);
  expect(gone).toEqual(["a", "b"]);
  const d = peer("d");
  await d.waits(50);
  expect(gone).toEqual(["a", "b"]);
  clock.now = 25_100;
  unread.look();
  expect(gone).toEqual(["a", "b", "c"]);
  // Far beyond the limit, time does not count.
  await peer("e").waits(101);
  expect(gone).toEqual(["a", "b", "c", "d"]);
});

test("progress of a peer that is detected later restarts its time", async () => {
  const { gone, peer, clock, unread } = scene();
  const a = peer("a");
  await a.waits(60);
  clock.now = 5000;
  a.reads(-1);
  unread.look();
  clock.now = 14_900;
  unread.look();
  expect(gone).toEqual([]);
  clock.now = 15_000;
  unread.look();
  expect(gone).toEqual(["a"]);
});

test("one that was blocked before the last check is not judged without another check", async () => {
  const { gone, peer, clock, looked } = scene();
  const [a, b, c, d] = [peer("a"), peer("b"), peer("c"), peer("d")];
  await a.waits(60);
  clock.now = 5000;
  looked.at = 0;
  await b.waits(60);
  clock.now = 5100;
  await c.waits(60);
  // It is new.
  expect(gone).toEqual(["b"]);
  looked.at = 5100;
  clock.now = 5200;
  await d.waits(30);
  expect(gone).toEqual(["b", "a"]);
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
  await much.waits(70);
  await little.waits(45);
  clock.now = 149_000;
  unread.look();
  expect(gone).toEqual([]);
  // Its kernel has taken more than counts.
  clock.now = 20_000 + 10_000 + 147_456;
  unread.look();
  expect(gone).toEqual(["much"]);
});

test("a slow reader never gives way and does not count, until it reads nothing for long", async () => {
  const { gone, peer, clock, unread } = scene(200_000);
  const slow = Array.from({ length: 100 }, (_, n) => peer(`slow ${n}`));
  for (const each of slow) await each.waits(1000);
  clock.now = 11_000;
  for (const each of slow) each.reads(1);
  const [a, b, c, d] = [peer("a"), peer("b"), peer("c"), peer("d")];
  for (const each of [a, b]) await each.waits(90_000);
  clock.now = 11_200;
  await c.waits(90_000);
  expect(gone).toEqual(["a"]);
  for (let second = 12; second < 60; second++) {
    clock.now = second * 1000;
    if (second % 4 === 0) for (const each of slow.slice(1)) each.reads(1);
    unread.look();
    unread.look();
  }
  expect(gone).toEqual(["a", "b"]);
  c.reads(90_000);
  await d.waits(199_900);
  expect(gone).toEqual(["a", "b", "slow 0"]);
});

test("below the limit a peer may be silent for as long as reading what its kernel accepted takes at 1,000 bytes per second", async () => {
  const { gone, peer, clock, unread } = scene();
  const [slow, other] = [peer("slow"), peer("other")];
  slow.reads(8);
  await slow.waits(60);
  for (; clock.now < 75_000; clock.now += 1000) unread.look();
  expect(gone).toEqual([]);
  clock.now = 75_536;
  unread.look();
  expect(gone).toEqual(["slow"]);
  // Above the limit there is no such time.
  other.reads(8);
  await other.waits(90);
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
  slow.isSure(2);
  clock.now = 2000;
  unread.look();
  slow.isSure(2);
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
  ["long after it was blocked first", 10, 10_000],
])("one that has read %s before is a reader", async (_, units, ms) => {
  const { gone, peer, clock } = scene(300);
  const [a, b, c] = [peer("a"), peer("b"), peer("c")];
  await a.waits(units);
  clock.now = ms;
  a.reads(units);
  await a.waits(290);
  await b.waits(100);
  clock.now = ms + 200;
  await c.waits(210);
  expect(gone).toEqual(["b"]);
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
  expect([unread.isTight, unread.isScarce]).toEqual([false, false]);
  await other.waits(20);
  // The reader has proved that it reads, and no longer counts.
  expect([unread.isTight, unread.isScarce]).toEqual([false, true]);
  reader.reads(40);
  expect(unread.isScarce).toBe(false);
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
  clock.now = 10_000;
  unread.look();
  expect(gone).toEqual(["a"]);
});
