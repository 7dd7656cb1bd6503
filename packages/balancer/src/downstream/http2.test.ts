/** A client's HTTP/2 connection without sockets: what floods cost, and how much memory a client can make the balancer hold. */
import { describe, expect, it } from "vitest";
import { LIMITS } from "../../test/support/balancer-process.js";
import { FakeConnection } from "../../test/support/fake-transport.js";
import {
  block,
  data,
  endingOf,
  type Fields,
  type Frame,
  frame,
  framesIn,
  GET,
  HELLO,
  headers,
  POST,
  reset,
  settings,
  uint32,
  windowUpdate,
} from "../../test/support/http2-frames.js";
import { Deadlines } from "../deadlines.js";
import { BufferBudget } from "../exchange/buffer-budget.js";
import type { Relay } from "../exchange/relay.js";
import { SpareHeads } from "../exchange/saved-head.js";
import type { UnreadEntry } from "../exchange/unread-entry.js";
import { Forwarded } from "../http1/forwarded.js";
import { HeadWriter } from "../http1/head-writer.js";
import { RequestHead } from "../http1/request-head.js";
import { FrameType, Setting } from "../http2/protocol.js";
import { Router } from "../routing/router.js";
import { Counters } from "../stats/counters.js";
import { TurnShare } from "../transport/reading.js";
import type { Pool } from "../upstreams/pool.js";
import { Http2Downstream } from "./http2.js";
import { Http2Scratch } from "./http2-scratch.js";

/** A pool whose requests wait in its queue. */
const WAITING = {
  name: "web",
  isLimited: false,
  isDown: false,
  serveQueue: () => {},
  requestQueue: { holds: () => true, add: () => true, clock: () => 0, isTimed: false },
} as unknown as Pool;

function bench(budget = new BufferBudget(100_000_000), limits: Partial<typeof LIMITS> = {}) {
  const places = new Set<UnreadEntry>();
  const relay = {
    limits: { ...LIMITS, ...limits },
    budget,
    turnShare: new TurnShare({ take: () => false }),
    deadlines: new Deadlines(),
    counters: new Counters(),
    forwarded: new Forwarded([]),
    requestHead: new RequestHead(LIMITS),
    responseWriter: new HeadWriter(LIMITS.maxHeadBytes, { now: 0 }),
    spareHeads: new SpareHeads(() => new RequestHead(LIMITS)),
    // Other paths get 404.
    router: new Router([{ text: "/waits", target: WAITING }]),
    probes: undefined,
    unread: {
      count: (place: UnreadEntry) => void places.add(place),
      drained: (place: UnreadEntry) => void places.delete(place),
      free: (place: UnreadEntry) => void places.delete(place),
    },
    isDraining: false,
    drainingSince: Number.POSITIVE_INFINITY,
  } as unknown as Relay;
  const scratch = new Http2Scratch(relay);
  const gone: Http2Downstream[] = [];
  const open = (room = Number.POSITIVE_INFINITY) => {
    const connection = new FakeConnection();
    connection.room = room;
    const peer = relay.forwarded.peer("127.0.0.1", false);
    const client = new Http2Downstream(relay, connection, peer, scratch, (it) => gone.push(it));
    connection.owner = client;
    const say = (...bytes: Uint8Array[]) => connection.owner.onData(Buffer.concat(bytes));
    /** Returns the frames sent since the last call. */
    const hear = async (): Promise<Frame[]> => {
      await turn();
      return framesIn(connection.take()).frames;
    };
    say(HELLO);
    return { connection, client, say, hear };
  };
  const unread = () => [...places].map(({ owner }) => owner.unreadBytes);
  const progress = () => [...places].map(({ owner }) => owner.progressBytes);
  return { relay, gone, open, unread, progress };
}

const turn = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));
const OPEN: Fields = POST.map(([name, value]) => [name, name === ":path" ? "/waits" : value]);
const CALM = "GOAWAY ENHANCE_YOUR_CALM";

/** Returns RST_STREAM and GOAWAY frames as text. */
function endings(frames: Frame[]): string[] {
  return frames.flatMap((it) => endingOf(it) ?? []);
}

