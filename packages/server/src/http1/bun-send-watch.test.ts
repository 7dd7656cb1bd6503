import { beforeEach, expect, it } from "vitest";
import { BunSendWatch } from "./bun-send-watch.js";

const REQUESTS = 20_000;
/** The number of address lookups per request. */
const asked = new Map<Request, number>();
const turnEnd = () => new Promise((resolve) => void setImmediate(resolve));

beforeEach(() => asked.clear());

/** A server whose requests come from these ports, in turn; undefined: every response has been sent. */
function serverOf(ports?: number[]) {
  let at = 0;
  return {
    requestIP(request: Request) {
      asked.set(request, (asked.get(request) ?? 0) + 1);
      return ports === undefined ? null : { address: "127.0.0.1", port: ports[at++ % ports.length] };
    },
    timeout() {},
  } as never;
}

it("keeps few of the requests of one read", async () => {
  const watch = new BunSendWatch(60_000);
  const server = serverOf();
  for (let n = 0; n < REQUESTS; n++) {
    watch.add({ n } as never, server, 0);
    expect((watch as unknown as { responded: Request[] }).responded.length).toBeLessThan(1024);
  }
  await turnEnd();
  expect(asked.size).toBe(REQUESTS);
});

it("closes a connection whose requests make a turn long, and no other", async () => {
  const watch = new BunSendWatch(0);
  let nowMs = 0;
  /** Each request takes 50 µs, like that for a small file. */
  const add = (server: never) => {
    nowMs += 0.05;
    return watch.add({} as Request, server, nowMs);
  };
  const one = serverOf([1000]);
  const kept = () => {
    let count = 0;
    while (add(one) && count < REQUESTS) count++;
    return count;
  };
  expect(kept()).toBeLessThan(100);
  const many = serverOf(Array.from({ length: 1000 }, (_, n) => n + 2000));
  for (let n = 0; n < REQUESTS / 10; n++) expect(add(many)).toBe(true);
  await turnEnd();
  // In the next turn it has as many again.
  expect(kept()).toBeGreaterThan(30);
});

it("keeps a connection whose thousands of requests are quick", () => {
  const watch = new BunSendWatch(0);
  const one = serverOf([1000]);
  for (let n = 0; n < 1500; n++) expect(watch.add({} as Request, one, n / 1000)).toBe(true);
});
