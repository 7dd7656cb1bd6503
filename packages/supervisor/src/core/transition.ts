/** The life of an instance as one table of state × event: the next state and the effects. Pure. */

import { deadlineOf, type Effect, type Process, type ProcessEvent, type SlotPolicy, unreachable } from "./process.js";
import {
  askDrain,
  bare,
  becomeReady,
  type Context,
  drainAgain,
  fail,
  kill,
  leave,
  park,
  resumeBackoff,
  spawn,
  stopped,
  type Transition,
  term,
  unpark,
} from "./transition-steps.js";
import { exitReason, NOT_READY, seconds } from "./words.js";

/**
 * Applies `event` to `process`. Returns the new process and the effects to carry out, in order. An event of another attempt, or without a
 * meaning in this state, has no effect.
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
  // A new supervisor has no timers yet.
  const before = event.type === "adopted" ? null : process;
  return { process: next.process, effects: [...next.effects, ...deadlineEffects(before, next.process)] };
}

/** Whether an event is about an earlier process or deadline. This is the only place that drops such events. */
function isStale(process: Process, event: ProcessEvent, now: number): boolean {
  if (!("attempt" in event)) return false;
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
    case "warm":
      return warm(process, event, context);
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

/** The states without an OS process: stopped, backoff, failed. */
function atRest(process: Process, event: ProcessEvent, context: Context): Transition | null {
  switch (event.type) {
    case "start":
    case "restart":
      return spawn(process.state === "failed" ? { ...process, failures: 0, failuresAt: [] } : process, context);
    case "stop":
      return process.state === "stopped" ? null : stopped(process);
    case "deadline":
      return process.state === "backoff" ? spawn(process, context) : null;
    case "adopted":
      return process.state === "backoff" ? resumeBackoff(process, context) : null;
    case "park":
    case "unpark":
    case "ready":
    case "exited":
    case "spawnFailed":
    case "hung":
    case "overrun":
    case "channelLost":
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
      // The process may not be able to do more than handle signals yet, and has no requests.
      const goal = event.type === "stop" ? "down" : "up";
      const deadline = now + policy.termTimeoutMs;
      return {
        process: { ...bare(process), goal, state: "draining", step: "term", deadline },
        effects: [{ type: "signal", signal: "SIGTERM" }],
      };
    }
    case "adopted":
      return { process: { ...bare(process), state: "starting", deadline: now + policy.readyTimeoutMs }, effects: [] };
    case "start":
    case "park":
    case "unpark":
    case "hung":
    case "overrun":
    case "channelLost":
    case "left":
    case "released":
      return null;
    default:
      return unreachable(event);
  }
}

function ready(process: Process & { state: "ready" }, event: ProcessEvent, context: Context): Transition | null {
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
    case "park":
      return park(process, event.keepMs, context);
    case "hung":
    case "overrun": {
      const cause = event.type === "hung" ? "failing" : "overrun";
      const killed = kill(process, cause, event.reason, context, event);
      return { process: killed.process, effects: [{ type: "leavePool" }, ...killed.effects] };
    }
    case "channelLost":
      return {
        process,
        effects: [{ type: "log", level: "warn", message: "lost its control channel; it keeps serving and reconnects" }],
      };
    case "adopted": {
      const deadline = process.deadline === null ? null : context.now + context.policy.stableAfterMs;
      return { process: { ...bare(process), state: "ready", deadline }, effects: [{ type: "joinPool" }] };
    }
    case "start":
    case "unpark":
    case "ready":
    case "left":
    case "released":
      return null;
    default:
      return unreachable(event);
  }
}

/** Outside the pool, nothing depends on the process, so it is never restarted. */
function warm(process: Process & { state: "warm" }, event: ProcessEvent, context: Context): Transition | null {
  switch (event.type) {
    case "unpark":
      return unpark(process, context);
    case "stop":
    case "deadline":
      return leave(process, "down", context);
    case "exited":
    case "spawnFailed": {
      const reason = event.type === "exited" ? exitReason(event.status) : event.reason;
      return {
        process: { ...bare(process), state: "stopped", failures: 0, failuresAt: [] },
        effects: [{ type: "log", level: "warn", message: `${reason}; it was kept warm` }],
      };
    }
    case "hung":
    case "overrun":
      return kill(process, "slow", event.reason, context, event);
    case "adopted":
      return { process, effects: [] };
    case "start":
    case "restart":
    case "park":
    case "ready":
    case "channelLost":
    case "left":
    case "released":
      return null;
    default:
      return unreachable(event);
  }
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
        ? kill(process, "slow", `did not exit within ${seconds(policy.termTimeoutMs)} of SIGTERM`, context)
        : term(process, context);
    case "start":
    case "restart":
      return { process: { ...process, goal: "up" }, effects: [] };
    case "stop":
      return { process: { ...process, goal: "down" }, effects: [] };
    case "overrun":
      // The process would not drain before its overdue request ends, which may never happen.
      return kill(process, "slow", event.reason, context, event);
    case "adopted":
      return drainAgain(process, context);
    case "park":
    case "unpark":
    case "ready":
    case "hung":
    case "channelLost":
      return null;
    default:
      return unreachable(event);
  }
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
          { type: "log", level: "warn", message: `is still running after ${seconds(policy.killTimeoutMs)}: SIGKILL` },
          { type: "signal", signal: "SIGKILL" },
        ],
      };
    case "start":
    case "restart":
      return { process: { ...process, goal: "up" }, effects: [] };
    case "stop":
      return { process: { ...process, goal: "down" }, effects: [] };
    case "adopted":
      return {
        process: { ...process, deadline: now + policy.killTimeoutMs },
        effects: [{ type: "signal", signal: "SIGKILL" }],
      };
    case "park":
    case "unpark":
    case "ready":
    case "hung":
    case "overrun":
    case "channelLost":
    case "left":
    case "released":
      return null;
    default:
      return unreachable(event);
  }
}

function deadlineEffects(before: Process | null, after: Process): Effect[] {
  const at = deadlineOf(after);
  if (before === null) return at === null ? [] : [{ type: "setDeadline", at }];
  if (at === null) return deadlineOf(before) === null ? [] : [{ type: "clearDeadline" }];
  return before.attempt === after.attempt && at === deadlineOf(before) && before.state === after.state
    ? []
    : [{ type: "setDeadline", at }];
}
