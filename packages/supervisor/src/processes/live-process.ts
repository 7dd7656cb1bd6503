/** A process spawned by the supervisor, the template of a pool and the processes it forks, and which processes count as one. */
import { readFileSync } from "node:fs";
import type { ScheduleReport, TcpAddress, UpstreamProtocol } from "@paceline/wire";
import { attempt, type ProcessRow, processesOf, readProcessTable } from "@paceline/wire/proc";
import type { ChannelConnection } from "../channel/channel-server.js";
import type { FleetEffect } from "../core/fleet-changes.js";
import type { ExitStatus } from "../core/model.js";
import type { OutputFile } from "../logs/output.js";
import { INSPECTOR_FLAGS } from "../runtime/runtimes.js";
import type { ProcessStats } from "../stats/stats.js";
import type { DeathNotes } from "./death-notes.js";
import type { Ejection } from "./ejections.js";

export interface LiveProcess {
  /** For example `web.3#7`. */
  readonly id: string;
  readonly pool: string;
  /** The slot, for example `web.3`. */
  readonly name: string;
  readonly index: number;
  readonly attempt: number;
  readonly generation: number;
  readonly kind: "instance" | "balancer";
  /** `bun` or `node`; for other programs their own name, for example `python 3.11.7`. */
  runtime: string;
  /** The version of Paceline that started it, from its hello message; null before that. */
  version: string | null;
  /** Authenticates the process on the control channel. */
  readonly token: string;
  /** The unix socket that an instance listens on; null for a balancer or a worker. */
  readonly socket: string | null;
  /** The TCP address that it listens on instead of a socket. */
  readonly tcp: TcpAddress | null;
  /** For a shim, the spawn tag of its command's processes; null for a process that runs our code. */
  readonly commandTag: string | null;
  /** The spawn tag of the processes that it starts; null if none need to be found. */
  readonly tag: string | null;
  /** The maximum number of requests that a balancer sends to it at once; null: only the balancer's own limits apply. */
  readonly maxInFlight: number | null;
  /** Whether a template forks it; it has no pid before the fork. */
  readonly isForked: boolean;
  /** Whether a connection to it may carry requests of only one client. */
  readonly perClient: boolean;
  /** The upstream protocol of an instance that is ready. */
  protocol: UpstreamProtocol;
  readonly output: OutputFile;
  /** The row of its output's saved read position. */
  readonly outputRow: number;
  readonly stats: ProcessStats;
  readonly death: DeathNotes;
  /** Milliseconds of the monotonic clock. */
  readonly spawnedAt: number;
  /** Null if it could not be started, or is not forked yet. */
  pid: number | null;
  /** Whether it is writing a dump, which may block it for long. */
  isDumping: boolean;
  /** The folder of its own control group; null if it has none. */
  group: string | null;
  /** Identifies the process together with its pid; undefined without /proc. */
  startTime: string | undefined;
  /** Whether an earlier supervisor started it, so that it is not our child. */
  readonly isAdopted: boolean;
  /** The last sign of life of an adopted process that this supervisor has not seen running, in Unix time; null for all others. */
  lastSignAt: number | null;
  connection: ChannelConnection | null;
  /** Why it is about to fail, from its own report. */
  fault: string | null;
  /** Why we killed it; null if it exited by itself. */
  verdict: string | null;
  /** The request that a stalled process is running, from reports of balancers. */
  running: string | null;
  /** The balancer that reported it first. */
  runningBy: string | null;
  /**
   * A request that runs too long: which process reported it (a balancer, or in direct mode the process itself), and since when its response
   * is due.
   */
  overdue: { by: string; request: string; since: number } | null;
  /** The number of requests in flight from each balancer, from its last report. */
  readonly relayed: Map<string, number>;
  /** Whether its health checks fail, so that it gets no new requests. */
  failsChecks: boolean;
  /** The balancers that have ejected it. */
  readonly ejections: Map<string, Ejection>;
  /** The balancers that send it requests although it is ejected or its checks fail. */
  readonly servedAnywayBy: Set<string>;
  /** How often balancers have ejected it. */
  ejectionsTotal: number;
  /** Whether it has requests in flight, from the last report of itself or a balancer. */
  readonly isBusy: boolean;
  /** The non-loopback addresses on which it listens, for example `0.0.0.0:3000`. */
  exposed: string[];
  /** The state of a worker's schedule, from its shim's last report. */
  schedule: ScheduleReport | null;
  /** The exit status of a shim's command. */
  commandExit: ExitStatus | null;
  /** When its drain must be finished, in milliseconds of the monotonic clock; null if it was not asked to drain. */
  drainDeadline: number | null;
  released: boolean;
  /** Its exit status, while we wait for its final report. */
  heldExit: ExitStatus | null;
  exit: ExitStatus | null;
}

