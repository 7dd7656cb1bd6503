/** An instance's life as one table of state × event: what it becomes, and what is to be done. Pure. */
import { backoffDelayMs } from "./backoff.js";
import {
  deadlineOf,
  type Effect,
  FOLLOW_TIMEOUT_MS,
  type Goal,
  type KillSignal,
  type Process,
  type ProcessEvent,
  type SlotPolicy,
  unreachable,
} from "./process.js";
import { bookFailure } from "./restart-budget.js";
import { exitReason, NOT_READY, seconds } from "./words.js";

export interface Transition {
  process: Process;
  effects: Effect[];
}

/** What a row needs to know beside the process and the event. */
interface Context {
  policy: SlotPolicy;
  /** Milliseconds since the epoch. */
  now: number;
  /** 0 ≤ random < 1. */
  random: number;
}

/**
 * What `event` makes of `process`, and the effects to carry out in order. An event that belongs to another attempt, or
 * that means nothing in this state, changes nothing and has no effects.
 */
export function transition(
  process: Process,
  event: ProcessEvent,
  policy: SlotPolicy,
  now: number,
  random: number,
): Transition {
  if (isStale(process, event, now)) return { process, effects: [] };
  const context = { policy, now, random };
  const next = row(process, event, context);
  if (next === null) return { process, effects: [] };
  return { process: next.process, effects: [...next.effects, ...deadlineEffects(process, next.process)] };
}

/** The one place where an event is dropped because the process it speaks of, or the deadline, is no longer the present one. */
function isStale(process: Process, event: ProcessEvent, now: number): boolean {
  if (!("attempt" in event)) return false;
  if (event.type === "adopted") return event.attempt < process.attempt;
  if (event.attempt !== process.attempt) return true;
  const deadline = deadlineOf(process);
  return event.type === "deadline" && (deadline === null || now < deadline);
}

function row(process: Process, event: ProcessEvent, context: Context): Transition | null {
  switch (process.state) {
    case "stopped":
      return atRest(process, event, context);
    case "starting":
      return starting(process, event, context);
    case "ready":
      return ready(process, event, context);
    case "draining":
      return draining(process, event, context);
    case "killing":
      return killing(process, event, context);
    case "backoff":
      return atRest(process, event, context);
    case "failed":
      return atRest(process, event, context);
    default:
      return unreachable(process);
  }
}

/** stopped, backoff, failed: no OS process is there. */
function atRest(process: Process, event: ProcessEvent, context: Context): Transition | null {
  switch (event.type) {
    case "start":
    case "restart":
      return spawn(process.state === "failed" ? { ...process, failures: 0, failuresAt: [] } : process, context);
    case "stop":
      return process.state === "stopped" ? null : stopped(process);
    case "deadline":
      return process.state === "backoff" ? spawn(process, context) : null;
    case "adopted": {
      const { attempt } = event;
      const nextAttempt = Math.max(process.nextAttempt, attempt + 1);
      return becomeReady({ ...process, attempt, nextAttempt }, context);
    }
    case "ready":
    case "exited":
    case "spawnFailed":
    case "hung":
    case "overrun":
    case "linkLost":
    case "left":
    case "released":
      return null;
    default:
      return unreachable(event);
  }
}

function starting(process: Process, event: ProcessEvent, context: Context): Transition | null {
  const { policy, now } = context;
  switch (event.type) {
    case "ready":
      return becomeReady(process, context);
    case "exited":
      return fail(process, exitReason(event.status), context);
    case "spawnFailed":
      return fail(process, `could not be started: ${event.reason}`, context);
    case "deadline":
      return kill(process, "failing", `${NOT_READY} ${seconds(policy.readyTimeoutMs)} (readyTimeoutMs)`, context);
    case "stop":
    case "restart": {
      // It may not have an ear for anything but a signal yet, and nobody has sent it work.
      const goal = event.type === "stop" ? "down" : "up";
      const deadline = now + policy.termTimeoutMs;
      return {
        process: { ...bare(process), goal, state: "draining", step: "term", deadline },
        effects: [{ type: "signal", signal: "SIGTERM" }],
      };
    }
    case "start":
    case "hung":
    case "overrun":
    case "linkLost":
    case "left":
    case "released":
    case "adopted":
      return null;
    default:
      return unreachable(event);
  }
}

