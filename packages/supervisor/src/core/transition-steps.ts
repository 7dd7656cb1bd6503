/** The state changes for the table in transition.ts, with their deadlines and effects. Pure. */

import type { BackoffPolicy, RestartBudget } from "./model.js";
import {
  type Effect,
  FOLLOW_TIMEOUT_MS,
  type Goal,
  type KillSignal,
  type Process,
  type SlotPolicy,
} from "./process.js";
import { seconds } from "./words.js";

export interface Transition {
  process: Process;
  effects: Effect[];
}

/** The context of a transition, in addition to process and event. */
export interface Context {
  policy: SlotPolicy;
  /** Milliseconds since the epoch. */
  now: number;
  /** 0 ≤ random < 1. */
  random: number;
}

/** Starts to drain. An upstream first waits for the balancers, for up to half of its drain time; a balancer drains at once. */
export function leave(process: Process, goal: Goal, { policy, now }: Context): Transition {
  const { drainTimeoutMs, isUpstream, hasRestOfStop = false } = policy;
  const drainTime = `${seconds(drainTimeoutMs)}${hasRestOfStop ? ", the rest of the stop's deadline" : ""}`;
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

export function askDrain(process: Process & { state: "draining"; step: "leave" }, { now }: Context): Transition {
  const { drainBy, drainTime } = process;
  return {
    process: { ...bare(process), state: "draining", step: "drain", drainTime, deadline: drainBy },
    effects: [{ type: "askDrain", deadlineMs: Math.max(0, drainBy - now) }],
  };
}

/** Under a new supervisor: repeats the drain from its first step, because the steps depend on confirmations by the balancers. */
export function drainAgain(process: Process & { state: "draining" }, context: Context): Transition {
  if (process.step !== "term") return leave(process, process.goal, context);
  return {
    process: { ...process, deadline: context.now + context.policy.termTimeoutMs },
    effects: [{ type: "signal", signal: "SIGTERM" }],
  };
}

/** Under a new supervisor: waits for the rest of the delay. */
export function resumeBackoff(process: Process & { state: "backoff" }, { policy, now }: Context): Transition {
  const deadline = Math.min(process.deadline, now + policy.backoff.maxMs);
  return { process: { ...process, deadline }, effects: [] };
}

/** Ends a drain that took too long, even if balancers still have requests on the process. */
export function term(
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

export function spawn(process: Process, { policy, now }: Context): Transition {
  const attempt = process.nextAttempt;
  const deadline = now + policy.readyTimeoutMs;
  return {
    process: { ...bare(process), goal: "up", state: "starting", attempt, nextAttempt: attempt + 1, deadline },
    effects: [{ type: "spawn", attempt }],
  };
}

export function becomeReady(process: Process, { policy, now }: Context): Transition {
  return {
    process: { ...bare(process), goal: "up", state: "ready", deadline: now + policy.stableAfterMs, hasServed: true },
    effects: [{ type: "joinPool" }, { type: "log", level: "info", message: "is ready" }],
  };
}

/** Leaves the pool and continues to run; requests that balancers have sent are finished. */
export function park(process: Process, keepMs: number, { now }: Context): Transition {
  return {
    process: { ...bare(process), goal: "down", state: "warm", deadline: now + keepMs },
    effects: [{ type: "leavePool" }, { type: "log", level: "info", message: `is kept warm for ${seconds(keepMs)}` }],
  };
}

export function unpark(process: Process, { policy, now }: Context): Transition {
  return {
    process: { ...bare(process), goal: "up", state: "ready", deadline: now + policy.stableAfterMs },
    effects: [{ type: "joinPool" }, { type: "log", level: "info", message: "is in service again" }],
  };
}

export function stopped(process: Process): Transition {
  return {
    process: { ...bare(process), goal: "down", state: "stopped", failures: 0, failuresAt: [] },
    effects: [{ type: "log", level: "info", message: "stopped" }],
  };
}

/**
 * Handles an unexpected exit: retries after a backoff, which is the longest one if the budget is spent. The slot becomes `failed` only if
 * the process has never served. Otherwise it can recover, for example when the database is available again or a request that crashed it no
 * longer comes.
 */
export function fail(process: Process, reason: string, { policy, now, random }: Context): Transition {
  const failures = process.failures + 1;
  const { failuresAt, spent } = bookFailure(process.failuresAt, now, policy.restartBudget);
  const common = { ...bare(process), failures, failuresAt };
  const budget = `${failuresAt.length} failures within ${seconds(policy.restartBudget.periodMs)}`;
  if (spent && policy.giveUp && !process.hasServed) {
    const message = `${reason}; given up after ${budget}`;
    return {
      process: { ...common, state: "failed" },
      effects: [{ type: "log", level: "error", message, kind: "crash-loop" }],
    };
  }
  const delayMs = backoffDelayMs(policy.backoff, spent ? Number.POSITIVE_INFINITY : failures, random);
  const message = `${reason}${spent ? `; ${budget}` : ""}; restarts in ${seconds(delayMs)}`;
  return {
    process: { ...common, state: "backoff", deadline: now + delayMs },
    effects: [{ type: "log", level: spent ? "error" : "warn", message, kind: spent ? "crash-loop" : "death" }],
  };
}

export function kill(
  process: Process,
  cause: "slow" | "failing" | "overrun",
  reason: string,
  { policy, now }: Context,
  { signal = "SIGKILL", afterMs }: { signal?: KillSignal; afterMs?: number } = {},
): Transition {
  return {
    process: { ...bare(process), state: "killing", cause, deadline: now + policy.killTimeoutMs },
    effects: [
      { type: "log", level: "warn", message: `${reason}: ${signal}` },
      {
        ...{ type: "signal", signal },
        ...(cause !== "slow" && { verdict: reason }),
        ...(afterMs !== undefined && { afterMs }),
      },
    ],
  };
}

/** Returns the fields that a process keeps in every state. */
export function bare({ goal, attempt, nextAttempt, failuresAt, failures, hasServed }: Process) {
  return { goal, attempt, nextAttempt, failuresAt, failures, hasServed };
}

/**
 * Returns the delay in milliseconds after `failures` consecutive failures (1 is the first). `random` (0 ≤ random < 1) determines the
 * jitter.
 */
export function backoffDelayMs(policy: BackoffPolicy, failures: number, random: number): number {
  // Limited, so that the power never overflows to Infinity, from which a factor of 0 would make NaN.
  const exponent = Math.min(Math.max(failures, 1) - 1, 60);
  const whole = Math.min(policy.maxMs, policy.initialMs * policy.factor ** exponent);
  return Math.round(whole * (1 - policy.jitter) + whole * policy.jitter * random);
}

/** Records a failure at `now`. `maxFailures` failures within `periodMs` spend the budget; older failures are dropped. */
export function bookFailure(
  failuresAt: readonly number[],
  now: number,
  budget: RestartBudget,
): { failuresAt: readonly number[]; spent: boolean } {
  const recent = failuresAt.filter((at) => now - at < budget.periodMs);
  recent.push(now);
  const spent = recent.length >= budget.maxFailures;
  return { failuresAt: recent.slice(-budget.maxFailures), spent };
}
