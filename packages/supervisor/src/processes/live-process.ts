/** What is known of one OS process that the supervisor spawned, and which processes are counted as one. */
import type { TcpAddress, UpstreamProtocol } from "@paceline/wire";
import { type ProcessRow, processesOf, readProcessTable } from "@paceline/wire/proc";
import type { ChannelConnection } from "../channel/channel-connection.js";
import type { FleetEffect } from "../core/fleet-changes.js";
import type { ExitStatus } from "../core/model.js";
import type { OutputFile } from "../logs/output.js";
import type { ProcessStats } from "../stats/stats.js";

export interface LiveProcess {
  /** Such as `web.3#7`. */
  readonly id: string;
  readonly pool: string;
  /** The slot, such as `web.3`. */
  readonly name: string;
  readonly index: number;
  readonly attempt: number;
  readonly generation: number;
  readonly kind: "instance" | "balancer";
  /** `bun` or `node`; of another program what it calls itself, such as `python 3.11.7`. */
  runtime: string;
  /** Proves on the control channel that it is this process that speaks. */
  readonly token: string;
  /** Where an instance serves; null for a balancer. */
  readonly socket: string | null;
  /** Where it serves in the place of that socket. */
  readonly tcp: TcpAddress | null;
  /** The mark of the processes of a command, of which this one is the shim; null for a process of ours alone. */
  readonly mark: string | null;
  /** By which what it has started is recognised; null where nothing is to be looked for. */
  readonly tag: string | null;
  /** Requests that a balancer may have under way there; null: as many as its own limits allow. */
  readonly maxInFlight: number | null;
  /** Whether it is forked by a template; it has a pid when that has happened. */
  readonly isForked: boolean;
  /** Whether each connection there may carry the requests of one client alone. */
  readonly perClient: boolean;
  /** What an instance that is ready speaks there. */
  protocol: UpstreamProtocol;
  readonly output: OutputFile;
  readonly stats: ProcessStats;
  /** In milliseconds, by the monotonic clock. */
  readonly spawnedAt: number;
  /** Null when it could not be started, or has not been forked yet. */
  pid: number | null;
  connection: ChannelConnection | null;
  /** Why it is about to fail, as it said itself. */
  fault: string | null;
  /** Why we had it killed, where that was our verdict and not its own end. */
  verdict: string | null;
  /** What balancers say it is running while it is silent. */
  running: string | null;
  /** A request that goes on there although nobody waits for it: which balancer said so, and since when its response is owed. */
  overdue: { balancer: string; request: string; since: number } | null;
  /** Requests that each balancer has under way there, as it last said. */
  readonly relayed: Map<string, number>;
  /** Requests are under way there, as it or a balancer last said. */
  readonly isBusy: boolean;
  /** Addresses that it listens on and that others than this machine can reach, such as `0.0.0.0:3000`. */
  exposed: string[];
  /** How the command of a shim ended. */
  commandExit: ExitStatus | null;
  /** When a drain it was asked for must have ended, by the monotonic clock; null when it was asked for none. */
  drainDeadline: number | null;
  released: boolean;
  /** How it ended, while its final report are waited for. */
  heldExit: ExitStatus | null;
  exit: ExitStatus | null;
}

/** How a process ended, told in one line, with its final report. */
export interface Ending {
  status: ExitStatus;
  at: number;
  reason: string;
  lastLines: string[];
}

/** A pool of balancers is one like any other, with this name. */
export const BALANCER_POOL = "balancer";

/** The process an effect is for, as one word of the log: `web.3`, or `web.3 (replacement)`. */
export function subjectOf(effect: Pick<FleetEffect, "name" | "role">): string {
  return effect.role === "member" ? effect.name : `${effect.name} (${effect.role})`;
}

/** By what they are known as: the pid of the process that we spawned; a shim by `shimKey` of its own. */
export function processGroups(children: Iterable<Pick<LiveProcess, "pid" | "mark">>): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  // Read once for all shims, and not at all where there is none.
  let rows: ProcessRow[] | undefined;
  for (const { pid, mark } of children) {
    if (pid === null) continue;
    if (mark !== null) rows ??= readProcessTable();
    if (mark === null || rows === undefined) groups.set(pid, [pid]);
    else groups.set(pid, processesOf(pid, rows)).set(shimKey(pid), [pid]);
  }
  return groups;
}

/** What stands for a shim alone, where its pid stands for the command. */
export function shimKey(pid: number): number {
  return -pid;
}