function ready(process: Process, event: ProcessEvent, context: Context): Transition | null {
  switch (event.type) {
    case "exited":
    case "spawnFailed": {
      const reason = event.type === "exited" ? exitReason(event.status) : event.reason;
      const failed = fail(process, reason, context);
      return { process: failed.process, effects: [{ type: "leavePool" }, ...failed.effects] };
    }
    case "deadline":
      return {
        process: { ...bare(process), state: "ready", deadline: null, failures: 0, failuresAt: [] },
        effects: [],
      };
    case "stop":
    case "restart":
      return leave(process, event.type === "stop" ? "down" : "up", context);
    case "hung":
    case "overrun": {
      const cause = event.type === "hung" ? "failing" : "overrun";
      const killed = kill(process, cause, event.reason, context, event.signal);
      return { process: killed.process, effects: [{ type: "leavePool" }, ...killed.effects] };
    }
    case "linkLost":
      return {
        process,
        effects: [{ type: "log", level: "warn", message: "lost its link; it serves on and tries again" }],
      };
    case "start":
    case "ready":
    case "left":
    case "released":
    case "adopted":
      return null;
    default:
      return unreachable(event);
  }
}

/** An upstream stays as it is until the balancers follow, but no longer than half of its time; a balancer drains at once. */
function leave(process: Process, goal: Goal, { policy, now }: Context): Transition {
  const { drainTimeoutMs, isUpstream, hasRestOfStop = false } = policy;
  const drainTime = `${seconds(drainTimeoutMs)}${hasRestOfStop ? ", what was left of the stop's time" : ""}`;
  const drainBy = now + drainTimeoutMs;
  const left = { ...bare(process), goal, state: "draining" } as const;
  if (!isUpstream) {
    return {
      process: { ...left, step: "released", drainTime, deadline: drainBy },
      effects: [{ type: "leavePool" }, { type: "askDrain", deadlineMs: drainTimeoutMs }],
    };
  }
  const deadline = now + Math.min(FOLLOW_TIMEOUT_MS, drainTimeoutMs / 2);
  return {
    process: { ...left, step: "leave", drainBy, drainTime, deadline },
    effects: [{ type: "leavePool" }],
  };
}

function draining(process: Process & { state: "draining" }, event: ProcessEvent, context: Context): Transition | null {
  const { policy } = context;
  switch (event.type) {
    case "exited":
    case "spawnFailed":
      return process.goal === "up" ? spawn(process, context) : stopped(process);
    case "left":
      return process.step === "leave" ? askDrain(process, context) : null;
    case "released": {
      if (process.step !== "drain") return null;
      const { drainTime, deadline } = process;
      return {
        process: { ...bare(process), state: "draining", step: "released", drainTime, deadline },
        effects: [{ type: "release" }],
      };
    }
    case "deadline":
      if (process.step === "leave") return askDrain(process, context);
      return process.step === "term"
        ? kill(process, "slow", `did not end within ${seconds(policy.termTimeoutMs)} of SIGTERM`, context)
        : term(process, context);
    case "start":
    case "restart":
      return { process: { ...process, goal: "up" }, effects: [] };
    case "stop":
      return { process: { ...process, goal: "down" }, effects: [] };
    case "overrun":
      // It would not drain before the request that has overrun its time ends, which may be never.
      return kill(process, "slow", event.reason, context, event.signal);
    case "ready":
    case "hung":
    case "linkLost":
    case "adopted":
      return null;
    default:
      return unreachable(event);
  }
}

function askDrain(process: Process & { state: "draining"; step: "leave" }, { now }: Context): Transition {
  const { drainBy, drainTime } = process;
  return {
    process: { ...bare(process), state: "draining", step: "drain", drainTime, deadline: drainBy },
    effects: [{ type: "askDrain", deadlineMs: Math.max(0, drainBy - now) }],
  };
}

/** The time for its drain is over, whatever balancers may still have on it. */
function term(
  process: Process & { state: "draining"; step: "drain" | "released" },
  { policy, now }: Context,
): Transition {
  return {
    process: { ...bare(process), state: "draining", step: "term", deadline: now + policy.termTimeoutMs },
    effects: [
      ...(process.step === "drain" ? ([{ type: "release" }] as const) : []),
      { type: "log", level: "warn", message: `did not drain within ${process.drainTime}: SIGTERM` },
      { type: "signal", signal: "SIGTERM" },
    ],
  };
}

