/** A client's connection without sockets: what it may make the balancer hold. */
import { expect, it } from "vitest";
import { LIMITS } from "../../test/support/balancer-process.js";
import { FakeConnection } from "../../test/support/fake-transport.js";
import { Counters } from "../counters.js";
import { Deadlines } from "../deadlines.js";
import { Forwarded } from "../forwarded.js";
import { HeadWriter } from "../http1/head-writer.js";
import { RequestHead } from "../http1/request-head.js";
import { BufferBudget } from "../relay/buffer-budget.js";
import type { Relay } from "../relay/relay.js";
import { Router } from "../router.js";
import { Http1ClientLink } from "./http1.js";

/** Answered 404 by a balancer that has no route. */
const READ = Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4000));

it("counts what is sent ahead in the budget for slow clients, cuts whoever exceeds it, and gives it back", async () => {
  const budget = new BufferBudget(300_000);
  const relay = {
    limits: LIMITS,
    budget,
    deadlines: new Deadlines(),
    counters: new Counters(),
    forwarded: new Forwarded([]),
    requestHead: new RequestHead(LIMITS),
    answerWriter: new HeadWriter(LIMITS.maxHeadBytes),
    router: new Router([]),
    isDraining: false,
  } as unknown as Relay;
  const gone: Http1ClientLink[] = [];
  const open = () => {
    const connection = new FakeConnection();
    connection.room = 0;
    const link = new Http1ClientLink(relay, connection, relay.forwarded.peer("127.0.0.1", false), (it) =>
      gone.push(it),
    );
    connection.owner = link;
    return connection;
  };
  const turns = async () => {
    for (let n = 0; n < 200; n++) await new Promise((resolve) => setImmediate(resolve));
  };
  const first = open();
  first.owner.onData(Buffer.from(READ));
  await turns();
  expect(first.waitingBytes).toBeGreaterThan(65_536);
  expect(first.waitingBytes).toBeLessThan(70_000);
  first.owner.onData(Buffer.from(READ));
  expect(budget.take(50_000)).toBe(false);
  expect(first.isClosed).toBe(false);
  const second = open();
  second.owner.onData(Buffer.from(READ));
  await turns();
  second.owner.onData(Buffer.from(READ));
  expect([second.isClosed, gone.length]).toEqual([true, 1]);
  // Once the first has read, all that it sent is answered, and nothing of it counts any more.
  for (let n = 0; n < 300 && relay.counters.requestsTotal < 8000; n++) {
    first.drain();
    await turns();
  }
  expect(first.isClosed).toBe(false);
  expect(budget.take(300_000)).toBe(true);
});
