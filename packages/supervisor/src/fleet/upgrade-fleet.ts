/** Upgrades a running fleet to the version of this package: the supervisor first, then the balancers, then the pools. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Heir, Status } from "../control/api.js";
import { PacelineError } from "../errors.js";
import { builtFile, version } from "../package.js";
import { readState } from "../run-dir/fleet-state.js";
import { findRuntimes, runtimeCommand } from "../runtime/runtimes.js";
import type { OperationDone, OperationOptions } from "./api.js";
import type { FleetClient } from "./fleet.js";

const POLL_MS = 50;
/** Longer than the running supervisor waits for this version's. */
const TAKE_OVER_MS = 60_000;

interface UpgradeOptions extends OperationOptions {
  supervisorOnly?: boolean | undefined;
  /** Also if the version is the same. */
  force?: boolean | undefined;
}

/**
 * @throws PacelineError `refused` or `busy` if nothing was changed; `rolled-back` if the former supervisor goes on; `failed` or `busy` if
 * the supervisor was upgraded, but not all other processes
 */
export async function upgradeFleet(
  fleet: FleetClient,
  { supervisorOnly = false, force = false, timeoutMs, onProgress = () => {} }: UpgradeOptions,
): Promise<OperationDone> {
  const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  const left = () => (deadline === undefined ? undefined : Math.max(1, deadline - performance.now()));
  const before = await fleet.status();
  const to = version();
  const hasOthers = [...before.balancers, ...before.pools.flatMap(({ instances }) => instances)].some(
    (each) => each.version != null && each.version !== to,
  );
  if (before.version === to && !hasOthers && !force)
    return { ok: true, message: `the fleet runs Paceline ${to} already` };
  if (before.version !== to || force) {
    check(fleet.runDir);
    await fleet.handOver(heirOf(to), { timeoutMs: left() });
    const { pid } = await takenOver(fleet, before, deadline);
    onProgress(`the supervisor is Paceline ${to} (pid ${pid})`);
  }
  if (!supervisorOnly) {
    const how = () => ({ timeoutMs: left(), onProgress });
    if (before.balancers.length > 0) onProgress((await fleet.restart("balancer", how())).message);
    onProgress((await fleet.reload(how())).message);
  }
  return { ok: true, message: `upgraded from Paceline ${before.version} to ${to}` };
}

/** @throws PacelineError `refused` if this version cannot go on with the state of the running fleet */
function check(runDir: string): void {
  const { state, problem } = readState(runDir);
  if (state !== undefined) return;
  const why = problem ?? "there is none";
  throw new PacelineError(
    "refused",
    `Paceline ${version()} cannot use the state of the fleet: ${why}; nothing was changed`,
  );
}

function heirOf(to: string): Heir {
  const runtimes = findRuntimes();
  const entry = builtFile("programs/cli/main.js");
  const { command, args } = runtimeCommand(runtimes, runtimes.preferred, { entry, hasUserCode: false });
  return { version: to, command, args };
}

/** Resolves when the heir runs the fleet. @throws PacelineError `rolled-back` or `timeout` */
async function takenOver(fleet: FleetClient, before: Status, deadline: number | undefined): Promise<Status> {
  const end = Math.min(performance.now() + TAKE_OVER_MS, deadline ?? Number.POSITIVE_INFINITY);
  while (performance.now() < end) {
    await sleep(POLL_MS);
    const now = await fleet.status({ timeoutMs: 5_000 }).catch(() => undefined);
    if (now === undefined) continue;
    if (now.pid !== before.pid && now.state === "running") return now;
    if (now.rolledBack === null || now.rolledBack === undefined || now.rolledBack.at === before.rolledBack?.at)
      continue;
    throw new PacelineError("rolled-back", `Paceline ${before.version} goes on: ${now.rolledBack.reason}`);
  }
  throw new PacelineError("timeout", "it is not known yet which supervisor runs the fleet");
}
