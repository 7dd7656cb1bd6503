/** A supervised process in the state machine: its states, its events and its effects. */
import type { ExitStatus, ProcessPolicy, ProcessState } from "./model.js";

/** The state that the operator wants, apart from the current one. */
export type Goal = "up" | "down";

interface Common {
  readonly goal: Goal;
  /** The number of the current or last spawn; 0 before the first. */
  readonly attempt: number;
  /** The number of the slot's next spawn, which is greater than all earlier ones. */
  readonly nextAttempt: number;
  /** Recent failures that count towards the restart budget, in milliseconds since the epoch. */
  readonly failuresAt: readonly number[];
  /** The number of consecutive failures since it was last stable, for the backoff. */
  readonly failures: number;
  /** Whether it is restarted forever, because it, its generation or (for a member) its pool has been ready before. */
  readonly hasServed: boolean;
}

/** A state with a deadline, in milliseconds since the epoch. */
interface Timed {
  readonly deadline: number;
}

/** The steps of a drain, in this order. The state's deadline is the deadline of the current step. */
type DrainStep =
  /** The process has left the pool, but balancers that do not follow yet still send requests. `drainTime` is for display. */
  | { readonly step: "leave"; readonly drainBy: number; readonly drainTime: string }
  /** The process was told to drain and completes its requests. `drainTime` is its time limit, for display. */
  | { readonly step: "drain"; readonly drainTime: string }
  /** No balancer uses the process any more. It exits when it has nothing in flight. */
  | { readonly step: "released"; readonly drainTime: string }
  /** SIGTERM was sent. */
  | { readonly step: "term" };

export type Process = Common &
  (
    | { readonly state: "stopped" }
    | ({ readonly state: "starting" } & Timed)
    /** The deadline is the time from which on the process counts as stable; null after that. */
    | { readonly state: "ready"; readonly deadline: number | null }
    /** It runs outside the pool, so that a rollback can return to it at once. */
    | ({ readonly state: "warm" } & Timed)
    | ({ readonly state: "draining" } & DrainStep & Timed)
    /** It is being killed because a stop took too long, because it is failing, or because a request exceeded its time limit. */
    | ({ readonly state: "killing"; readonly cause: "slow" | "failing" | "overrun" } & Timed)
    | ({ readonly state: "backoff" } & Timed)
    | { readonly state: "failed" }
  );

/** On SIGABRT a Python process writes its stack. */
export type KillSignal = "SIGTERM" | "SIGKILL" | "SIGABRT";

/** Sent by the operator or a rollout. `park`: leave the pool without exiting, for at most this time; `unpark`: return to it. */
export type Command =
  | { type: "start" }
  | { type: "stop" }
  | { type: "restart" }
  | { type: "park"; keepMs: number }
  | { type: "unpark" };

/** A report about one attempt. */
export type Report =
  | { type: "ready"; attempt: number }
  /** Both parts of the status are null if the process was not a child of this process. */
  | { type: "exited"; attempt: number; status: ExitStatus }
  | { type: "spawnFailed"; attempt: number; reason: string }
  | { type: "deadline"; attempt: number }
  /**
   * The process is killed as failing. `reason` is `hung …` or `unhealthy …`. An unhealthy process may still respond to SIGTERM. `afterMs`
   * delays the signal.
   */
  | { type: "hung"; attempt: number; reason: string; signal?: KillSignal; afterMs?: number }
  /** A request exceeded its time limit: the process is replaced immediately, but this does not count as a failure. */
  | { type: "overrun"; attempt: number; reason: string; signal?: KillSignal; afterMs?: number }
  | { type: "channelLost"; attempt: number }
  /** Every balancer follows a snapshot without this process. */
  | { type: "left"; attempt: number }
  /** No balancer has a request or a connection at this process, or will have one. */
  | { type: "released"; attempt: number }
  /** A new supervisor has adopted the process, or its backoff, in this state. */
  | { type: "adopted"; attempt: number };

export type ProcessEvent = Command | Report;

export type Effect =
  | { type: "spawn"; attempt: number }
  | { type: "joinPool" }
  | { type: "leavePool" }
  /** Asks the process to finish its requests within this time. */
  | { type: "askDrain"; deadlineMs: number }
  /** Reports that no further request can arrive, so that it may exit. */
  | { type: "release" }
  /** `verdict` is why the process is killed as failing, and a part of its exit report. `afterMs` delays the signal. */
  | { type: "signal"; signal: KillSignal; verdict?: string; afterMs?: number }
  | { type: "setDeadline"; at: number }
  | { type: "clearDeadline" }
  | { type: "log"; level: "info" | "warn" | "error"; message: string; kind?: "death" | "crash-loop" };

/** The policy of a slot. With `giveUp: false`, the slot is restarted forever, even if it was never ready. */
export interface SlotPolicy extends ProcessPolicy {
  giveUp: boolean;
  /**
   * Whether balancers send it requests. Such a process drains when no balancer sends more, and is released when no balancer has any left at
   * it.
   */
  isUpstream: boolean;
  /** Whether its drain time is the rest of the stop's deadline instead of its own. */
  hasRestOfStop?: boolean;
}

/** How long a drain waits for balancers that do not follow the new snapshot, in milliseconds. */
export const FOLLOW_TIMEOUT_MS = 5000;

/** Every state. */
export const STATES = [
  "stopped",
  "starting",
  "ready",
  "warm",
  "draining",
  "killing",
  "backoff",
  "failed",
] as const satisfies readonly ProcessState[];

/** Every kind of event. */
export const EVENTS = [
  "start",
  "stop",
  "restart",
  "park",
  "unpark",
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

/** Returns a process that was never spawned; `nextAttempt` numbers its first spawn. */
export function newProcess(nextAttempt = 1): Process {
  return { state: "stopped", goal: "down", attempt: 0, nextAttempt, failuresAt: [], failures: 0, hasServed: false };
}

/** Returns when the current state must be left; null if it may stay. */
export function deadlineOf(process: Process): number | null {
  switch (process.state) {
    case "starting":
    case "ready":
    case "warm":
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

/** Whether an OS process may exist for it. */
export function isAlive(process: Process): boolean {
  return process.state !== "stopped" && process.state !== "backoff" && process.state !== "failed";
}

/** Proves at compile time that a `switch` is complete. */
export function unreachable(value: never): never {
  throw new TypeError(`unexpected ${JSON.stringify(value)}`);
}
