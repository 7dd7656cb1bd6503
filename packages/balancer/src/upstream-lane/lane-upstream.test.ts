import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FrameDecoder } from "@paceline/wire/lane/frame-decoder";
import { FrameType, LITTLE_WINDOW_BYTES, RESPONSE_WINDOW_BYTES } from "@paceline/wire/lane/protocol";
import { RequestFlag } from "@paceline/wire/lane/request-head";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { frameBytes } from "../../../wire/test/support/lane-frames.js";
import { vector } from "../../../wire/test/support/lane-vectors.js";
import { type Asked, LaneBench, turnEnd } from "../../test/support/lane-bench.js";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const PUT = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
const POST = "POST / HTTP/1.1\r\nHost: a\r\n\r\n";
const HELLO = Buffer.from(vector("HELLO of an instance").hex, "hex");
const WINDOW_BYTES = 1_048_576;

const frame = (type: number, id: number, payload: Uint8Array | number[] = []) =>
  frameBytes({ type, id, payload: Uint8Array.from(payload) });
const number = (type: number, id: number, value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return frame(type, id, bytes);
};
/** A RESPONSE without fields. */
const response = (id: number, status = 200, flags = 3) =>
  frame(FrameType.RESPONSE, id, [status & 255, status >>> 8, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 10]);

/** The HELLO of an instance without a scoreboard, as on Node. */
const PLAIN_HELLO = Buffer.from(HELLO);
PLAIN_HELLO.writeUInt16LE(0, HELLO.length - 2);

/** The HELLO of an instance that does not know small windows. */
const EARLIER_HELLO = Buffer.from(HELLO);
EARLIER_HELLO.writeUInt16LE(2, 12);

function open(bench = new LaneBench(), hello = HELLO) {
  const first = bench.ask(GET);
  const connection = bench.transport.accept();
  connection.owner.onData(hello);
  first.stream.cancel();
  return { bench, connection, give: (...frames: Buffer[]) => connection.owner.onData(Buffer.concat(frames)) };
}

/** Returns the types and streams of the frames in these bytes; for DATA, also its bytes. */
function typesIn(bytes: Buffer): [number, number, number][] {
  const types: [number, number, number][] = [];
  const decoder = new FrameDecoder();
  const isRead = decoder.read(bytes, {
    onFrame: (type, id, _, start, end) => types.push([type, id, end - start]),
    onBody: (id, _, start, end, isLast) => types.push([isLast ? FrameType.END : FrameType.DATA, id, end - start]),
  });
  expect(isRead).toBe(true);
  return types;
}

function sent(bytes: Buffer, type: number): number {
  return typesIn(bytes).reduce((sum, [each, , size]) => (each === type ? sum + size : sum), 0);
}

/** Returns the windows granted in these bytes. */
function windowsIn(bytes: Buffer): number[] {
  const grants: number[] = [];
  new FrameDecoder().read(bytes, {
    onFrame: (type, _, payload, start) => void (type === FrameType.WINDOW && grants.push(payload.readUInt32LE(start))),
    onBody: () => {},
  });
  return grants;
}

function requestFlags(bytes: Buffer): number[] {
  const flags: number[] = [];
  new FrameDecoder().read(bytes, {
    onFrame: (type, _, payload, start) => void (type === FrameType.REQUEST && flags.push(payload[start + 1] as number)),
    onBody: () => {},
  });
  return flags;
}

const idOf = (asked: Asked) => (asked.stream as unknown as { id: number }).id;

/** The app reads a whole window of the body. */
function readWindow({ give }: { give(...frames: Buffer[]): void }, asked: Asked): void {
  asked.stream.sendBody(Buffer.alloc(WINDOW_BYTES), 0, WINDOW_BYTES);
  give(number(FrameType.WINDOW, idOf(asked), WINDOW_BYTES));
}

