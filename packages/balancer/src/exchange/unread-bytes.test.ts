/** Who gives way when peers do not read. */
import { expect, test } from "vitest";
import { UnreadBytes, type UnreadOwner, UnreadPlace } from "./unread-bytes.js";

const turn = () => new Promise((resolve) => setImmediate(resolve));

function scene(maxBytes = 100) {
  const clock = { now: 0 };
  const told: string[] = [];
  const gone: string[] = [];
  const unread = new UnreadBytes({
    maxBytes,
    clock,
    patienceMs: 5000,
    tell: (line) => void told.push(line),
    lookAtPeers() {},
  });
  const peer = (name: string) => {
    const owner = { unreadBytes: 0, progressBytes: 0, giveUnreadWay: () => void gone.push(name) } satisfies UnreadOwner;
    const place = new UnreadPlace(owner);
    return {
      async waits(bytes: number) {
        owner.unreadBytes = bytes;
        unread.count(place);
        await turn();
      },
      reads(bytes: number) {
        owner.progressBytes += bytes;
        owner.unreadBytes -= bytes;
        if (owner.unreadBytes === 0) unread.drained(place);
      },
    };
  };
  return { clock, told, gone, unread, peer };
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
  // At most once a minute.
  expect(told).toEqual([
    "a connection whose peer reads nothing was reset: what waits for such peers is near balancer.limits.maxUnreadBytes (100)",
  ]);
});

test("beyond half of it they give way after some seconds, and nobody who has just been blocked", async () => {
  const { gone, peer, clock, unread } = scene();
  const [a, b, c] = [peer("a"), peer("b"), peer("c")];
  await a.waits(30);
  clock.now = 2000;
  await b.waits(30);
  unread.look();
  expect(gone).toEqual([]);
  clock.now = 2500;
  unread.look();
  expect(gone).toEqual(["a"]);
  clock.now = 9000;
  unread.look();
  expect(gone).toEqual(["a"]);
  await c.waits(90);
  expect(gone).toEqual(["a", "b"]);
  const d = peer("d");
  await d.waits(90);
  expect(gone).toEqual(["a", "b"]);
  clock.now = 9100;
  unread.look();
  expect(gone).toEqual(["a", "b", "c"]);
});

test("what is found out later of a peer's progress starts its time anew", async () => {
  const { gone, peer, clock, unread } = scene();
  const a = peer("a");
  await a.waits(60);
  clock.now = 2500;
  a.reads(-1);
  unread.look();
  clock.now = 4900;
  unread.look();
  expect(gone).toEqual([]);
  clock.now = 5000;
  unread.look();
  expect(gone).toEqual(["a"]);
});

test("a slow reader never gives way and does not count, until it reads nothing for long", async () => {
  const { gone, peer, clock, unread } = scene(200_000);
  const slow = Array.from({ length: 100 }, (_, n) => peer(`slow ${n}`));
  for (const each of slow) await each.waits(1000);
  clock.now = 2000;
  for (const each of slow) each.reads(1);
  const [a, b, c, d] = [peer("a"), peer("b"), peer("c"), peer("d")];
  for (const each of [a, b]) await each.waits(90_000);
  clock.now = 2200;
  await c.waits(90_000);
  expect(gone).toEqual(["a"]);
  for (let second = 3; second < 60; second++) {
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

test("one that has read all of it before, long after it was blocked first, is a reader", async () => {
  const { gone, peer, clock } = scene();
  const [a, b, c] = [peer("a"), peer("b"), peer("c")];
  await a.waits(10);
  clock.now = 2000;
  a.reads(10);
  await a.waits(90);
  await b.waits(40);
  clock.now = 2200;
  await c.waits(70);
  expect(gone).toEqual(["b"]);
});

test("what was read, or belongs to nobody, is free", async () => {
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
