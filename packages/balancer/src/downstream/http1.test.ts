/** A client's connection without sockets: how much memory the client can make the balancer hold. */
import { expect, it } from "vitest";
import { LIMITS } from "../../test/support/balancer-process.js";
import { FakeConnection } from "../../test/support/fake-transport.js";
import { Deadlines } from "../deadlines.js";
import { BufferBudget } from "../exchange/buffer-budget.js";
import type { Relay } from "../exchange/relay.js";
import { UnreadBytes } from "../exchange/unread-bytes.js";
import { Forwarded } from "../http1/forwarded.js";
import { HeadWriter } from "../http1/head-writer.js";
import { RequestHead } from "../http1/request-head.js";
import { Router } from "../routing/router.js";
import { Counters } from "../stats/counters.js";
import { TurnShare } from "../transport/reading.js";
import { Http1Downstream } from "./http1.js";
import { Http1Response } from "./http1-response.js";
import type { ClientMemory } from "./input.js";

/** Gets 404 from a balancer without routes. */
const READ = Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4000));

function bench(budget: BufferBudget) {
  const relay = {
    limits: LIMITS,
    budget,
    unread: new UnreadBytes({
      maxBytes: 100_000_000,
      clock: { now: 0 },
      patienceMs: 1000,
      onNotice() {},
      lookAtPeers: () => 0,
    }),
    turnShare: new TurnShare({ take: () => false }),
    deadlines: new Deadlines(),
    counters: new Counters(),
    forwarded: new Forwarded([]),
    requestHead: new RequestHead(LIMITS),
    responseWriter: new HeadWriter(LIMITS.maxHeadBytes, { now: 0 }),
    router: new Router([]),
    probes: undefined,
    isDraining: false,
  } as unknown as Relay;
  const gone: Http1Downstream[] = [];
  const open = (room = 0) => {
    const connection = new FakeConnection();
    connection.room = room;
    const link = new Http1Downstream(relay, connection, relay.forwarded.peer("127.0.0.1", false), (it) =>
      gone.push(it),
    );
    connection.owner = link;
    return connection;
  };
  const turns = async (count = 200) => {
    for (let n = 0; n < count; n++) await new Promise((resolve) => setImmediate(resolve));
  };
  return { relay, gone, open, turns };
}