function killing(process: Process & { state: "killing" }, event: ProcessEvent, context: Context): Transition | null {
  const { policy, now } = context;
  switch (event.type) {
    case "exited":
    case "spawnFailed":
      if (process.goal === "down") return stopped(process);
      return process.cause === "failing" ? fail(process, "was killed", context) : spawn(process, context);
    case "deadline":
      return {
        process: { ...process, deadline: now + policy.killTimeoutMs },
        effects: [
          { type: "log", level: "warn", message: `is still there after ${seconds(policy.killTimeoutMs)}: SIGKILL` },
          { type: "signal", signal: "SIGKILL" },
        ],
      };
    case "start":
    case "restart":
      return { process: { ...process, goal: "up" }, effects: [] };
    case "stop":
      return { process: { ...process, goal: "down" }, effects: [] };
    case "ready":
    case "hung":
    case "overrun":
    case "linkLost":
    case "left":
    case "released":
    case "adopted":
      return null;
    default:
      return unreachable(event);
  }
}

function spawn(process: Process, { policy, now }: Context): Transition {
  const attempt = process.nextAttempt;
  const deadline = now + policy.readyTimeoutMs;
  return {
    process: { ...bare(process), goal: "up", state: "starting", attempt, nextAttempt: attempt + 1, deadline },
    effects: [{ type: "spawn", attempt }],
  };
}

function becomeReady(process: Process, { policy, now }: Context): Transition {
  return {
    process: { ...bare(process), goal: "up", state: "ready", deadline: now + policy.stableAfterMs, hasServed: true },
    effects: [{ type: "joinPool" }, { type: "log", level: "info", message: "is ready" }],
  };
}

function stopped(process: Process): Transition {
  return {
    process: { ...bare(process), goal: "down", state: "stopped", failures: 0, failuresAt: [] },
    effects: [{ type: "log", level: "info", message: "stopped" }],
  };
}

/**
 * An end that nobody asked for: wait and try again, the longest backoff once the budget is spent. Only what has never served is
 * given up: what has will serve again when the database is back or the poisonous request gone.
 */
function fail(process: Process, reason: string, { policy, now, random }: Context): Transition {
  const failures = process.failures + 1;
  const { failuresAt, spent } = bookFailure(process.failuresAt, now, policy.restartBudget);
  const common = { ...bare(process), failures, failuresAt };
  const budget = `${failuresAt.length} failures within ${seconds(policy.restartBudget.periodMs)}`;
  if (spent && policy.giveUp && !process.hasServed) {
    const message = `${reason}; given up after ${budget}`;
    return { process: { ...common, state: "failed" }, effects: [{ type: "log", level: "error", message }] };
  }
  const delayMs = backoffDelayMs(policy.backoff, spent ? Number.POSITIVE_INFINITY : failures, random);
  const message = `${reason}${spent ? `; ${budget}` : ""}; next try in ${seconds(delayMs)}`;
  return {
    process: { ...common, state: "backoff", deadline: now + delayMs },
    effects: [{ type: "log", level: spent ? "error" : "warn", message }],
  };
}

function kill(
  process: Process,
  cause: "slow" | "failing" | "overrun",
  reason: string,
  { policy, now }: Context,
  signal: KillSignal = "SIGKILL",
): Transition {
  return {
    process: { ...bare(process), state: "killing", cause, deadline: now + policy.killTimeoutMs },
    effects: [
      { type: "log", level: "warn", message: `${reason}: ${signal}` },
      { type: "signal", signal, ...(cause !== "slow" && { verdict: reason }) },
    ],
  };
}

/** What a process keeps from state to state. */
function bare({ goal, attempt, nextAttempt, failuresAt, failures, hasServed }: Process) {
  return { goal, attempt, nextAttempt, failuresAt, failures, hasServed };
}

function deadlineEffects(before: Process, after: Process): Effect[] {
  const at = deadlineOf(after);
  if (at === null) return deadlineOf(before) === null ? [] : [{ type: "clearDeadline" }];
  return before.attempt === after.attempt && at === deadlineOf(before) && before.state === after.state
    ? []
    : [{ type: "setDeadline", at }];
}