/**
 * Whether SIGUSR1 opens the process's inspector for us alone. It does for a Node process that runs our code and was started with the flags
 * for that.
 */
export function isInspectable({ runtime, commandTag, pid }: LiveProcess): boolean {
  if (runtime !== "node" || commandTag !== null || pid === null) return false;
  const commandLine = attempt(() => readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0")) ?? [];
  return INSPECTOR_FLAGS.every((flag) => commandLine.includes(flag));
}

/** The exit of a process in one line, with its final report. */
export interface Ending {
  status: ExitStatus;
  at: number;
  /** When the exit was found, if `at` is only the last sign of life. */
  foundAt?: number;
  reason: string;
  lastLines: string[];
  isSpawnFailure?: boolean;
}

/** The balancers form a pool with this name. */
export const BALANCER_POOL = "balancer";

/** Returns the name of the process in the log: `web.3` or `web.3 (replacement)`. */
export function subjectOf(effect: Pick<FleetEffect, "name" | "role">): string {
  return effect.role === "member" ? effect.name : `${effect.name} (${effect.role})`;
}

/** Groups processes that count as one by the pid that we spawned; shims are listed under their `shimKey`. */
export function processGroups(children: Iterable<Pick<LiveProcess, "pid" | "commandTag">>): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  // Read once for all shims, and not at all without shims.
  let rows: ProcessRow[] | undefined;
  for (const { pid, commandTag } of children) {
    if (pid === null) continue;
    if (commandTag !== null) rows ??= readProcessTable();
    if (commandTag === null || rows === undefined) groups.set(pid, [pid]);
    else groups.set(pid, processesOf(pid, rows)).set(shimKey(pid), [pid]);
  }
  return groups;
}

/** Returns the key of the shim itself; its pid stands for the command. */
export function shimKey(pid: number): number {
  return -pid;
}

/** A process to be forked. */
export interface ForkRequest {
  /** For example `web.3#7`. */
  id: string;
  pool: string;
  generation: number;
  /** The variables that differ from the environment of the template. */
  environment: Record<string, string>;
  outputPath: string;
  /** Returns the pid, if the process has reported it before its template does. */
  pid(): number | null;
  onForked(pid: number): void;
  onExit(status: ExitStatus): void;
  onFailed(reason: string): void;
  /** Called if the template exited before it forked the process. */
  onTemplateEnded(status: ExitStatus, fault: string | null, verdict: string | null, lastLines: string[]): void;
}

export interface Template {
  readonly kind: "template";
  /** For example `web.template#2`. */
  readonly id: string;
  readonly name: string;
  readonly pool: string;
  readonly generation: number;
  readonly token: string;
  readonly attempt: number;
  readonly tag: string;
  readonly output: OutputFile;
  readonly death: DeathNotes;
  readonly spawnedAt: number;
  pid: number | null;
  connection: ChannelConnection | null;
  isReady: boolean;
  fault: string | null;
  /** Why we killed it. */
  verdict: string | null;
  hasEnded: boolean;
  /** Processes that are requested and not forked yet. */
  readonly waiting: Map<string, ForkRequest>;
  /** Processes that are forked and have not exited. */
  readonly living: Map<string, { request: ForkRequest; pid: number; startTime: string | undefined }>;
}
