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

/** Watches one response until `isEnough`; returns what the watch did. */
async function watchOne(held: number, descriptor: number | undefined, isEnough: (deeds: unknown[]) => boolean) {
  const deeds: unknown[] = [];
  await new Promise<void>((resolve) => {
    const note = (...deed: unknown[]) => {
      if (!isEnough(deeds)) deeds.push(deed);
      if (isEnough(deeds)) resolve();
    };
    const watch = new BunSendWatch(40, {
      connectionsWith(keys) {
        note("seeks", ...keys);
        return descriptor === undefined ? [] : Array.from(keys, (key) => [key, descriptor]);
      },
      heldBytes(of) {
        note("asks", of);
        return held;
      },
      resetAtClose: (keys) => note("resets", ...keys),
    });
    const server = {
      // Forgets the request at the end, so that the watch ends.
      requestIP: () => (isEnough(deeds) ? null : { address: "::ffff:127.0.0.1", port: 1000 }),
      timeout: (_: Request, seconds: number) => note("timeout", seconds),
    };
    watch.add({} as Request, server as never, 0);
  });
  return deeds;
}

it("finds the connection of a silent response once, and then asks the kernel about that connection only", async () => {
  const deeds = await watchOne(0, 7, ({ length }) => length === 5);
  expect(deeds).toEqual([
    ["timeout", 0],
    ["seeks", "127.0.0.1 1000"],
    ["asks", 7],
    ["asks", 7],
    ["asks", 7],
  ]);
});

it("resets a client that reads nothing, and leaves one whose connection is not found to Bun's timer", async () => {
  const stopped = await watchOne(1, 7, (deeds) => deeds.some((deed) => String(deed) === "timeout,1"));
  expect(stopped.slice(-2)).toEqual([
    ["resets", "127.0.0.1 1000"],
    ["timeout", 1],
  ]);
  const unknown = await watchOne(1, undefined, ({ length }) => length === 3);
  expect(unknown).toEqual([
    ["timeout", 0],
    ["seeks", "127.0.0.1 1000"],
    ["timeout", 255],
  ]);
});
