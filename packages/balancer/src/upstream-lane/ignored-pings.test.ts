import { FrameDecoder } from "@paceline/wire/lane/frame-decoder";
import { FrameType } from "@paceline/wire/lane/protocol";
import { describe, expect, it } from "vitest";
import { frameBytes } from "../../../wire/test/support/lane-frames.js";
import { vector } from "../../../wire/test/support/lane-vectors.js";
import { type FakeConnection, FakeTransport } from "../../test/support/fake-transport.js";
import { LaneBench, turnEnd } from "../../test/support/lane-bench.js";
import { WorkMeter } from "../upstreams/work-meter.js";
import { ControlLane } from "./lane-connection.js";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST = "POST / HTTP/1.1\r\nHost: a\r\n\r\n";
const HELLO = Buffer.from(vector("HELLO of an instance").hex, "hex");
/** A stream that is not open, or an earlier use of a slot. */
const NOBODY = 60_000;
const TICKS_A_SECOND = 62;
/** A broken lane is closed within this time. */
const BROKEN_WITHIN_SECONDS = 5;

const frame = (type: number, id: number, payload: Uint8Array = new Uint8Array(0)) => frameBytes({ type, id, payload });

/** Frames that a broken instance repeats; each of them alone is valid. */
const WRONGS: [string, Buffer][] = [
  ["BUSY", frame(FrameType.BUSY, 0, Buffer.alloc(4))],
  ["GOAWAY", frame(FrameType.GOAWAY, 0)],
  ["WINDOW of nobody", frame(FrameType.WINDOW, NOBODY, Buffer.alloc(4, 255))],
  ["RESPONSE of nobody", frame(FrameType.RESPONSE, NOBODY, Buffer.alloc(200))],
  ["STARTED of nobody", frame(FrameType.STARTED, NOBODY)],
  ["FAIL of nobody", frame(FrameType.FAIL, NOBODY)],
  ["CANCELLED of nobody", frame(FrameType.CANCELLED, NOBODY, Buffer.alloc(1))],
  ["an empty DATA of nobody", frame(FrameType.DATA, NOBODY)],
];
/** The first part of a frame, and bytes that never complete it. */
const ENDLESS = frame(FrameType.RESPONSE, NOBODY, Buffer.alloc(2 << 20)).subarray(0, 1000);

function pings(connection: FakeConnection): Buffer[] {
  const numbers: Buffer[] = [];
  new FrameDecoder().read(connection.take(), {
    onFrame: (type, _, bytes, start, end) => void (type === FrameType.PING && numbers.push(bytes.subarray(start, end))),
    onBody: () => {},
  });
  return numbers;
}

function open() {
  const bench = new LaneBench(5);
  bench.ask(GET).stream.cancel();
  const connection = bench.transport.accept();
  connection.owner.onData(HELLO);
  return { bench, connection };
}

/** Runs ticks with the interval that `tick` returns, with these bytes before each tick; returns the seconds until the lane failed. */
function tickUntilBroken(tick: () => number, connection: FakeConnection, bytes: Buffer, seconds: number): number {
  for (let n = 0; n < seconds * TICKS_A_SECOND; n++) {
    if (connection.isClosed) return n / TICKS_A_SECOND;
    connection.owner.onData(bytes);
    tick();
  }
  return Number.POSITIVE_INFINITY;
}

