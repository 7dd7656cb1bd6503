import { describe, expect, test } from "vitest";
import { SLOT_POLICY } from "../../test/slot-policy.js";
import { newProcess, type Process, type ProcessEvent, type SlotPolicy } from "./process.js";
import { transition } from "./transition.js";

const policy: SlotPolicy = { ...SLOT_POLICY, restartBudget: { maxFailures: 3, periodMs: 60_000 } };
const died = { code: null, signal: "SIGKILL" };

/** Runs events through the table, each at its own time; returns the final state and the last effects. */
function run(events: [at: number, event: ProcessEvent][], from: Process = newProcess(), by = policy) {
  let process = from;
  let effects: string[] = [];
  for (const [at, event] of events) {
    const next = transition(process, event, by, at, 0.5);
    process = next.process;
    effects = next.effects.filter((e) => e.type !== "log").map((e) => ("signal" in e ? e.signal : e.type));
  }
  return { process, effects };
}

const start: [number, ProcessEvent] = [0, { type: "start" }];
const up: [number, ProcessEvent][] = [start, [10, { type: "ready", attempt: 1 }]];

describe("a process", () => {
  test("starts with a deadline and joins the pool when it is ready", () => {
    expect(run(up.slice(0, 1))).toMatchObject({
      process: { state: "starting", attempt: 1, deadline: 1000 },
      effects: ["spawn", "setDeadline"],
    });
    expect(run(up)).toMatchObject({ process: { state: "ready" }, effects: ["joinPool", "setDeadline"] });
  });

  test("that is not ready in time is killed, and this counts as a failure", () => {
    const late = run([start, [1000, { type: "deadline", attempt: 1 }]]);
    expect(late).toMatchObject({
      process: { state: "killing", cause: "failing" },
      effects: ["SIGKILL", "setDeadline"],
    });
    const dead = run([[1010, { type: "exited", attempt: 1, status: died }]], late.process);
    expect(dead.process).toMatchObject({ state: "backoff", failures: 1, deadline: 1110 });
  });

  test("that exits while ready leaves the pool and is started again after a growing backoff", () => {
    const once = run([...up, [20, { type: "exited", attempt: 1, status: died }]]);
    expect(once).toMatchObject({ process: { state: "backoff", deadline: 120 }, effects: ["leavePool", "setDeadline"] });
    const again = run(
      [
        [120, { type: "deadline", attempt: 1 }],
        [130, { type: "exited", attempt: 2, status: died }],
      ],
      once.process,
    );
    expect(again.process).toMatchObject({ state: "backoff", deadline: 330 });
  });

  test("that uses up its budget is failed if it has never been ready, and otherwise keeps trying with the maximum delay", () => {
    const crashes: [number, ProcessEvent][] = [[0, { type: "start" }]];
    for (let attempt = 1; attempt <= 3; attempt++) {
      crashes.push([attempt * 2000, { type: "exited", attempt, status: died }]);
      if (attempt < 3) crashes.push([attempt * 2000 + 1000, { type: "deadline", attempt }]);
    }
    const failed = run(crashes);
    expect(failed.process).toMatchObject({ state: "failed" });
    expect(run([[9000, { type: "start" }]], failed.process).process).toMatchObject({ state: "starting", failures: 0 });
    for (const [from, by] of [
      [newProcess(), { ...policy, giveUp: false }],
      [{ ...newProcess(), hasServed: true }, policy],
    ] as const) {
      expect(run(crashes, from, by).process).toMatchObject({ state: "backoff", deadline: 7000 });
    }
  });

  test("that was ready long enough loses its earlier failures", () => {
    const crashed = run([
      ...up,
      [20, { type: "exited", attempt: 1, status: died }],
      [120, { type: "deadline", attempt: 1 }],
      [130, { type: "ready", attempt: 2 }],
    ]);
    expect(crashed.process.failures).toBe(1);
    const stable = run([[5130, { type: "deadline", attempt: 2 }]], crashed.process);
    expect(stable).toMatchObject({
      process: { state: "ready", failures: 0, deadline: null },
      effects: ["clearDeadline"],
    });
  });

  test("that is stopped leaves the pool, drains when the balancers follow, and then gets SIGTERM and SIGKILL if necessary", () => {
    const leaving = run([...up, [100, { type: "stop" }]]);
    expect(leaving).toMatchObject({
      process: { state: "draining", step: "leave", goal: "down", deadline: 1100 },
      effects: ["leavePool", "setDeadline"],
    });
    const draining = run([[200, { type: "left", attempt: 1 }]], leaving.process);
    expect(draining).toMatchObject({
      process: { state: "draining", step: "drain", deadline: 2100 },
      effects: ["askDrain", "setDeadline"],
    });
    expect(run([[200, { type: "left", attempt: 1 }]], draining.process).effects).toEqual([]);
    const pressed = run([[2100, { type: "deadline", attempt: 1 }]], draining.process);
    expect(pressed).toMatchObject({
      process: { state: "draining", step: "term", deadline: 2600 },
      effects: ["release", "SIGTERM", "setDeadline"],
    });
    const killed = run([[2600, { type: "deadline", attempt: 1 }]], pressed.process);
    expect(killed).toMatchObject({ process: { state: "killing" }, effects: ["SIGKILL", "setDeadline"] });
    const stubborn = run([[2900, { type: "deadline", attempt: 1 }]], killed.process);
    expect(stubborn).toMatchObject({
      process: { state: "killing", deadline: 3200 },
      effects: ["SIGKILL", "setDeadline"],
    });
    const gone = run([[3000, { type: "exited", attempt: 1, status: died }]], stubborn.process);
    expect(gone).toMatchObject({ process: { state: "stopped" }, effects: ["clearDeadline"] });
  });

  test("that drains is released when no balancer uses it, and has the rest of its time", () => {
    const draining = run([...up, [100, { type: "stop" }], [200, { type: "left", attempt: 1 }]]).process;
    const released = run([[300, { type: "released", attempt: 1 }]], draining);
    expect(released).toMatchObject({
      process: { state: "draining", step: "released", deadline: 2100 },
      effects: ["release"],
    });
    expect(run([[400, { type: "released", attempt: 1 }]], released.process).effects).toEqual([]);
    const pressed = run([[2100, { type: "deadline", attempt: 1 }]], released.process);
    expect(pressed.effects).toEqual(["SIGTERM", "setDeadline"]);
  });

  test("does not wait for balancers longer than half of its time, or than five seconds", () => {
    for (const [drainTimeoutMs, waitsMs] of [
      [2000, 1000],
      [30_000, 5000],
    ] as const) {
      const by = { ...policy, drainTimeoutMs };
      const leaving = run([...up, [100, { type: "stop" }]], newProcess(), by).process;
      const late = transition(leaving, { type: "deadline", attempt: 1 }, by, 100 + waitsMs, 0.5);
      expect(late.process).toMatchObject({ step: "drain", deadline: 100 + drainTimeoutMs });
      expect(late.effects[0]).toEqual({ type: "askDrain", deadlineMs: drainTimeoutMs - waitsMs });
    }
  });

  test("that is a balancer, and gets no requests from others, drains immediately", () => {
    const draining = run([...up, [100, { type: "stop" }]], newProcess(), { ...policy, isUpstream: false });
    expect(draining).toMatchObject({
      process: { state: "draining", deadline: 2100 },
      effects: ["leavePool", "askDrain", "setDeadline"],
    });
    expect(run([[2100, { type: "deadline", attempt: 1 }]], draining.process).effects).toEqual([
      "SIGTERM",
      "setDeadline",
    ]);
  });

  test("that did not drain is reported with the time that it had, even if the setting has changed since", () => {
    const rest = { ...policy, hasRestOfStop: true };
    const left = { ...rest, drainTimeoutMs: 1000 };
    for (const [by, atDeadline, had] of [
      [policy, left, "2 s"],
      [{ ...rest, drainTimeoutMs: 1500 }, left, "1.5 s, the rest of the stop's deadline"],
    ] as const) {
      const { process } = run([...up, [100, { type: "stop" }], [110, { type: "left", attempt: 1 }]], newProcess(), by);
      const { effects } = transition(process, { type: "deadline", attempt: 1 }, atDeadline, 2100, 0.5);
      expect(effects).toContainEqual({ level: "warn", type: "log", message: `did not drain within ${had}: SIGTERM` });
    }
  });

  test("that is restarted drains and starts again; a stop in between takes precedence", () => {
    const draining = run([...up, [100, { type: "restart" }]]).process;
    const exited: [number, ProcessEvent] = [200, { type: "exited", attempt: 1, status: { code: 0, signal: null } }];
    expect(run([exited], draining).process).toMatchObject({ state: "starting", attempt: 2 });
    expect(run([[150, { type: "stop" }], exited], draining).process).toMatchObject({ state: "stopped" });
  });

  test("ignores events about another attempt, and deadlines that are not due", () => {
    const ready = run(up).process;
    for (const event of [
      { type: "exited", attempt: 2, status: died },
      { type: "exited", attempt: 0, status: died },
      { type: "deadline", attempt: 1 },
    ] as const) {
      expect(transition(ready, event, policy, 20, 0.5)).toEqual({ process: ready, effects: [] });
    }
  });

  test("that a new supervisor takes over stays in its state, with the full time of the state and without a failure", () => {
    const adopted = (from: Process, at = 50) => run([[at, { type: "adopted", attempt: 1 }]], from);
    const starting = run([start]).process;
    expect(adopted(starting)).toMatchObject({
      process: { state: "starting", deadline: 1050 },
      effects: ["setDeadline"],
    });
    const ready = run(up).process;
    expect(adopted(ready)).toMatchObject({
      process: { state: "ready", deadline: 5050 },
      effects: ["joinPool", "setDeadline"],
    });
    const stable = run([[5010, { type: "deadline", attempt: 1 }]], ready).process;
    expect(adopted(stable)).toMatchObject({ process: { state: "ready", deadline: null }, effects: ["joinPool"] });
    const leaving = run([[100, { type: "restart" }]], ready).process;
    const draining = run([[200, { type: "left", attempt: 1 }]], leaving).process;
    const released = run([[300, { type: "released", attempt: 1 }]], draining).process;
    for (const each of [leaving, draining, released]) {
      expect(adopted(each, 400)).toMatchObject({
        process: { state: "draining", step: "leave", goal: "up", drainBy: 2400 },
        effects: ["leavePool", "setDeadline"],
      });
    }
    const pressed = run([[2100, { type: "deadline", attempt: 1 }]], released).process;
    expect(adopted(pressed, 2200)).toMatchObject({
      process: { state: "draining", step: "term", deadline: 2700 },
      effects: ["SIGTERM", "setDeadline"],
    });
    const killing = run([[2600, { type: "deadline", attempt: 1 }]], pressed).process;
    expect(adopted(killing, 2700)).toMatchObject({
      process: { state: "killing", deadline: 3000 },
      effects: ["SIGKILL", "setDeadline"],
    });
    const backoff = run([[20, { type: "exited", attempt: 1, status: died }]], ready).process;
    expect(adopted(backoff, 40)).toMatchObject({
      process: { state: "backoff", failures: 1, deadline: 120 },
      effects: ["setDeadline"],
    });
    expect(adopted({ ...backoff, deadline: 90_000 } as Process).process).toMatchObject({ deadline: 1050 });
    for (const state of ["stopped", "failed"] as const) {
      const resting = { ...newProcess(), attempt: 1, state } as Process;
      expect(adopted(resting)).toEqual({ process: resting, effects: [] });
    }
  });

  test("that hangs is removed from the pool and killed", () => {
    expect(run([...up, [50, { type: "hung", attempt: 1, reason: "hung" }]])).toMatchObject({
      process: { state: "killing", cause: "failing" },
      effects: ["leavePool", "SIGKILL", "setDeadline"],
    });
  });

  test("whose request has exceeded its time limit is replaced immediately, however often, and this is no failure", () => {
    let { process } = run(up);
    for (let attempt = 1; attempt <= 20; attempt++) {
      const killed = run([[attempt, { type: "overrun", attempt, reason: "hung", signal: "SIGABRT" }]], process);
      expect(killed).toMatchObject({ process: { state: "killing" }, effects: ["leavePool", "SIGABRT", "setDeadline"] });
      const next = run([[attempt, { type: "exited", attempt, status: died }]], killed.process);
      expect(next).toMatchObject({ process: { state: "starting", attempt: attempt + 1, failures: 0 } });
      ({ process } = run([[attempt, { type: "ready", attempt: attempt + 1 }]], next.process));
    }
  });

  test("whose request has exceeded its time limit while it drains is not awaited", () => {
    for (const [command, end] of [
      ["stop", "stopped"],
      ["restart", "starting"],
    ] as const) {
      const draining = run([...up, [100, { type: command }]]);
      const killed = run([[150, { type: "overrun", attempt: 1, reason: "hung" }]], draining.process);
      expect(killed).toMatchObject({
        process: { state: "killing", cause: "slow" },
        effects: ["SIGKILL", "setDeadline"],
      });
      const ended = run([[160, { type: "exited", attempt: 1, status: died }]], killed.process);
      expect(ended.process.state).toBe(end);
    }
  });
});