/** Sends pieces, each in its own turn of the event loop, until the connection ends. Returns how many were sent, and how it ended. */
async function flood(piece: (n: number) => Buffer, most: number, perTurn = 50, { open, relay } = bench()) {
  const { connection, say, hear } = open();
  const frames: Frame[] = [];
  let sent = 0;
  while (sent < most && !frames.some(({ type }) => type === FrameType.GOAWAY)) {
    for (let i = 0; i < perTurn && !connection.isPaused; i++) say(piece(sent++));
    frames.push(...(await hear()));
  }
  return { sent, last: endings(frames).at(-1), frames, relay };
}

describe("floods end with ENHANCE_YOUR_CALM", () => {
  it.each<[string, number, (n: number) => Buffer]>([
    ["rapid reset (CVE-2023-44487)", 600, (n) => Buffer.concat([headers(2 * n + 1, OPEN, false), reset(2 * n + 1)])],
    [
      "made resets by a window of 0 (CVE-2025-8671)",
      600,
      (n) => Buffer.concat([headers(2 * n + 1, OPEN, false), windowUpdate(2 * n + 1, 0)]),
    ],
    [
      "made resets by a window too large (CVE-2025-8671)",
      600,
      (n) => Buffer.concat([headers(2 * n + 1, OPEN, false), windowUpdate(2 * n + 1, 2 ** 31 - 1)]),
    ],
    [
      "made resets by a dependency on itself (CVE-2025-8671)",
      600,
      (n) =>
        Buffer.concat([
          headers(2 * n + 1, OPEN, false),
          frame(FrameType.PRIORITY, 0, 2 * n + 1, Buffer.concat([uint32(2 * n + 1), Buffer.from([1])])),
        ]),
    ],
    ["heads that are refused", 600, (n) => headers(2 * n + 1, [...GET, ["expect", "x"]])],
    ["malformed requests (CVE-2019-9514)", 600, (n) => headers(2 * n + 1, [...GET, ["Bad", "name"]])],
    ["empty names (CVE-2019-9516)", 600, (n) => headers(2 * n + 1, [...GET, ["", ""]])],
    ["pings (CVE-2019-9512)", 3000, () => frame(FrameType.PING, 0, 0, "12345678")],
    ["settings (CVE-2019-9515)", 3000, (n) => settings([Setting.INITIAL_WINDOW_SIZE, n])],
    ["empty settings", 3000, () => settings()],
    ["priorities (CVE-2019-9513)", 3000, (n) => frame(FrameType.PRIORITY, 0, 2 * n + 1, Buffer.alloc(5))],
    ["windows of the connection by 1", 3000, () => windowUpdate(0, 1)],
    ["unknown frames", 3000, () => frame(99, 0, 0, "x")],
  ])("%s", async (_, most, piece) => {
    const { sent, last, frames } = await flood(piece, 20_000);
    expect(last).toBe(CALM);
    expect(sent).toBeLessThan(most);
    expect(frames.length).toBeLessThan(2 * most);
  });

  it.each<[string, (n: number) => Buffer]>([
    ["empty DATA (CVE-2019-9518)", () => data(1, "")],
    ["padding alone", () => frame(FrameType.DATA, 8, 1, Buffer.from([3, 0, 0, 0]))],
  ])("%s", async (_, piece) => {
    const { sent, last } = await flood((n) => (n === 0 ? headers(1, OPEN, false) : piece(n)), 20_000);
    expect(last).toBe(CALM);
    expect(sent).toBeLessThan(3000);
  });

  it.each([
    ["by their number", 20, 1],
    ["by their bytes", 4, 16_000],
  ])("CONTINUATION without end, %s (CVE-2024-27316)", async (_, most, bytes) => {
    const { sent, last } = await flood(
      (n) => frame(n === 0 ? FrameType.HEADERS : FrameType.CONTINUATION, 0, 1, Buffer.alloc(bytes)),
      200,
      1,
    );
    expect(last).toBe(CALM);
    expect(sent).toBeLessThan(most);
  });
});

it.each<[string, string, boolean, Buffer[]]>([
  ["a flood", "refused 499", true, Array.from({ length: 1100 }, () => frame(FrameType.PING, 0, 0, "12345678"))],
  ["an invalid frame", "refused 499", false, [frame(FrameType.PING, 0, 0, "1")]],
])("%s makes the requests of its connection end as: %s", async (_, expected, wasFlood, pieces) => {
  const { open, relay, gone } = bench();
  const logged: string[] = [];
  const request = (...[, , { outcome, status }]: [unknown, unknown, { outcome: string; status: number }]) =>
    logged.push(`${outcome} ${status}`);
  Object.assign(relay, { accessLog: { request, omits: () => false } });
  const { say, hear, connection } = open();
  say(headers(1, OPEN, false));
  say(...pieces);
  for (let n = 0; n < 20; n++) await turn();
  expect(endings(await hear())).toHaveLength(1);
  expect([logged, relay.counters.inFlight]).toEqual([[expected], 0]);
  connection.owner.onClose();
  expect(gone.map((client) => client.wasFlood)).toEqual([wasFlood]);
});

