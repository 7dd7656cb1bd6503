/** Work after a response: when the report of its end may stay unread, and when the next request is sent without the report. */
import { FrameType } from "@paceline/wire/lane/protocol";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { frameBytes } from "../../../wire/test/support/lane-frames.js";
import { vector } from "../../../wire/test/support/lane-vectors.js";
import { type FakeConnection, FakeTransport } from "../../test/support/fake-transport.js";
import { Asked, turnEnd } from "../../test/support/lane-bench.js";
import { Deadlines } from "../deadlines.js";
import { HeadWriter } from "../http1/head-writer.js";
import { Counters } from "../stats/counters.js";
import { TurnShare } from "../transport/reading.js";
import { SmallReads } from "../transport/small-reads.js";
import { ControlLane } from "../upstream-lane/lane-connection.js";
import type { LaneUpstreamClient } from "../upstream-lane/lane-upstream.js";
import { Pool } from "../upstreams/pool.js";
import { RoundRobin } from "../upstreams/round-robin.js";
import { Upstream } from "../upstreams/upstream.js";
import type { UpstreamClient } from "../upstreams/upstream-client.js";
import { WorkMeter } from "../upstreams/work-meter.js";
import { Http1UpstreamClient, WatchedHttp1Client } from "./http1-upstream.js";

const RESPONSE = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: paceline-working\r\n\r\nx";
const DONE = "HTTP/1.1 100 Continue\r\n\r\n";
const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/** How many instances of quick work prove that quick work is usual, and how many requests are then sent without a report. */
const PROOFS = 8;
const UNPROVEN = 16;

let nowMs = 0;
beforeEach(() => {
  nowMs = 0;
  vi.spyOn(performance, "now").mockImplementation(() => nowMs);
});
afterEach(() => void vi.restoreAllMocks());

class Bench {
  readonly counters = new Counters();
  readonly client: Http1UpstreamClient;
  rooms = 0;
  readonly deadlines = new Deadlines();
  private readonly transport = new FakeTransport();

  constructor(maxConnections = 1) {
    const { deadlines } = this;
    const smallReads = new SmallReads({ spareBytes: Number.POSITIVE_INFINITY });
    const turnShare = new TurnShare();
    const services = { transport: this.transport, deadlines, turnShare, smallReads, counters: this.counters };
    const options = {
      maxConnections,
      isForeign: false,
      isPerClient: false,
      // Only places are waited for.
      onRoom: Number.isFinite(maxConnections) ? () => void this.rooms++ : undefined,
      sendProxy: undefined,
      pool: { requestTimeoutMs: 3000 },
    };
    this.client = new Http1UpstreamClient(
      { ...services, requestWriter: new HeadWriter(16_384, deadlines) },
      "instance.sock",
      options,
    );
  }

  ask(path = "/"): Asked {
    const asked = new Asked(this.client as unknown as LaneUpstreamClient, GET.replace("/", path));
    if (this.transport.connecting.length > 0) this.transport.accept();
    return asked;
  }

  /** Creates something that connects, and accepts its connection. */
  accept<Made>(make: (transport: FakeTransport) => Made): { made: Made; connection: FakeConnection } {
    const made = make(this.transport);
    return { made, connection: this.transport.accept() };
  }

  get connection() {
    return this.transport.connections[0] as (typeof this.transport.connections)[0];
  }

  says(text: string): void {
    this.connection.owner.onData(Buffer.from(text));
  }

  /** A request with its response, and the report after some milliseconds of work. */
  run(workMs: number): void {
    this.ask();
    this.says(RESPONSE);
    nowMs += workMs;
    this.says(DONE);
  }

  /** An instance that has finished its work soon after each response, and is busy. */
  static proven(maxConnections = 1): Bench {
    const bench = new Bench(maxConnections);
    for (let n = 0; n < PROOFS; n++) bench.run(1);
    bench.ask();
    bench.says(RESPONSE);
    return bench;
  }
}