describe("the balancer's lane", () => {
  it("makes one connection, although all requests that waited for it have gone", () => {
    const bench = new LaneBench();
    bench.ask(GET).stream.cancel();
    const next = bench.ask(GET);
    expect(bench.transport.connecting).toHaveLength(1);
    const connection = bench.transport.accept();
    connection.owner.onData(HELLO);
    expect(next.stream.isReady).toBe(true);
  });

  it("sends nothing but HELLO before it has received the HELLO of the instance", async () => {
    const bench = new LaneBench();
    bench.ask(GET);
    const connection = bench.transport.accept();
    await turnEnd();
    expect(connection.take().toString("hex")).toBe(vector("HELLO of the balancer").hex);
    connection.owner.onData(HELLO);
    await turnEnd();
    expect(typesIn(connection.take()).map(([type]) => type)).toEqual([FrameType.REQUEST]);
  });

  it("opens no more streams than the instance allows, including those that waited for its HELLO", async () => {
    const bench = new LaneBench();
    const all = [1, 2, 3].map(() => bench.ask(GET));
    const connection = bench.transport.accept();
    connection.take();
    const few = Buffer.from(HELLO);
    few.writeUInt32LE(2, 18);
    connection.owner.onData(few);
    await turnEnd();
    expect(typesIn(connection.take()).map(([type]) => type)).toEqual([FrameType.REQUEST, FrameType.REQUEST]);
    expect(all.map(({ loss }) => loss)).toEqual([undefined, undefined, "refused"]);
    expect(bench.link.hasRoom(true)).toBe(false);
  });

  it.each([
    ["DATA", vector("DATA").hex],
    ["a RESPONSE", vector("RESPONSE with a length").hex],
  ])("closes a lane that begins with %s", (_, hex) => {
    const bench = new LaneBench();
    const asked = bench.ask(GET);
    const connection = bench.transport.accept();
    connection.owner.onData(Buffer.from(hex, "hex"));
    expect(bench.problems).toEqual([expect.stringContaining("no HELLO at the start")]);
    expect(connection.isClosed).toBe(true);
    expect(asked.loss).toBe("closed");
  });

  it("ends a request once if its receiver abandons it when it gets the head", async () => {
    const { bench, give } = open();
    const asked = bench.ask(GET);
    asked.onHead = () => asked.stream.cancel();
    give(response(idOf(asked)));
    const [one, two] = [bench.ask(GET), bench.ask(GET)];
    expect(idOf(one)).not.toBe(idOf(two));
    expect(asked.isEnded).toBe(false);
    expect(bench.link.hasRoom(true)).toBe(true);
  });

  it.each([0, 99, 101, 600, 999, 65_535])("fails only the request of a response with the status %i", (status) => {
    const { bench, give, connection } = open();
    const [asked, other] = [bench.ask(GET), bench.ask(GET)];
    give(response(idOf(asked), status), response(idOf(other)));
    expect([asked.loss, other.loss, other.isEnded, connection.isClosed]).toEqual(["broken", undefined, true, false]);
    expect(bench.problems).toEqual([expect.stringContaining(`responded with the status ${status}`)]);
  });

  it("accepts the part of a cancelled stream's body that was already sent, and no more", () => {
    const { bench, give, connection } = open();
    const [asked, other] = [bench.ask(GET), bench.ask(GET)];
    give(response(idOf(asked), 200, 0));
    asked.stream.cancel();
    // The windows of the two cancelled requests.
    const data = frame(FrameType.DATA, idOf(asked), Buffer.alloc(RESPONSE_WINDOW_BYTES / 2));
    for (let n = 0; n < 4 && !connection.isClosed; n++) give(data);
    expect([bench.problems, other.loss]).toEqual([[], undefined]);
    for (let n = 0; n < 4 && !connection.isClosed; n++) give(data);
    expect(bench.problems).toEqual([expect.stringContaining("more bytes of a body than could be in transit")]);
    expect([connection.isClosed, other.loss]).toEqual([true, "closed"]);
  });

  it("ignores all frames after an invalid one, even if a request is started again in the meantime", () => {
    const { bench, give } = open();
    const asked = bench.ask(GET);
    let next: Asked | undefined;
    asked.onUpstreamLost = () => {
      next = bench.ask(GET);
    };
    const broken = response(idOf(asked));
    // A reason that is longer than the payload.
    broken[broken.length - 3] = 255;
    give(broken, frame(0, 0));
    expect(bench.problems).toHaveLength(1);
    bench.transport.accept().owner.onData(HELLO);
    expect(next?.stream.isReady).toBe(true);
    expect(next?.loss).toBeUndefined();
  });

  it.each(["connected", "not connected"])("gives back all that waits for a HELLO, %s", (state) => {
    const bench = new LaneBench();
    const asked = [bench.ask(GET), bench.ask(POST), bench.ask(GET)];
    // No other request may be in flight.
    expect(bench.busy).toBe(asked.length);
    const connection = state === "connected" ? bench.transport.accept() : undefined;
    expect([1, 1].map((weight) => bench.link.countStall(weight))).toEqual([1, 2]);
    bench.link.reassign();
    expect(asked.map(({ loss }) => loss)).toEqual(["refused", "refused", "refused"]);
    // It counts as silent until it sends something, although nothing is pending.
    expect(bench.link.countStall(1)).toBe(3);
    (connection ?? bench.transport.accept()).owner.onData(HELLO);
    expect(bench.link.countStall(1)).toBe(0);
  });

  it("is no longer silent when it is closed", () => {
    const bench = new LaneBench();
    expect(bench.link.countStall(1)).toBe(1);
    bench.transport.accept().owner.onClose();
    expect(bench.link.countStall(1)).toBe(0);
  });

  it("reassigns all requests of a stalled instance about which nothing was received, except the oldest, which is running", async () => {
    const { bench } = open();
    const [first, second] = [bench.ask(GET), bench.ask(GET)];
    await turnEnd();
    bench.link.reassign();
    expect([first.loss, second.loss]).toEqual([undefined, "stalled"]);
  });

  it("keeps the request that the scoreboard of a stalled instance names; one whose handler it called earlier may have started", async () => {
    const folder = mkdtempSync(join(tmpdir(), "paceline-scoreboard-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const { bench } = open(new LaneBench(1, 1024, join(folder, "instance.sock")));
    const asked = [bench.ask(GET), bench.ask(GET), bench.ask(GET)];
    await turnEnd();
    // Lane 3, counted from its HELLO, runs the second of these; one request came before them.
    writeFileSync(join(folder, "instance.scoreboard"), new Uint32Array([3, 3, 0, 0, 3, 0]));
    bench.link.reassign();
    expect(asked.map(({ loss }) => loss)).toEqual(["stalled", undefined, "behindStalled"]);
  });

  it("moves requests that have waited long behind a running handler, once, and cancels them there", async () => {
    const folder = mkdtempSync(join(tmpdir(), "paceline-scoreboard-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const bench = new LaneBench(1, 1024, join(folder, "instance.sock"));
    const { connection } = open(bench);
    const asked = [bench.ask(GET), bench.ask(GET), bench.ask(POST)];
    await turnEnd();
    connection.take();
    // Lane 3, counted from its HELLO, runs the first of these; one request came before them.
    writeFileSync(join(folder, "instance.scoreboard"), new Uint32Array([3, 2, 0, 0, 2, 0]));
    const losses = () => asked.map(({ loss }) => loss);
    bench.work.moveAfterMs = 30;
    bench.link.countStall(1);
    asked.push(bench.ask(GET));
    await turnEnd();
    // A late tick says nothing about the instance.
    for (const weight of [1, 1 / 8, 1 / 8]) bench.link.countStall(weight);
    expect(losses()).toEqual([undefined, undefined, undefined, undefined]);
    bench.link.countStall(1);
    expect(losses()).toEqual([undefined, "behindStalled", undefined, undefined]);
    connection.take();
    (asked[3] as Asked).canReassign = false;
    for (let tick = 0; tick < 3; tick++) bench.link.countStall(1);
    expect(losses()).toEqual([undefined, "behindStalled", undefined, undefined]);
  });

  it("does not name or blame a request that waits behind one whose client has gone", async () => {
    const { bench, connection, give } = open(new LaneBench(), PLAIN_HELLO);
    const ask = (path: string) => bench.ask(GET.replace("/", path));
    // The request that opened it has left, too.
    give(frame(FrameType.CANCELLED, 0, [1]));
    const hung = ask("/hung");
    await turnEnd();
    expect(bench.link.runningRequest()).toBe("GET /hung");
    hung.stream.cancel();
    const waits = ask("/waits");
    await turnEnd();
    expect(bench.link.runningRequest()).toBe("GET /hung");
    // The instance continues.
    give(frame(FrameType.CANCELLED, idOf(hung), [1]));
    expect(bench.link.runningRequest()).toBe("GET /waits");
    // If two requests left, either may be the running one.
    const other = ask("/other");
    other.stream.cancel();
    expect(bench.link.runningRequest()).toBeUndefined();
    connection.owner.onClose();
    expect(waits.loss).toBe("behindAbandoned");
  });

  it("counts its requests from the start when its lane is opened again", async () => {
    const folder = mkdtempSync(join(tmpdir(), "paceline-scoreboard-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const { bench, connection } = open(new LaneBench(1, 1024, join(folder, "instance.sock")));
    for (let n = 0; n < 5; n++) bench.ask(GET);
    await turnEnd();
    connection.owner.onClose();
    const asked = [bench.ask(GET), bench.ask(GET)];
    bench.transport.accept().owner.onData(HELLO);
    await turnEnd();
    writeFileSync(join(folder, "instance.scoreboard"), new Uint32Array([0, 2, 0, 0, 1, 0]));
    bench.link.reassign();
    // They may be sent in either order.
    expect(asked.map(({ loss }) => loss).sort()).toEqual(["behindStalled", undefined]);
  });

  it("treats a GET that was stalled elsewhere as not started until STARTED arrives, and then as running", async () => {
    const { bench, connection, give } = open();
    await turnEnd();
    connection.take();
    const [started, other] = [bench.ask(GET, true), bench.ask(GET)];
    await turnEnd();
    expect(requestFlags(connection.take()).map((flags) => flags & RequestFlag.IDEMPOTENT)).toEqual([
      0,
      RequestFlag.IDEMPOTENT,
    ]);
    give(frame(FrameType.STARTED, idOf(started)));
    bench.link.reassign();
    expect([started.loss, other.loss]).toEqual([undefined, "stalled"]);
    const next = bench.ask(GET, true);
    await turnEnd();
    connection.owner.onClose();
    expect([started.loss, next.loss]).toEqual(["closed", "notStarted"]);
  });

  it("sends no more of a body than the instance allows, and all of it as the instance allows more", async () => {
    const { bench, connection, give } = open();
    const asked = bench.ask(PUT);
    await turnEnd();
    connection.take();
    const body = Buffer.alloc(3 * WINDOW_BYTES, "x");
    expect(asked.stream.sendBody(body, 0, body.length)).toBe(false);
    asked.stream.endBody();
    await turnEnd();
    expect(sent(connection.take(), FrameType.DATA)).toBe(WINDOW_BYTES);
    give(number(FrameType.WINDOW, idOf(asked), 1000));
    await turnEnd();
    expect(sent(connection.take(), FrameType.DATA)).toBe(1000);
    give(number(FrameType.WINDOW, idOf(asked), body.length));
    await turnEnd();
    const rest = typesIn(connection.take());
    expect(rest.reduce((sum, [, , size]) => sum + size, 0)).toBe(body.length - WINDOW_BYTES - 1000);
    expect(rest.at(-1)?.[0]).toBe(FrameType.END);
  });

  it("sends a large piece in one DATA only to an instance whose HELLO allows it", async () => {
    for (const [name, sizes] of [
      ["HELLO of an instance with its process", [65_536, 65_536, 65_536, 3392]],
      ["HELLO of an instance that accepts large DATA", [200_000]],
    ] as const) {
      const { bench, connection } = open(new LaneBench(), Buffer.from(vector(name).hex, "hex"));
      const asked = bench.ask(PUT);
      await turnEnd();
      connection.take();
      asked.stream.sendBody(Buffer.alloc(200_000), 0, 200_000);
      await turnEnd();
      const bytes = connection.take();
      const frames: number[] = [];
      for (let at = 0; at < bytes.length; at += 8 + bytes.readUIntLE(at, 3)) frames.push(bytes.readUIntLE(at, 3));
      expect(frames).toEqual(sizes);
    }
  });

  it("lets the transport keep a large piece, and copy only what has waited in a buffer that is used again", async () => {
    const { bench, connection, give } = open();
    const asked = bench.ask(PUT);
    await turnEnd();
    const copied = vi.spyOn(connection, "writeTransient");
    const largest = () => Math.max(...copied.mock.calls.map(([, length]) => length));
    asked.stream.sendBody(Buffer.alloc(WINDOW_BYTES + 100_000), 0, WINDOW_BYTES + 100_000);
    expect(largest()).toBe(8);
    give(number(FrameType.WINDOW, idOf(asked), 100_000));
    expect(largest()).toBe(65_536);
  });

  it("counts a request as pending until its handler has returned, or the reply to its CANCEL has arrived", () => {
    const { bench, give } = open(new LaneBench(8));
    const [get, post, quick, left] = [GET, POST, GET, GET].map((text) => bench.ask(text)) as [
      Asked,
      Asked,
      Asked,
      Asked,
    ];
    // Including the one that `open` has cancelled.
    expect(bench.link.pending).toBe(5);
    const pendingAfter = (...frames: Buffer[]) => {
      give(...frames);
      return bench.link.pending;
    };
    expect(pendingAfter(frame(FrameType.STARTED, idOf(get)))).toBe(4);
    expect(pendingAfter(frame(FrameType.STARTED, idOf(get)))).toBe(4);
    // Before its handler is called, and after the handler has returned.
    expect(pendingAfter(frame(FrameType.STARTED, idOf(post)))).toBe(4);
    expect(pendingAfter(frame(FrameType.STARTED, idOf(post)))).toBe(3);
    expect(pendingAfter(response(idOf(quick)))).toBe(2);
    left.stream.cancel();
    expect(bench.link.pending).toBe(2);
    expect(pendingAfter(frame(FrameType.CANCELLED, idOf(left), [1]))).toBe(1);
    expect(bench.problems).toEqual([]);
  });

  it("requests the next request when a handler has returned", () => {
    const { bench, give } = open();
    const asked = bench.ask(GET);
    bench.rooms = 0;
    give(frame(FrameType.STARTED, idOf(asked)), response(idOf(asked)));
    expect(bench.rooms).toBe(1);
  });

  it("sends small and large pieces in order, through a kernel that accepts a few bytes at a time", async () => {
    const { bench, connection } = open();
    const asked = bench.ask(PUT);
    await turnEnd();
    connection.take();
    const body = Buffer.from(Array.from({ length: 400_000 }, (_, at) => (at * 7 + (at >> 8)) & 255));
    const sizes = [10, 40_000, 5, 32_768, 32_767, 70_000, 1, 131_072];
    connection.room = 50_007;
    let at = 0;
    for (const size of [...sizes, body.length - sizes.reduce((sum, each) => sum + each, 0)]) {
      asked.stream.sendBody(body, at, at + size);
      at += size;
    }
    asked.stream.endBody();
    const output: Buffer[] = [];
    for (let round = 0; round < 100; round++) {
      await turnEnd();
      connection.drain(9_001);
      output.push(connection.take());
    }
    const received: Buffer[] = [];
    new FrameDecoder().read(Buffer.concat(output), {
      onFrame: () => {},
      onBody: (_, bytes, start, end) => void received.push(Buffer.from(bytes.subarray(start, end))),
    });
    expect(Buffer.concat(received).equals(body)).toBe(true);
  });

  it("requests more of a body only while the instance accepts half a window, because a read may bring as much", async () => {
    const { bench, give } = open();
    const asked = bench.ask(PUT);
    readWindow({ give }, asked);
    const body = Buffer.alloc(WINDOW_BYTES / 2, "x");
    expect(asked.stream.sendBody(body, 0, body.length)).toBe(true);
    expect(asked.stream.sendBody(body, 0, 1)).toBe(false);
    await turnEnd();
    expect(asked.stream.flush()).toBe(false);
    asked.drains = 0;
    give(number(FrameType.WINDOW, idOf(asked), 1));
    expect(asked.drains).toBe(1);
    expect(asked.stream.flush()).toBe(true);
    expect(asked.stream.sendBody(body, 0, 2)).toBe(false);
    give(number(FrameType.WINDOW, idOf(asked), 1));
    expect(asked.drains).toBe(1);
  });

  it("requests little of a body before the app has read any of it, and then as much as the app has read", async () => {
    const { bench, give } = open();
    const asked = bench.ask(PUT);
    const body = Buffer.alloc(100_000, "x");
    expect(asked.stream.sendBody(body, 0, 30_000)).toBe(true);
    expect(asked.stream.sendBody(body, 0, 30_000)).toBe(false);
    asked.drains = 0;
    give(number(FrameType.WINDOW, idOf(asked), 20_000));
    // 40,000 bytes have arrived, and 20,000 were read.
    expect(asked.drains).toBe(0);
    give(number(FrameType.WINDOW, idOf(asked), 15_000));
    expect(asked.drains).toBe(1);
    give(number(FrameType.WINDOW, idOf(asked), 25_000));
    expect(asked.stream.sendBody(body, 0, 59_000)).toBe(true);
    expect(asked.stream.sendBody(body, 0, 1_000)).toBe(false);
  });

  it("requests little of each response while memory is scarce, if the instance knows small windows", async () => {
    const [known, unknown] = [open(), open(new LaneBench(), EARLIER_HELLO)];
    for (const { bench, connection, give } of [known, unknown]) {
      await turnEnd();
      connection.take();
      bench.unread.spareBytes = 0;
      const asked = bench.ask(GET);
      await turnEnd();
      const isLittle = bench === known.bench;
      expect(requestFlags(connection.take()).map((flags) => flags & RequestFlag.LITTLE)).toEqual([isLittle ? 32 : 0]);
      const most = isLittle ? LITTLE_WINDOW_BYTES : RESPONSE_WINDOW_BYTES;
      give(response(idOf(asked), 200, 0), frame(FrameType.DATA, idOf(asked), new Uint8Array(most)));
      await turnEnd();
      expect([windowsIn(connection.take()), bench.problems]).toEqual([[LITTLE_WINDOW_BYTES], []]);
    }
  });

  it("requests no more of a body whose window is full when the kernel has room again", async () => {
    const { bench, connection } = open();
    const [full, other] = [bench.ask(PUT), bench.ask(PUT)];
    const body = Buffer.alloc(WINDOW_BYTES + 1, "x");
    expect(full.stream.sendBody(body, 0, body.length)).toBe(false);
    expect(other.stream.sendBody(body, 0, 100)).toBe(true);
    connection.room = 0;
    await turnEnd();
    expect(other.stream.sendBody(body, 0, 100)).toBe(false);
    connection.drain();
    expect([full.drains, other.drains]).toEqual([0, 1]);
  });

  it("sends what arrived while the kernel was slow, even over a transport that ignores a few waiting bytes", async () => {
    const { bench, connection } = open();
    connection.highWater = 262_144;
    connection.room = 10;
    const all = [bench.ask(GET)];
    await turnEnd();
    all.push(bench.ask(GET));
    await turnEnd();
    connection.drain();
    await turnEnd();
    const requests = typesIn(connection.take()).filter(([type]) => type === FrameType.REQUEST);
    expect(requests.map(([, id]) => id)).toEqual(expect.arrayContaining(all.map(idOf)));
  });

  it("accepts a whole window of a response for a client that reads nothing; one byte more closes the lane", () => {
    const { bench, give } = open();
    const asked = bench.ask(GET);
    give(response(idOf(asked), 200, 0));
    asked.stream.pause();
    const piece = frame(FrameType.DATA, idOf(asked), Buffer.alloc(RESPONSE_WINDOW_BYTES / 2, "x"));
    give(piece, piece);
    expect(asked.body).toHaveLength(RESPONSE_WINDOW_BYTES);
    expect(bench.problems).toEqual([]);
    give(frame(FrameType.DATA, idOf(asked), [120]));
    expect(bench.problems).toEqual([expect.stringContaining("a body that its head or its window does not allow")]);
    expect(asked.loss).toBe("broken");
  });

  it("grants as much as its client reads, and nothing while it does not read", async () => {
    const { bench, connection, give } = open();
    const asked = bench.ask(GET);
    give(response(idOf(asked), 200, 0));
    await turnEnd();
    connection.take();
    const piece = frame(FrameType.DATA, idOf(asked), Buffer.alloc(RESPONSE_WINDOW_BYTES / 2, "x"));
    give(piece);
    asked.stream.pause();
    // The window has grown.
    give(piece, piece);
    await turnEnd();
    expect(typesIn(connection.take())).toEqual([[FrameType.WINDOW, idOf(asked), 4]]);
    asked.stream.resume();
    await turnEnd();
    expect(typesIn(connection.take())).toEqual([[FrameType.WINDOW, idOf(asked), 4]]);
  });

  it("reports for an ended lane which of the requests that must not be repeated had begun", () => {
    const { bench, connection, give } = open(new LaneBench(8));
    const [begun, notStarted, idempotent, answering] = [POST, POST, GET, GET].map((text) => bench.ask(text)) as [
      Asked,
      Asked,
      Asked,
      Asked,
    ];
    give(frame(FrameType.STARTED, idOf(begun)), response(idOf(answering), 200, 0));
    connection.owner.onEnd();
    expect([begun, notStarted, idempotent, answering].map(({ loss }) => loss)).toEqual([
      "closed",
      "notStarted",
      "closed",
      "broken",
    ]);
  });

  it("treats no request as not started after invalid frames", () => {
    const { bench, give } = open();
    const post = bench.ask(POST);
    give(frame(FrameType.PONG, 0, [0, 0, 0, 0]), frame(0, 0));
    expect(post.loss).toBe("closed");
  });

  it("makes room for the next unsafe request when one has started, has its response, was abandoned or was lost", () => {
    const { bench, give } = open();
    const ends: ((asked: Asked) => void)[] = [
      (asked) => give(frame(FrameType.STARTED, idOf(asked))),
      (asked) => give(response(idOf(asked))),
      (asked) => asked.stream.cancel(),
      (asked) => give(frame(FrameType.FAIL, idOf(asked))),
    ];
    for (const end of ends) {
      const asked = bench.ask(POST);
      expect(bench.link.hasRoom(false)).toBe(false);
      expect(bench.link.hasRoom(true)).toBe(true);
      end(asked);
      expect(bench.link.hasRoom(false)).toBe(true);
    }
  });

  it("replies to GOAWAY after what was sent, and opens nothing after that", async () => {
    const { bench, connection, give } = open();
    await turnEnd();
    connection.take();
    const asked = bench.ask(GET);
    give(frame(FrameType.GOAWAY, 0));
    expect(bench.link.hasRoom(true)).toBe(false);
    await turnEnd();
    expect(typesIn(connection.take()).map(([type]) => type)).toEqual([FrameType.REQUEST, FrameType.GOAWAY]);
    give(response(idOf(asked)));
    expect(asked.isEnded).toBe(true);
  });

  it("closes a lane that it leaves when its last stream has ended, and reports that once", () => {
    const { bench, connection, give } = open();
    const asked = bench.ask(GET);
    let empties = 0;
    bench.link.leave(() => empties++);
    expect([empties, connection.isClosed]).toEqual([0, false]);
    give(response(idOf(asked)));
    expect([empties, connection.isClosed, bench.link.connections]).toEqual([1, true, 0]);
  });

  it.each([
    ["ends", (connection: { owner: { onEnd(): void } }) => connection.owner.onEnd()],
    ["breaks", (connection: { owner: { onData(bytes: Buffer): boolean } }) => connection.owner.onData(frame(0, 0))],
  ])("reports once that it leaves a lane that %s", (_, end) => {
    const { bench, connection } = open();
    bench.ask(GET);
    let empties = 0;
    bench.link.leave(() => empties++);
    end(connection);
    expect(empties).toBe(1);
  });

  it("replies to GOAWAY once, however often it is received, and reads nothing after CLOSE", async () => {
    const { bench, connection, give } = open();
    const asked = bench.ask(GET);
    await turnEnd();
    connection.take();
    give(...Array.from({ length: 1000 }, () => frame(FrameType.GOAWAY, 0)));
    await turnEnd();
    expect(typesIn(connection.take()).map(([type]) => type)).toEqual([FrameType.GOAWAY]);
    give(...Array.from({ length: 1000 }, () => frame(FrameType.CLOSE, 0, Buffer.from("enough"))));
    expect(bench.problems).toEqual([expect.stringContaining("enough")]);
    expect([asked.loss, connection.isClosed]).toEqual(["closed", true]);
  });

  it("fails when a PONG arrives without a PING: an instance that sends only PONGs does not hold its requests", async () => {
    const { bench, connection, give } = open();
    const asked = bench.ask(GET);
    await turnEnd();
    expect([asked.loss, connection.isClosed]).toEqual([undefined, false]);
    give(number(FrameType.PONG, 0, 1));
    expect([asked.loss, connection.isClosed]).toEqual(["closed", true]);
  });

  it("sends little of each body to an instance that holds much of all of them", async () => {
    const { bench, give } = open();
    const piece = Buffer.alloc(WINDOW_BYTES / 4, "x");
    const all = Array.from({ length: 40 }, () => bench.ask(PUT));
    for (const asked of all) readWindow({ give }, asked);
    for (const asked of all) asked.drains = 0;
    const taken = all.map(({ stream }) => stream.sendBody(piece, 0, piece.length));
    expect(taken).toEqual(all.map((_, at) => at < 31));
    // A body that the instance has completely read continues, however much the instance holds of other bodies.
    const [first, last] = [all[0], all.at(-1)] as [Asked, Asked];
    // Bytes beyond its window wait here.
    expect(last.stream.waitingBytes).toBe(piece.length - 4096);
    expect(bench.link.unread).toBeLessThan((8 << 20) + piece.length + 40 * 4096);
    for (let at = 0; at < piece.length; at += 4096) give(number(FrameType.WINDOW, idOf(last), 4096));
    expect([last.drains, last.stream.sendBody(piece, 0, 1000), last.stream.sendBody(piece, 0, 65_536)]).toEqual([
      1,
      true,
      false,
    ]);
    expect(first.stream.flush()).toBe(false);
    for (const { stream } of all.slice(1)) stream.cancel();
    expect(first.stream.flush()).toBe(true);
  });
});