it("tolerates what an active connection needs: pings, window updates and resets among many requests", async () => {
  const { open, relay } = bench();
  const { say, hear } = open();
  for (let n = 0; n < 5000; n++) {
    say(
      headers(2 * n + 1, GET),
      windowUpdate(0, 5000),
      windowUpdate(2 * n + 1, 5000),
      frame(FrameType.PING, 0, 0, "12345678"),
    );
    if (n % 50 === 0) expect(endings(await hear())).toEqual([]);
  }
  expect(relay.counters.requestsTotal).toBe(5000);
});

it("starts few requests of one read per turn, and all of them in the end", async () => {
  const { open, relay } = bench();
  const { say, hear, connection } = open();
  say(...Array.from({ length: 1000 }, (_, n) => headers(2 * n + 1, GET)));
  expect(relay.counters.requestsTotal).toBeLessThanOrEqual(32);
  expect(connection.isPaused).toBe(true);
  const frames: Frame[] = [];
  for (let n = 0; n < 100; n++) frames.push(...(await hear()));
  expect(frames.filter(({ type }) => type === FrameType.HEADERS)).toHaveLength(1000);
  expect(connection.isPaused).toBe(false);
});

it("sends the responses of a turn in one write, and each with the end of its stream", async () => {
  const { open } = bench();
  const { say, connection } = open();
  await turn();
  connection.take();
  const before = connection.writes;
  say(headers(1, GET), headers(3, GET), headers(5, [[":method", "HEAD"], ...GET.slice(1)] as Fields));
  await turn();
  expect(connection.writes - before).toBe(1);
  const { frames } = framesIn(connection.take());
  expect(frames.map(({ type, stream, flags }) => [type, stream, flags & 1])).toEqual([
    ...[1, 3].flatMap((id) => [
      [FrameType.HEADERS, id, 0],
      [FrameType.DATA, id, 1],
    ]),
    [FrameType.HEADERS, 5, 1],
  ]);
});

it("counts what a client does not read, because of its windows or its kernel, and resets one that reads nothing", async () => {
  const { open, gone, relay, unread } = bench();
  // The client gives no window for bodies, and gets 404 for each request.
  const closed = open();
  closed.say(settings([Setting.INITIAL_WINDOW_SIZE, 0]));
  const blocked = open(0);
  for (let n = 0; n < 128; n++) closed.say(headers(2 * n + 1, GET));
  for (let n = 0; n < 128; n++) blocked.say(headers(2 * n + 1, GET));
  for (let n = 0; n < 20; n++) await turn();
  const heads = blocked.connection.waitingBytes;
  // The kernel accepts nothing of what was written.
  expect(heads).toBeGreaterThan(1000);
  const [inStreams, ofBlocked = 0] = unread();
  expect([inStreams, ofBlocked >= heads]).toEqual([128 * (512 + 4096), true]);
  closed.say(settings([Setting.INITIAL_WINDOW_SIZE, 100]));
  await turn();
  expect(unread()).toEqual([ofBlocked]);
  blocked.client.resetForMemory();
  expect([gone.length, blocked.connection.isClosed, unread()]).toEqual([1, true, []]);
  expect(relay.counters.inFlight).toBe(0);
});

it("knows what a client has read of what its windows took, as its kernel shows it", async () => {
  const { open, progress } = bench();
  const { connection, say } = open();
  let readBytes = 0;
  Object.defineProperty(connection, "progressBytes", { get: () => readBytes });
  say(settings([Setting.INITIAL_WINDOW_SIZE, 6]), headers(1, GET));
  await turn();
  expect(progress()).toEqual([0]);
  readBytes = 4;
  expect(progress()).toEqual([4]);
  // Whatever else it has read.
  readBytes = 1000;
  expect(progress()).toEqual([6]);
});

