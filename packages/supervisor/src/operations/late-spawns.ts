/**
 * Processes that were spawned just before their supervisor was killed. Its state does not contain them, but their environment identifies
 * them.
 */
import { uptime } from "node:os";
import { socketsBoundTo } from "@paceline/wire/socket-file";
import { takePlace } from "../core/adoption.js";
import { type Fleet, findSlot, processId } from "../core/fleet.js";
import { isAlive } from "../core/process.js";
import { BALANCER_POOL } from "../processes/live-process.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import type { SavedProcess } from "../run-dir/fleet-state.js";
import type { Orphan } from "../run-dir/orphans.js";

interface LateSpawn {
  fleet: Fleet;
  process: Omit<SavedProcess, "outputRow">;
  /** Whether it replaces a process that exited unexpectedly. */
  isRestart: boolean;
  /** The generation whose config it has, if its own is unknown. */
  configOf: number;
}

interface LateSpawnContext {
  configs: Pick<PoolConfigs, "balancer" | "generation">;
  socketPath(processId: string): string;
  /** Returns the protocol of processes of that generation, if one of them has reported it. */
  protocolOf(pool: string, generation: number): SavedProcess["protocol"] | undefined;
  /** Whether that process is in the state and running. */
  isRunning(processId: string): boolean;
}

/**
 * Puts the process into its slot if the slot has lost its process. If it is of another generation, it has replaced that process, for
 * example in a reload while a full disk kept the state from being written. Returns undefined for any other process, such as a replacement
 * beside the slot's process, because the processes in service are proven.
 */
export function placeLateSpawn(fleet: Fleet, orphan: Orphan, context: LateSpawnContext): LateSpawn | undefined {
  const { pool, name, attempt, generation, token, pid, identity, command, spawnTag = null } = orphan;
  const { configs, socketPath, isRunning } = context;
  const index = Number(name.slice(name.lastIndexOf(".") + 1));
  const slot = pool === undefined ? undefined : findSlot(fleet, pool, index);
  // A forked instance has the environment of its template.
  if (pool === undefined || slot === undefined || token === undefined || !(attempt > 0)) return undefined;
  const { process, generation: configOf } = slot.member;
  const isOther = generation !== configOf;
  const isFree = !isAlive(process) || !isRunning(processId(name, process.attempt));
  if (!isFree || slot.other !== null || !(generation > 0) || (isOther && pool === BALANCER_POOL)) return undefined;
  if (process.goal !== "up" || attempt < process.attempt) return undefined;
  const instances =
    pool === BALANCER_POOL
      ? undefined
      : (configs.generation(pool, generation) ?? configs.generation(pool, configOf))?.pool;
  const config = pool === BALANCER_POOL ? configs.balancer : instances;
  if (config === undefined) return undefined;
  const id = processId(name, attempt);
  const { workload = {}, maxInFlight = null, health } = instances ?? {};
  const hasSocket = instances !== undefined && (command === undefined || command.address !== undefined);
  const socket = hasSocket ? socketPath(id) : null;
  const protocol = context.protocolOf(pool, generation);
  // If unknown, its hello reports it, because balancers must not speak HTTP/1.1 to a lane.
  const isKnown =
    protocol !== undefined || instances?.protocol === "http1" || !("app" in workload || "static" in workload);
  const isReady =
    !isOther && isKnown && socket !== null && health?.readyPath === undefined && socketsBoundTo(socket).size > 0;
  return {
    fleet: takePlace(fleet, pool, index, { attempt, generation, isReady }),
    configOf,
    isRestart: process.state === "ready" || process.state === "starting" || process.state === "backoff",
    process: {
      ...{ id, pool, name, index, attempt, generation, token, pid, startTime: identity.startedAt },
      ...{ spawnedAt: startOf(identity.startedAt), runtime: config.runtime, maxOutputBytes: config.maxOutputBytes },
      ...{ socket, tcp: typeof command?.address === "object" ? command.address : null },
      // A shim finds the processes of its command itself.
      ...(command === undefined ? { mark: null, tag: spawnTag } : { mark: spawnTag, tag: null }),
      ...{ maxInFlight, perClient: command !== undefined || "proxy" in workload || "asgi" in workload },
      ...{ protocol: protocol ?? "http1", isInspected: false, requestsTotal: 0, errorsTotal: 0, relayed: [] },
    },
  };
}

const TICK_MS = 10;

/** Converts a start time in the kernel's clock ticks to Unix time. */
function startOf(ticks: string): number {
  return Date.now() - Math.max(0, Math.round(uptime() * 1000 - Number(ticks) * TICK_MS));
}
