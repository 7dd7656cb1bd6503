import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { EventLog, PoisonEvents } from "./event-log.js";

/** With lines of MAX_LINE_BYTES, more than a gigabyte would accumulate before the array is compacted. */
it("releases lines as soon as they have left the list", async () => {
  const log = new EventLog();
  const add = () => {
    log.output("web.1", ["x".repeat(2 << 20)]);
    return new WeakRef(log.recentLog(undefined)[0] as object);
  };
  const first = add();
  log.output("web.1", ["y"]);
  // A WeakRef keeps its target until this turn is over.
  await new Promise((resolve) => setImmediate(resolve));
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  expect(log.recentLog(undefined).map(({ text }) => text)).toEqual(["y"]);
  expect(first.deref()).toBeUndefined();
});

describe("requests that crash their processes", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("names the request once it is certain that its processes have exited, and never while one of them runs", () => {
    const timers = vi.getTimerCount();
    const log = new EventLog();
    const alive = new Set(["web.2#1", "web.3#1"]);
    const events = new PoisonEvents(log, (id) => alive.has(id));
    const told = () => log.recentEvents().map(({ subject, message }) => `${subject} ${message.replace(/;.*/, "")}`);
    const found = (request: string, ...processes: string[]) => ({
      ...{ type: "poison" as const, pool: "web", request, processes },
    });
    events.found(found("GET /a", "web.1#1", "web.1#2"));
    const first = "web lost processes to GET /a: web.1#1 and web.1#2 exited while running it";
    expect(told()).toEqual([first]);
    events.found(found("GET /b", "web.1#1", "web.2#1"));
    events.found(found("GET /c", "web.1#1", "web.3#1"));
    expect(told()).toEqual([first]);
    events.processEnded();
    expect(told()).toEqual([first]);
    vi.advanceTimersByTime(5_000);
    alive.delete("web.2#1");
    events.processEnded();
    expect(told()).toEqual([first, "web lost processes to GET /b: web.1#1 and web.2#1 exited while running it"]);
    vi.advanceTimersByTime(25_000);
    alive.delete("web.3#1");
    events.processEnded();
    expect(told()).toHaveLength(2);
    alive.add("web.3#1");
    events.found(found("GET /d", "web.3#1"));
    events.close();
    expect(vi.getTimerCount()).toBe(timers);
  });

  test.each([
    ["GET /a", "for the next minute such requests are not retried on another instance"],
    ["PUT /a", "for the next minute such requests are not retried on another instance"],
    ["POST /a", "such requests are never retried on another instance"],
  ])("says whether others like %s are retried", (request, said) => {
    const log = new EventLog();
    new PoisonEvents(log, () => false).found({
      type: "poison",
      pool: "web",
      request,
      processes: ["web.1#1", "web.2#1"],
    });
    expect(log.recentEvents()[0]?.message.split("; ")[1]).toBe(said);
  });
});
