/** One supervised process as the state machine sees it, what can happen to it, and what is to be done about it. */
import type { ExitStatus, ProcessPolicy, ProcessState } from "./model.js";

/** What the operator wants of it, apart from the state it is in. */
export type Goal = "up" | "down";

interface Common {
  readonly goal: Goal;
  /** The number of the present or last spawn; 0 before the first. */
  readonly attempt: number;
  /** The number that the slot's next spawn gets; greater than every one given before in that slot. */
  readonly nextAttempt: number;
  /** Recent failures, for the restart budget, in milliseconds since the epoch. */
  readonly failuresAt: readonly number[];
  /** Failures in a row since it was last stable, for the backoff. */
  readonly failures: number;
  /** It has been ready, or another process of its generation has, or of its pool where it is a member: it is never given up then. */
  readonly hasServed: boolean;
}

/** A state that has to be left by a certain time, in milliseconds since the epoch. */
interface Timed {
  readonly deadline: number;
}

/** How far a drain is; its steps follow one another in this order, and the deadline of the state is that of its step. */
export type DrainStep =
  /** The balancers hear that it has left the pool; until they follow, they send it requests. */
  | { readonly step: "leave"; readonly drainBy: number; readonly drainTime: string }
  /** It was asked to drain, and serves what still reaches it. `drainTime`: how long it has for that, for people. */
  | { readonly step: "drain"; readonly drainTime: string }
  /** No balancer has anything on it any more: it exits as soon as it has nothing in flight. */
  | { readonly step: "released"; readonly drainTime: string }
  /** It was sent SIGTERM. */
  | { readonly step: "term" };

export type Process = Common &
  (
    | { readonly state: "stopped" }
    | ({ readonly state: "starting" } & Timed)
    /** The deadline is when it counts as stable; null once it does. */
    | { readonly state: "ready"; readonly deadline: number | null }
    | ({ readonly state: "draining" } & DrainStep & Timed)
    /** The kill ends a stop that took too long, a process that failed, or one whose request has overrun its time. */
    | ({ readonly state: "killing"; readonly cause: "slow" | "failing" | "overrun" } & Timed)
    | ({ readonly state: "backoff" } & Timed)
    | { readonly state: "failed" }
  );

/** SIGABRT has a Python process write what it is at. */
export type KillSignal = "SIGTERM" | "SIGKILL" | "SIGABRT";

/** What the operator or a rollout asks for. */
export type Command = { type: "start" } | { type: "stop" } | { type: "restart" };

/** What the world reports about one attempt. */
export type Report =
  | { type: "ready"; attempt: number }
  /** Both parts of the status are null when nobody could wait for the process. */
  | { type: "exited"; attempt: number; status: ExitStatus }
  | { type: "spawnFailed"; attempt: number; reason: string }
  | { type: "deadline"; attempt: number }
  /** It is to be ended for failing, as `reason` says: `hung …`, or `unhealthy …`, which may still heed a SIGTERM. */
  | { type: "hung"; attempt: number; reason: string; signal?: KillSignal }
  /** A request has overrun its time in it: it is replaced at once, and counts as no failure of its code. */
  | { type: "overrun"; attempt: number; reason: string; signal?: KillSignal }
  | { type: "channelLost"; attempt: number }
  /** Every balancer follows a snapshot that does not have it. */
  | { type: "left"; attempt: number }
  /** No balancer has a request or a connection on it, nor will. */
  | { type: "released"; attempt: number }
  /** A process that an earlier supervisor spawned said hello. */
  | { type: "adopted"; attempt: number };

export type ProcessEvent = Command | Report;

export type Effect =
  | { type: "spawn"; attempt: number }
  | { type: "joinPool" }
  | { type: "leavePool" }
  /** Ask it to finish what it has; it has this long. */
  | { type: "askDrain"; deadlineMs: number }
  /** Tell it that nothing can be under way to it, so that it may exit. */
  | { type: "release" }
  /** `verdict`: why it is killed for failing; it goes into the report of its end. */
  | { type: "signal"; signal: KillSignal; verdict?: string }
  | { type: "setDeadline"; at: number }
  | { type: "clearDeadline" }
  | { type: "log"; level: "info" | "warn" | "error"; message: string };

/** The policy of a slot: `giveUp` is false for what is never left down, whether it was ever ready or not. */
export interface SlotPolicy extends ProcessPolicy {
  giveUp: boolean;
  /** Balancers send it requests: it drains once they have stopped, and is released when they have nothing left on it. */
  isUpstream: boolean;
  /** Its drain has not its own time, but what others have left of the time that a stop takes. */
  hasRestOfStop?: boolean;
}

/** A balancer that takes longer than this to follow a snapshot is not waited for. */
export const FOLLOW_TIMEOUT_MS = 5000;

/** Every state there is. */
export const STATES = [
  "stopped",
  "starting",
  "ready",
  "draining",
  "killing",
  "backoff",
  "failed",
] as const satisfies readonly ProcessState[];

/** Every kind of event there is. */
export const EVENTS = [
  "start",
  "stop",
  "restart",
  "ready",
  "exited",
  "spawnFailed",
  "deadline",
  "hung",
  "overrun",
  "channelLost",
  "left",
  "released",
  "adopted",
] as const satisfies readonly ProcessEvent["type"][];

/** A process that was never spawned; `nextAttempt` numbers its first spawn. */
export function newProcess(nextAttempt = 1): Process {
  return { state: "stopped", goal: "down", attempt: 0, nextAttempt, failuresAt: [], failures: 0, hasServed: false };
}

/** When the state it is in must be left; null if it may stay. */
export function deadlineOf(process: Process): number | null {
  switch (process.state) {
    case "starting":
    case "ready":
    case "draining":
    case "killing":
    case "backoff":
      return process.deadline;
    case "stopped":
    case "failed":
      return null;
    default:
      return unreachable(process);
  }
}

/** True while an OS process may exist for it. */
export function isAlive(process: Process): boolean {
  return process.state !== "stopped" && process.state !== "backoff" && process.state !== "failed";
}

/** The compile-time proof that a `switch` is complete. */
export function unreachable(value: never): never {
  throw new TypeError(`unexpected ${JSON.stringify(value)}`);
}
