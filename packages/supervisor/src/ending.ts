/** How a supervisor leaves its fleet: it stops it, or freezes it for another supervisor. */
import type { OperationResult, SupervisorProgram } from "./control/api.js";
import { type Fleet, isDown } from "./core/fleet.js";
import { resize } from "./core/fleet-changes.js";
import { seconds } from "./core/words.js";
import { generationsInUse, longestEndMs } from "./operations/fleet-questions.js";
import { STOPPING } from "./operations/scale-and-restart.js";
import type { FleetRunner } from "./processes/fleet-runner.js";
import { BALANCER_POOL } from "./processes/live-process.js";
import { endLeftovers } from "./run-dir/orphans.js";
import type { FleetParts } from "./wiring.js";

/**
 * The time, in milliseconds, that balancers get on a stop to accept waiting clients and close their listening sockets. On a busy machine
 * they need more than a moment, and while many clients connect they accept for longer (packages/balancer/src/admission/listening.ts).
 */
const ACCEPT_GRACE_MS = 2000;

const NOT_RUNNING: OperationResult = {
  ok: false,
  code: "busy",
  message: "an instance has not been ready yet, or the fleet stops; try again later",
};

/**
 * Stops the fleet. First, all processes that listen drain: balancers, and instances in direct mode. Meanwhile the other instances still
 * serve requests and know that a drain follows. They drain in the remaining time. Programs in tcp mode drain together with the balancers.
 * Otherwise the balancers would wait for their connections, which end only with the program.
 */
export async function endFleet(parts: FleetParts, channelSocket: string): Promise<OperationResult> {
  const { runner, rollouts, configs, children, log } = parts;
  parts.recycling.stop();
  parts.autoscaling.stop();
  log.event("info", "paceline", "is stopping");
  rollouts.abandon(STOPPING.message);
  const hooksEnded = parts.hooks.end();
  await preDrain(parts);
  const down = (pool?: string) => (fleet: Fleet) => (isDown(fleet, pool) ? true : undefined);
  const policies = runner.fleet.pools.flatMap(({ name }) =>
    [...generationsInUse(runner.fleet, name)].map((generation) => configs.policyOf(name, generation)),
  );
  const longestMs = Math.max(...policies.map(longestEndMs), 0);
  parts.stopBy = performance.now() + Math.max(...policies.map(({ drainTimeoutMs }) => drainTimeoutMs), 0);
  children.announceDrain();
  runner.change((fleet, context) => resize(fleet, BALANCER_POOL, 0, context));
  const modeOf = (pool: string) => configs.pool(pool)?.mode;
  // Pools in direct mode drain at once: their instances listen themselves, and no balancer sends them anything.
  stopPools(runner, (pool) => modeOf(pool) === "direct");
  await stopListening(parts);
  stopPools(runner, (pool) => modeOf(pool) === "tcp");
  await runner.until(down(BALANCER_POOL), longestMs);
  stopPools(runner);
  const gone = (await runner.until(down(), longestMs)) ?? false;
  await children.templates.end();
  await children.whenClean();
  await hooksEnded;
  if (parts.adoption !== undefined) {
    await parts.adoption.strangersEnded;
    // Ends processes that the apps have started, for example in a template of the former supervisor.
    await endLeftovers(channelSocket);
  }
  await parts.state.end();
  return gone
    ? { ok: true, message: "stopped" }
    : { ok: false, code: "failed", message: "a process could not be killed" };
}

/** Waits while the fleet is not ready, so that a proxy in front sends no more requests. The fleet serves the requests that still arrive. */
async function preDrain(parts: FleetParts): Promise<void> {
  const { configs, log, sockets } = parts;
  // A supervisor of an earlier version may have written the configuration.
  const { preDrainMs = 0 } = configs.balancer as { preDrainMs?: number };
  if (preDrainMs === 0 || sockets.length === 0) return;
  log.event("info", "paceline", `reports not ready, and serves for ${seconds(preDrainMs)} before it drains`);
  parts.publishing.isUnready = true;
  parts.publishing.publish();
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, preDrainMs);
    parts.endPreDrain = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

/** From here on, new clients are refused at once, so that they can go elsewhere. */
async function stopListening({ coordination, sockets, slotSockets, urls, log }: FleetParts): Promise<void> {
  await coordination.whenNoneListens(ACCEPT_GRACE_MS);
  for (const socket of sockets) socket.close();
  // Closes only our copies: instances in direct mode close the sockets when they drain.
  slotSockets.close();
  if (urls.length > 0) log.event("info", "paceline", "accepts no more connections");
}

export function stopPools(runner: FleetRunner, isMeant: (pool: string) => boolean = () => true): void {
  for (const { name } of runner.fleet.pools.filter(({ name }) => isMeant(name))) {
    runner.change((fleet, context) => resize(fleet, name, 0, context));
  }
}

/**
 * Writes the state that the next supervisor needs. After that, the state no longer changes. If writing fails, returns the reason, and the
 * fleet continues as before.
 */
export async function freezeForNextSupervisor(
  parts: FleetParts,
  next: SupervisorProgram,
  { version, isRunning }: { version: string; isRunning: boolean },
): Promise<OperationResult> {
  const { runner, log, state } = parts;
  const pools = runner.fleet.pools.map(({ name }) => name);
  const refusal =
    // A hook of a deploy may run while no pool changes.
    parts.deploys.refusal ??
    pools.map((pool) => parts.operations.refusal(pool)).find((found) => found !== undefined) ??
    (isRunning ? undefined : NOT_RUNNING);
  if (refusal !== undefined) return refusal;
  log.event("info", "paceline", `hands over to Paceline ${next.version} (this is ${version})`);
  parts.isStopping = true;
  runner.freeze();
  try {
    await state.handOver();
  } catch (error) {
    parts.isStopping = false;
    state.resume();
    runner.thaw();
    const message = `the upgrade is refused, because the state of the fleet cannot be written: ${(error as Error).message}`;
    log.event("error", "paceline", message);
    return { ok: false, code: "failed", message };
  }
  parts.recycling.stop();
  return { ok: true, message: `handed over to Paceline ${next.version}` };
}