it("sends no small pieces while more data waits, until the window is half open, or has not grown for a second", async () => {
  const { open, relay } = bench();
  const { say, hear, client } = open();
  say(settings([Setting.INITIAL_WINDOW_SIZE, 6]), headers(1, GET));
  const sizes = async () =>
    (await hear()).flatMap(({ type, payload }) => (type === FrameType.DATA ? [payload.length] : []));
  expect(await sizes()).toEqual([6]);
  say(windowUpdate(1, 2));
  client.lookIfLeft();
  expect(await sizes()).toEqual([]);
  client.lookIfLeft();
  expect(await sizes()).toEqual([2]);
  say(windowUpdate(1, 2));
  expect(await sizes()).toEqual([]);
  say(windowUpdate(1, 1));
  expect(await sizes()).toEqual([3]);
  say(reset(1));
  await turn();
  expect(relay.counters.inFlight).toBe(0);
});

it("refuses further requests of a client with unread responses while memory is short, and no others", async () => {
  const { open, relay } = bench();
  const memory = relay.unread as { isTight: boolean };
  const [behind, reads] = [open(), open()];
  behind.say(settings([Setting.INITIAL_WINDOW_SIZE, 0]), headers(1, GET));
  memory.isTight = true;
  await turn();
  behind.say(headers(3, GET));
  reads.say(headers(1, GET));
  expect(endings(await behind.hear())).toEqual(["RST 3 REFUSED_STREAM"]);
  expect(endings(await reads.hear())).toEqual([]);
  memory.isTight = false;
  behind.say(headers(5, GET));
  expect((await behind.hear()).map(({ type, stream }) => [type, stream])).toContainEqual([FrameType.HEADERS, 5]);
  expect(relay.counters.requestsTotal).toBe(3);
});

it("counts long heads as long as their requests last: beyond half of the budget they get 503", async () => {
  const { open } = bench(new BufferBudget(40_000));
  const { say, hear } = open();
  const long: Fields = [...OPEN, ["x", "v".repeat(10_000)]];
  const answered = async (id: number) => {
    say(headers(id, long));
    return (await hear()).some(({ type, stream }) => type === FrameType.HEADERS && stream === id);
  };
  expect([await answered(1), await answered(3), await answered(5)]).toEqual([false, false, true]);
  // Short heads do not count.
  say(headers(7, OPEN));
  expect((await hear()).length).toBe(0);
  say(reset(1), reset(3));
  expect(await answered(9)).toBe(false);
});

it("uses the streams of a closed connection for others", async () => {
  const { open, relay } = bench();
  const used: object[] = [];
  const { deadlines } = relay;
  const add = deadlines.add.bind(deadlines);
  deadlines.add = (entry) => {
    used.push(entry);
    add(entry);
  };
  const first = open();
  first.say(headers(1, OPEN), headers(3, OPEN));
  const before = used.filter((entry) => entry !== first.client);
  first.connection.owner.onClose();
  first.connection.take();
  used.length = 0;
  const second = open();
  second.say(headers(1, GET), headers(3, OPEN));
  expect(used.filter((entry) => entry !== second.client).every((entry) => before.includes(entry))).toBe(true);
  expect((await second.hear()).map(({ type, stream }) => [type, stream])).toContainEqual([FrameType.HEADERS, 1]);
  expect((await first.hear()).length).toBe(0);
  expect([before.length, second.client.streams.size, relay.counters.inFlight]).toEqual([2, 1, 1]);
});

const after = (relay: Relay, ms: number) => {
  const { deadlines } = relay;
  for (let at = 0; at <= ms; at += 100) {
    clock += 100;
    deadlines.tick(clock);
  }
};
let clock = 0;

function startClock({ deadlines }: Relay): void {
  clock = performance.now();
  deadlines.tick(clock);
}

it("sends GOAWAY in two steps, and serves requests sent before the client received it", async () => {
  const { open, relay } = bench();
  startClock(relay);
  const { client, say, hear, connection } = open();
  say(headers(1, GET), frame(FrameType.SETTINGS, 1, 0));
  const waiting = headers(3, OPEN);
  say(waiting);
  await hear();
  client.drain();
  const [announced] = await hear();
  expect(announced && [endingOf(announced), announced.payload.readUInt32BE(0)]).toEqual([
    "GOAWAY NO_ERROR",
    2 ** 31 - 1,
  ]);
  say(headers(5, GET));
  expect((await hear()).map(({ type, stream }) => [type, stream])).toContainEqual([FrameType.HEADERS, 5]);
  after(relay, 1000);
  const [last] = await hear();
  expect(last && [endingOf(last), last.payload.readUInt32BE(0)]).toEqual(["GOAWAY NO_ERROR", 5]);
  say(headers(7, GET));
  expect(await hear()).toEqual([]);
  expect(relay.counters.requestsTotal).toBe(2);
  // The last request ends, and so does the connection.
  say(reset(3));
  expect(endings(await hear())).toEqual(["GOAWAY NO_ERROR"]);
  connection.owner.onEnd();
  expect(connection.isClosed).toBe(true);
});