it("responds to the pipelined requests of many clients in turn, and to a single request at once", async () => {
  const { relay, open, turns } = bench(new BufferBudget(100_000_000));
  const clients = Array.from({ length: 100 }, () => open(Number.POSITIVE_INFINITY));
  for (const client of clients) client.owner.onData(Buffer.from(READ));
  // The first request of each, and then as many as the shared limit allows.
  expect(relay.counters.requestsTotal).toBeLessThanOrEqual(100 + 256);
  const ordinary = open(Number.POSITIVE_INFINITY);
  ordinary.owner.onData(Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
  expect(ordinary.take().length).toBeGreaterThan(0);
  await turns(30);
  const answered = clients.map((client) => client.take().length);
  expect(Math.min(...answered)).toBeGreaterThan(0);
  for (const client of clients.slice(1)) client.owner.onClose();
  await turns();
  expect(clients[0]?.take().toString("latin1").match(/404/g)?.length).toBeGreaterThan(3000);
});

it("counts bytes sent ahead in half of the budget for slow clients, disconnects a client that exceeds it, and returns them", async () => {
  const budget = new BufferBudget(460_000);
  const { relay, gone, open, turns } = bench(budget);
  const first = open();
  first.owner.onData(Buffer.from(READ));
  await turns();
  expect(first.waitingBytes).toBeGreaterThan(65_536);
  expect(first.waitingBytes).toBeLessThan(70_000);
  first.owner.onData(Buffer.from(READ));
  expect(budget.takeAhead(50_000)).toBe(false);
  expect(first.isClosed).toBe(false);
  const second = open();
  second.owner.onData(Buffer.from(READ));
  await turns();
  second.owner.onData(Buffer.from(READ));
  expect([second.isClosed, gone.length]).toEqual([true, 1]);
  // After the first client has read, it gets all its responses, and none of its bytes count any more.
  for (let n = 0; n < 300 && relay.counters.requestsTotal < 8000; n++) {
    first.drain();
    await turns();
  }
  expect(first.isClosed).toBe(false);
  expect(budget.takeAhead(230_000)).toBe(true);
  expect(budget.take(230_000)).toBe(true);
});

it("marks the last response of a connection as what its FIN may leave with", () => {
  const { open } = bench(new BufferBudget(1_000_000));
  const marksOf = (fields: string) => {
    const connection = open(Number.POSITIVE_INFINITY);
    const marks: boolean[] = [];
    connection.writeTransient = (bytes, length, isLast = false) => {
      marks.push(isLast);
      return connection.write(bytes.subarray(0, length));
    };
    connection.owner.onData(Buffer.from(`GET / HTTP/1.1\r\nHost: a\r\n${fields}\r\n`));
    return [connection.take().toString("latin1").slice(0, 12), marks.at(-1) ?? false, connection.isClosed];
  };
  expect(marksOf("Connection: close\r\n")).toEqual(["HTTP/1.1 404", true, true]);
  expect(marksOf("")).toEqual(["HTTP/1.1 404", false, false]);
});

it("frees the bytes that a client has sent ahead immediately when the client is closed to make room", async () => {
  const { open, turns } = bench(new BufferBudget(1_000_000));
  const client = open();
  const read = Buffer.allocUnsafeSlow(READ.length).fill(READ);
  client.owner.onData(read);
  await turns();
  expect(read.length).toBe(READ.length);
  (client.owner as Http1Downstream).resetForMemory();
  expect([client.isClosed, read.length]).toEqual([true, 0]);
});

it("while memory is scarce, a client for which few bytes wait over TLS counts as one that is behind", () => {
  const unread = { isScarce: false };
  const relay = { unread, responseWriter: new HeadWriter(LIMITS.maxHeadBytes, { now: 0 }) } as unknown as Relay;
  let asked = 0;
  const connection = Object.assign(new FakeConnection(), { asksDrain: () => void asked++ });
  connection.room = 0;
  connection.highWater = 65_536;
  const response = new Http1Response(relay, connection, { countUnread() {} } as unknown as ClientMemory);
  const send = (bytes: number) => response.body(Buffer.alloc(bytes), 0, bytes) && response.flush();
  expect([send(9000), asked]).toEqual([true, 0]);
  unread.isScarce = true;
  expect([send(1), asked]).toEqual([false, 1]);
});

it("continues to read from a client that sends ahead only while there is room for that, and resets nobody meanwhile", async () => {
  const { gone, open, turns } = bench(new BufferBudget(1_200_000));
  const clients = Array.from({ length: 5 }, () => open());
  for (const client of clients) client.owner.onData(Buffer.from(READ));
  await turns();
  expect(clients.map(({ isPaused }) => isPaused)).toEqual([true, true, true, true, true]);
  const [reader, later, ...others] = clients as [FakeConnection, FakeConnection, ...FakeConnection[]];
  // The client reads all its responses; those of the others still wait.
  for (const client of [reader, later]) {
    client.drain();
    await turns();
  }
  expect([reader.isPaused, later.isPaused, gone.length]).toEqual([true, true, 0]);
  for (const client of others) client.owner.onClose();
  await turns(10);
  expect([reader.isPaused, later.isPaused]).toEqual([false, false]);
});

it("discards what clients send after their last response, in turn, and leaves the rest of each turn to others", async () => {
  const { gone, open, turns } = bench(new BufferBudget(100_000_000));
  const clients = Array.from({ length: 40 }, () => open(Number.POSITIVE_INFINITY));
  const head = Buffer.from("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (const client of clients) client.owner.onData(Buffer.from(head));
  expect(clients.filter((client) => client.take().includes("404"))).toHaveLength(40);
  const piece = 65_536;
  /** Each client sends as long as it is read; returns the number of bytes of all clients. */
  const sendAll = () => {
    let bytes = 0;
    for (const client of clients) {
      for (let n = 0; n < 20 && !client.isPaused; n++, bytes += piece) client.owner.onData(Buffer.alloc(piece, "x"));
    }
    return bytes;
  };
  // The share of a turn, plus the last read of each client, which exceeds it.
  const most = (1 << 20) + 40 * piece;
  expect(sendAll()).toBeLessThanOrEqual(most);
  let served = 0;
  for (let n = 0; n < 30; n++) {
    await turns(1);
    const bytes = sendAll();
    expect(bytes).toBeLessThanOrEqual(most);
    if (bytes > 0) served++;
  }
  expect(served).toBeGreaterThan(20);
  expect([gone.length, clients.some(({ isClosed }) => isClosed)]).toEqual([0, false]);
});
