/** What a rehearsal does to its fleet in each phase, during the load. */
import { setTimeout as sleep } from "node:timers/promises";
import { processesOf, readProcessTable } from "@paceline/wire/proc";
import type { InstanceStatus, PoolStatus } from "../control/api.js";
import type { PoolConfig } from "../core/model.js";
import type { FleetClient } from "../fleet/fleet.js";
import type { Ask } from "./exchange.js";
import type { Load } from "./load.js";
import type { PhaseName } from "./phases.js";
import type { Tally } from "./tally.js";
import { type SentSignal, statusOf } from "./watch.js";

/** The deadline of one operation. It is generous, because each of many instances may drain up to its own deadline. */
const OPERATION_MS = 180_000;
const LOOK_EVERY_MS = 50;
/** How long an instance is stopped by SIGSTOP. */
const PAUSE_MS = 2_000;
/** Requests that are sent to each instance at once. */
const BURST_EACH = 4;
const MAX_BURST = 64;
/** After this time, a process has certainly received its signal. */
const ARRIVES_MS = 200;
/** The maximum number of pools that are disturbed. */
const MAX_POOLS = 8;

/** What the acts share. */
export interface Scene {
  fleet: FleetClient;
  /** The pools that get requests. */
  pools: readonly PoolConfig[];
  load: Load;
  /** The slowest requests of a pool, which are the most likely ones to be in progress. */
  slowest(pool: string): readonly Ask[];
  /** The signals sent so far. */
  sent: SentSignal[];
  /** Processes that were still running when they should have exited after SIGTERM. */
  stayed: { pool: string; process: string; afterMs: number }[];
  signal: AbortSignal;
}

/**
 * An act resolves when it is finished.
 * @throws PacelineError if an operation fails
 */
type Act = (scene: Scene, tally: Tally) => Promise<void>;

const operation = { timeoutMs: OPERATION_MS };

export const acts: Readonly<Record<Exclude<PhaseName, "state">, Act>> = {
  steady: async () => {},

  reload: async ({ fleet }) => void (await fleet.reload(operation)),

  restart: async ({ fleet }) => void (await fleet.restart(undefined, operation)),

  balancer: async ({ fleet }) => void (await fleet.restart("balancer", operation)),

  scale: async ({ fleet, pools }) => {
    for (const { name, maxInstances } of pools.slice(0, MAX_POOLS)) {
      const { wanted } = await poolOf(fleet, name);
      if (wanted < maxInstances) await fleet.scale(name, { by: 1 }, operation);
      await fleet.scale(name, wanted, operation);
    }
  },

  pause: async ({ fleet, pools, signal }) => {
    const limits = pools.map(({ policy }) => policy.hangAfterMs).filter((limit) => limit > 0);
    const pauseMs = Math.min(PAUSE_MS, ...limits.map((limit) => limit / 4));
    const pids: number[] = [];
    for (const { name, kind } of pools.slice(0, MAX_POOLS)) {
      const { pid } = (await poolOf(fleet, name)).instances.find(isReady) ?? {};
      if (pid == null) continue;
      // Only the program of a command is stopped; its shim continues to run.
      pids.push(...(kind === "command" ? processesOf(pid, readProcessTable()) : [pid]));
    }
    for (const pid of pids) signalTo(pid, "SIGSTOP");
    try {
      await sleep(pauseMs, undefined, { signal });
    } finally {
      for (const pid of pids) signalTo(pid, "SIGCONT");
    }
  },

  term: async (scene, tally) => {
    for (const pool of scene.pools.slice(0, MAX_POOLS)) {
      const { policy, name } = pool;
      const instance = (await poolOf(scene.fleet, name)).instances.findLast(isReady);
      if (instance?.pid == null) continue;
      const endRequests = await keepUnderWay(scene, pool, tally);
      const startedAt = performance.now();
      end(scene, instance.pid, "SIGTERM");
      // The signal must arrive while the process runs some of the requests.
      await sleep(ARRIVES_MS, undefined, { signal: scene.signal }).finally(endRequests);
      // The instance drains, its program gets SIGTERM once more, and then it is killed.
      const mostMs = policy.drainTimeoutMs + 2 * policy.termTimeoutMs + policy.killTimeoutMs;
      if (await untilReplaced(scene, name, instance, mostMs)) continue;
      const afterMs = performance.now() - startedAt;
      scene.stayed.push({ pool: name, process: `${instance.name}#${instance.attempt}`, afterMs });
      end(scene, instance.pid, "SIGKILL");
    }
  },

  kill: async (scene) => {
    for (const { name, policy } of scene.pools.slice(0, MAX_POOLS)) {
      const instance = (await poolOf(scene.fleet, name)).instances.find(isReady);
      if (instance?.pid == null) continue;
      end(scene, instance.pid, "SIGKILL");
      await untilReplaced(scene, name, instance, policy.readyTimeoutMs + policy.backoff.maxMs);
    }
  },

  stop: async (scene, tally) => {
    // Without this, the balancers would wait for our idle connections.
    scene.load.forgetIdle();
    for (const pool of scene.pools.slice(0, MAX_POOLS)) await burst(scene, pool, tally);
    await scene.fleet.stop(operation);
  },
};

async function keepUnderWay({ load, slowest, fleet }: Scene, { name }: PoolConfig, tally: Tally): Promise<() => void> {
  const [ask] = slowest(name);
  const { instances } = await poolOf(fleet, name);
  return ask === undefined
    ? () => {}
    : load.keepUnderWay(Math.min(MAX_BURST, BURST_EACH * instances.length), ask, tally);
}

async function burst({ load, slowest, fleet }: Scene, { name }: PoolConfig, tally: Tally): Promise<void> {
  const asks = slowest(name);
  const { instances } = await poolOf(fleet, name);
  if (asks.length > 0) await load.burst(Math.min(MAX_BURST, BURST_EACH * instances.length), asks, tally);
}

function end({ sent }: Scene, pid: number, signal: SentSignal["signal"]): void {
  sent.push({ pid, signal });
  signalTo(pid, signal);
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // The process has just exited, which the rest of the act shows.
  }
}

function isReady({ state, pid }: InstanceStatus): boolean {
  return state === "ready" && pid !== null;
}

/** @throws PacelineError if the pool is gone */
async function poolOf(fleet: FleetClient, name: string): Promise<PoolStatus> {
  const { pools } = await statusOf(fleet);
  return pools.find((pool) => pool.name === name) as PoolStatus;
}

/** Resolves with whether a new process is ready in the slot; false after `mostMs` milliseconds. */
async function untilReplaced(
  { fleet, signal }: Scene,
  pool: string,
  { name, attempt }: InstanceStatus,
  mostMs: number,
): Promise<boolean> {
  const deadline = performance.now() + mostMs;
  while (performance.now() < deadline) {
    const found = (await poolOf(fleet, pool)).instances.find((each) => each.name === name);
    if (found === undefined || (found.attempt !== attempt && isReady(found))) return true;
    await sleep(LOOK_EVERY_MS, undefined, { signal });
  }
  return false;
}