it("sends a request to an instance that will soon be free; its report is discarded, with the response or before it", () => {
  const bench = Bench.proven();
  for (const later of [[RESPONSE], [DONE + RESPONSE], [DONE, RESPONSE], [DONE.slice(0, 9), DONE.slice(9) + RESPONSE]]) {
    expect([bench.client.hasRoom(), bench.client.endsSoon, bench.connection.isPaused]).toEqual([false, true, true]);
    bench.connection.take();
    const asked = bench.ask();
    expect(`${bench.connection.take()}`).toMatch(/^GET \//);
    expect([bench.connection.isPaused, bench.counters.abandoned, bench.client.endsSoon]).toEqual([false, 0, false]);
    for (const text of later) bench.says(text);
    expect([asked.heads.map(({ status }) => status), asked.body, asked.isEnded]).toEqual([[200], "x", true]);
  }
  expect([bench.client.connections, bench.counters.abandoned]).toEqual([1, 1]);
});

it.each([
  ["the first works", () => new Bench()],
  ["a work that took long", longAfterProof],
])("waits for the report after %s", (_, make) => {
  const bench = make();
  bench.ask();
  bench.says(RESPONSE);
  expect([bench.client.endsSoon, bench.connection.isPaused]).toEqual([false, false]);
});

it("waits for the report of an instance with several places", () => {
  const bench = Bench.proven(2);
  expect([bench.client.endsSoon, bench.connection.isPaused]).toEqual([false, false]);
});

/** An instance that was quick, then had as many requests without a report as allowed, and takes long now. */
function longAfterProof(): Bench {
  const bench = Bench.proven();
  for (let n = 0; n < UNPROVEN; n++) {
    expect(bench.client.endsSoon).toBe(true);
    bench.ask();
    bench.says(RESPONSE);
  }
  // The next report is awaited, and is read immediately.
  expect([bench.client.endsSoon, bench.connection.isPaused]).toEqual([false, false]);
  nowMs += 60;
  bench.says(DONE);
  return bench;
}

it("reads the report when the place is needed, at a tick, or to detect overdue requests", () => {
  for (const look of [
    ({ client }: Bench) => void client.hasRoom(),
    ({ client }: Bench) => client.closeIdleSince(-1),
    ({ client }: Bench) => expect(client.overdue()).toBeUndefined(),
  ]) {
    const bench = Bench.proven();
    const rooms = bench.rooms;
    // Longer than usual.
    nowMs += 60;
    expect([bench.client.endsSoon, bench.connection.isPaused]).toEqual([false, true]);
    look(bench);
    expect([bench.connection.isPaused, bench.client.overdue()?.request]).toEqual([false, "GET /"]);
    bench.says(DONE);
    expect([bench.rooms, bench.client.hasRoom(), bench.client.overdue()]).toEqual([rooms + 1, true, undefined]);
    // When the instance was free is unknown, so nothing is learned from it.
    bench.ask();
    bench.says(RESPONSE);
    expect(bench.client.endsSoon).toBe(true);
  }
});

it.each([
  ["before its report, perhaps by the request before", [], "behindAbandoned"],
  ["after it", [DONE], "closed"],
  ["in the middle of the response", [DONE + RESPONSE.slice(0, -1)], "broken"],
])("reports how a following request was lost: %s", (_, said, loss) => {
  const bench = Bench.proven();
  const asked = bench.ask();
  for (const text of said) bench.says(text);
  bench.connection.owner.onClose();
  expect(asked.loss).toBe(loss);
});

it("gets no requests from the moment a request has exceeded its time limit until it is clear that its process is not killed", () => {
  const bench = new Bench(4);
  let passedMs = 0;
  Object.defineProperty(bench.deadlines, "now", { get: () => passedMs });
  const pass = (ms: number) => {
    passedMs += ms;
  };
  const early = bench.ask();
  pass(1000);
  // If the client leaves early, the instance may still finish in time.
  early.stream.cancel();
  expect(bench.client.hasRoom()).toBe(true);
  pass(2000);
  bench.client.closeIdleSince(-1);
  expect(bench.client.hasRoom()).toBe(false);
  pass(5000);
  bench.client.closeIdleSince(-1);
  expect(bench.client.hasRoom()).toBe(true);
  const late = bench.ask();
  pass(3000);
  // Before the queue is served, in the same turn.
  late.stream.cancel();
  expect(bench.client.hasRoom()).toBe(false);
});

it.each([
  ["at once, before it is late", 1000, [], 0, true],
  ["not while it is late: a server that closes then would seem to be done", 2900, [], 0, false],
  ["with the response", 2900, ["HTTP/1.1 200"], 0, true],
  ["at once, in the middle of a response", 2900, [], 0, true, "HTTP/1.1 200 OK\r\n\r\nx"],
  ["once it is clear that its process is spared", 2900, [], 5000, true],
])("gets a FIN for an abandoned request %s", (_, afterMs, said, thenMs, isEnded, first = "") => {
  const bench = new Bench(4);
  let passedMs = 0;
  Object.defineProperty(bench.deadlines, "now", { get: () => passedMs });
  const asked = bench.ask();
  bench.says(first);
  const end = vi.spyOn(bench.connection, "end");
  passedMs += afterMs;
  asked.stream.cancel();
  for (const text of said) bench.says(text);
  passedMs += thenMs;
  bench.client.closeIdleSince(-1);
  expect([end.mock.calls.length > 0, bench.client.overdue()?.request]).toEqual([isEnded, "GET /"]);
});

it("reports exactly for how long an abandoned request is due, although its sending time is only known to a tick", () => {
  const bench = new Bench(4);
  nowMs = 1000;
  const asked = bench.ask();
  Object.assign(asked, { readyAt: 950 });
  Object.defineProperty(bench.deadlines, "now", { get: () => 3000 });
  nowMs = 3920;
  asked.stream.cancel();
  expect(bench.client.overdue()).toEqual({ request: "GET /", forMs: 2970 });
});

it.each([
  ["goes elsewhere if nothing of its response has come", true, "", "stalled"],
  ["stays if it may not run twice", false, "", undefined],
  ["stays once its response has begun", true, "HTTP/1.1 200 OK\r\n", undefined],
])("a request that is to be reassigned %s", (_, canRunAgain, heard, loss) => {
  const bench = new Bench();
  const asked = bench.ask();
  asked.canRunAgain = canRunAgain;
  if (heard !== "") bench.says(heard);
  bench.client.reassignWaiting();
  // The instance may still run the request.
  expect([asked.loss, bench.client.lasting]).toEqual([loss, loss === undefined ? 0 : 1]);
});

it("an abandoned request also counts as long for other balancers, but not work after a response that usually ends soon", () => {
  const abandoned = new Bench();
  abandoned.ask().stream.cancel();
  expect([abandoned.client.lasting, Bench.proven().client.lasting, Bench.proven(4).client.lasting]).toEqual([1, 0, 1]);
});

it("is only picked if no other instance is free", () => {
  const state = { free: true, soon: true };
  const link = (is: { free: boolean; soon: boolean }) =>
    ({
      hasRoom: () => is.free,
      pending: 0,
      get endsSoon() {
        return is.soon;
      },
      leave: () => {},
    }) as unknown as UpstreamClient;
  const finishing = new Upstream("web.1#1", "web.1", link({ free: false, soon: true }));
  const other = new Upstream("web.2#1", "web.2", link(state));
  const pool = new Pool("web", new RoundRobin<Upstream>(), 10);
  pool.setMembers([finishing, other]);
  pool.isLimited = true;
  expect([1, 2].map(() => pool.pick(undefined, true))).toEqual([other, other]);
  state.free = state.soon = false;
  expect(pool.pick(undefined, false)).toBe(finishing);
  expect(pool.pick([finishing], true)).toBeUndefined();
  pool.isLimited = false;
  expect(pool.pick(undefined, true)).toBeUndefined();
  pool.isLimited = true;
  finishing.leave(0, () => {});
  expect(pool.pick(undefined, true)).toBeUndefined();
});

it("names the request whose client has gone until the instance replies to a PING, however late the ticks are", async () => {
  const bench = new Bench(Number.POSITIVE_INFINITY);
  const lane = bench.accept((transport) => new ControlLane({ transport, onProblem }, "instance.lane", new WorkMeter()));
  lane.connection.owner.onData(Buffer.from(vector("HELLO of an instance").hex, "hex"));
  const watched = new WatchedHttp1Client(bench.client, lane.made, () => {});
  const hung = bench.ask("/hung");
  hung.stream.cancel();
  watched.countStall(0);
  const waits = bench.ask("/waits");
  for (let tick = 0; tick < 20; tick++) watched.countStall(0);
  expect(watched.runningRequest()).toBe("GET /hung");
  await turnEnd();
  lane.connection.owner.onData(frameBytes({ type: FrameType.PONG, id: 0, payload: Buffer.from([1, 0, 0, 0]) }));
  watched.countStall(1);
  expect(watched.runningRequest()).toBe("GET /waits");
  waits.stream.cancel();
});

function onProblem(problem: string): void {
  throw new Error(problem);
}