describe("an instance that sends bytes and no PONG", () => {
  it.each([...WRONGS, ["a frame without end", ENDLESS] as [string, Buffer]])(
    "loses its lane, and its requests, when it repeats %s",
    async (_, bytes) => {
      const { bench, connection } = open();
      const asked = [bench.ask(GET), bench.ask(POST)];
      await turnEnd();
      const seconds = tickUntilBroken(() => bench.link.countStall(1), connection, bytes, BROKEN_WITHIN_SECONDS);
      expect(seconds).toBeLessThan(BROKEN_WITHIN_SECONDS);
      expect(bench.problems).toEqual([expect.stringContaining("other bytes after each of 3 PINGs, and no PONG")]);
      expect(asked.map(({ loss }) => loss)).toEqual(["closed", "closed"]);
    },
  );

  it("loses its lane even if only bytes arrive in place of its PONGs", async () => {
    const { bench, connection } = open();
    const asked = bench.ask(GET);
    for (let n = 0; n < BROKEN_WITHIN_SECONDS * TICKS_A_SECOND && !connection.isClosed; n++) {
      bench.link.countStall(1);
      await turnEnd();
      if (pings(connection).length > 0) connection.owner.onData(WRONGS[0]?.[1] as Buffer);
    }
    expect([connection.isClosed, asked.loss]).toEqual([true, "closed"]);
  });

  it.each([...WRONGS, ["a frame without end", ENDLESS] as [string, Buffer]])(
    "is stalled as soon as one that sends nothing, if it repeats %s",
    (_, bytes) => {
      const { bench, connection } = open();
      // The reply to the CANCEL of the first request.
      connection.owner.onData(frame(FrameType.CANCELLED, NOBODY, Buffer.alloc(1)));
      expect(bench.link.countStall(1)).toBe(0);
      bench.ask(GET);
      const stalled = Array.from({ length: 5 }, () => {
        connection.owner.onData(bytes);
        return bench.link.countStall(1);
      });
      expect(stalled).toEqual([1, 2, 3, 4, 5]);
    },
  );

  it.each([
    ["STARTED of a request", (id: number) => frame(FrameType.STARTED, id)],
    ["FAIL of a request", (id: number) => frame(FrameType.FAIL, id)],
    ["WINDOW of a request", (id: number) => frame(FrameType.WINDOW, id, Buffer.alloc(4, 1))],
    ["CANCELLED of a reassigned request", (id: number) => frame(FrameType.CANCELLED, id, Buffer.alloc(1))],
    ["PONG", (_: number, [asked]: Buffer[]) => frame(FrameType.PONG, 0, asked)],
  ])("is no longer stalled after %s", async (what, reply) => {
    const { bench, connection } = open();
    connection.owner.onData(frame(FrameType.CANCELLED, NOBODY, Buffer.alloc(1)));
    // The first request is assumed to be the running one; the other is reassigned.
    const [first] = [bench.ask(GET), bench.ask(GET)];
    let ticks = 0;
    for (let n = 0; n < TICKS_A_SECOND + 5; n++) {
      connection.owner.onData(frame(FrameType.BUSY, 0, Buffer.alloc(4)));
      ticks = bench.link.countStall(1);
    }
    expect(ticks).toBeGreaterThan(TICKS_A_SECOND);
    if (what.startsWith("CANCELLED")) bench.link.reassign();
    await turnEnd();
    connection.owner.onData(reply((first.stream as unknown as { id: number }).id, pings(connection)));
    expect(bench.link.countStall(1)).toBeLessThan(2);
  });

  it("also loses a lane that carries only control frames", () => {
    const transport = new FakeTransport();
    const problems: string[] = [];
    const lane = new ControlLane(
      { transport, onProblem: (message) => problems.push(message) },
      "instance.lane",
      new WorkMeter(),
    );
    const connection = transport.accept();
    connection.owner.onData(HELLO);
    const bytes = frame(FrameType.BUSY, 0, Buffer.alloc(4));
    const seconds = tickUntilBroken(() => lane.countStall(1, true), connection, bytes, BROKEN_WITHIN_SECONDS);
    expect(seconds).toBeLessThan(BROKEN_WITHIN_SECONDS);
    expect(problems).toEqual([expect.stringContaining("no PONG")]);
  });
});

describe("an instance that replies to PINGs", () => {
  /** Returns what the instance sends in each tick, given the PINGs received so far. */
  const PATIENT: [string, (asked: Buffer[], tick: number) => Buffer[]][] = [
    ["and sends much", (asked) => [frame(FrameType.BUSY, 0, Buffer.alloc(4)), ...asked]],
    // Each of its turns takes 1.5 s, and its output is sent at the end of the turn.
    ["late, and sends at the end of each turn", (asked, tick) => (tick % 93 === 0 ? [...asked] : [])],
    ["and sends nothing else", (asked) => asked],
    ["not, and sends nothing", () => []],
  ];

  it.each(PATIENT)("keeps its lane: %s", async (_, say) => {
    const { bench, connection } = open();
    const asked = bench.ask(POST);
    let owed: Buffer[] = [];
    for (let tick = 0; tick < 30 * TICKS_A_SECOND; tick++) {
      const said = say(
        owed.map((number) => frame(FrameType.PONG, 0, number)),
        tick,
      );
      if (said.length > 0) {
        owed = [];
        connection.owner.onData(Buffer.concat(said));
      }
      bench.link.countStall(1);
      await turnEnd();
      owed.push(...pings(connection));
    }
    expect([bench.problems, connection.isClosed, asked.loss]).toEqual([[], false, undefined]);
  });

  it("is pinged about once per second while it sends, and not while nothing is in progress", async () => {
    const { bench, connection } = open();
    const asked = bench.ask(GET);
    const { id } = asked.stream as unknown as { id: number };
    connection.owner.onData(frame(FrameType.STARTED, id));
    let count = 0;
    const run = async () => {
      for (let tick = 0; tick < 10 * TICKS_A_SECOND; tick++) {
        connection.owner.onData(frame(FrameType.WINDOW, id, Buffer.alloc(4)));
        bench.link.countStall(1);
        await turnEnd();
        for (const number of pings(connection)) {
          count++;
          connection.owner.onData(frame(FrameType.PONG, 0, number));
        }
      }
    };
    await run();
    expect(count).toBeGreaterThanOrEqual(8);
    expect(count).toBeLessThanOrEqual(11);
    asked.stream.cancel();
    const before = count;
    await run();
    expect(count).toBe(before);
  });
});