it("reads few small DATA frames in one turn, and sends GOAWAY to a client that sends too many", async () => {
  const { open } = bench();
  const { say, hear, connection } = open();
  const small = Array.from({ length: 3500 }, () => data(1, "x"));
  say(headers(1, OPEN, false), ...small);
  expect(connection.isPaused).toBe(true);
  for (let n = 0; n < 5; n++) expect(endings(await hear())).toEqual([]);
  expect(connection.isPaused).toBe(false);
  const frames: Frame[] = [];
  say(...small);
  for (let n = 0; n < 5; n++) frames.push(...(await hear()));
  expect(endings(frames)).toEqual([CALM]);
});

it("counts uploads that nobody reads, widens a connection's window only while there is room, and sends GOAWAY beyond that", async () => {
  const budget = new BufferBudget(200_000);
  const { open } = bench(budget);
  const upload = () => {
    const one = open();
    // Pieces that are too small to count one by one.
    for (let n = 0; n < 15; n++) one.say(headers(2 * n + 1, OPEN, false), data(2 * n + 1, "x".repeat(4000)));
    return one;
  };
  const all = Array.from({ length: 6 }, upload);
  const heard: Frame[][] = [];
  for (const one of all) heard.push(await one.hear());
  const granted = heard.map((frames) =>
    frames.some(({ type, stream }) => type === FrameType.WINDOW_UPDATE && stream === 0),
  );
  expect(granted).toEqual([true, true, false, false, false, false]);
  expect(heard.map(endings)).toEqual([[], [], [], [], [CALM], [CALM]]);
  expect(budget.take(50_000)).toBe(false);
  for (const { connection } of all) connection.owner.onClose();
  expect(budget.take(200_000)).toBe(true);
});

it("sends GOAWAY to a client that changes the windows of its streams all the time", async () => {
  const { sent, last } = await flood(
    (n) => (n < 20 ? headers(2 * n + 1, OPEN) : settings([Setting.INITIAL_WINDOW_SIZE, 100 * (n % 2)])),
    1000,
  );
  expect([last, sent < 150]).toEqual([CALM, true]);
});

describe("deadlines", () => {
  it.each([
    [
      "no request",
      LIMITS.headTimeoutMs,
      "NO_ERROR",
      (say: (...bytes: Uint8Array[]) => unknown) => say(frame(FrameType.SETTINGS, 1, 0)),
    ],
    [
      "settings that are not acknowledged",
      10_000,
      "SETTINGS_TIMEOUT",
      (say: (...bytes: Uint8Array[]) => unknown) => say(headers(1, GET)),
    ],
    [
      "a block of fields that is not continued",
      LIMITS.headTimeoutMs,
      "ENHANCE_YOUR_CALM",
      (say: (...bytes: Uint8Array[]) => unknown) =>
        say(frame(FrameType.SETTINGS, 1, 0), headers(1, GET), frame(FrameType.HEADERS, 0, 3, block(GET))),
    ],
    [
      "a frame that does not end",
      LIMITS.headTimeoutMs,
      "ENHANCE_YOUR_CALM",
      (say: (...bytes: Uint8Array[]) => unknown) =>
        say(frame(FrameType.SETTINGS, 1, 0), headers(1, GET), headers(3, GET).subarray(0, 12)),
    ],
    [
      "no further request",
      LIMITS.keepAliveTimeoutMs,
      "NO_ERROR",
      (say: (...bytes: Uint8Array[]) => unknown) => say(frame(FrameType.SETTINGS, 1, 0), headers(1, GET)),
    ],
  ])("%s", async (_, ms, error, act) => {
    const { open, relay } = bench();
    startClock(relay);
    const { say, hear } = open();
    act(say);
    await hear();
    after(relay, ms - 500);
    expect(endings(await hear())).toEqual([]);
    after(relay, 1000);
    expect(endings(await hear())).toEqual([`GOAWAY ${error}`]);
  });
});
