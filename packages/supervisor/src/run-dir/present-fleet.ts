/** What the fleet of a killed supervisor is running, for a start that cannot load its configuration. */
import { readFileSync } from "node:fs";
import { attempt } from "@paceline/wire/proc";
import type { LoadedFleet } from "../config/load.js";
import type { PoolConfig } from "../core/model.js";
import { readFleetFile } from "./fleet-file.js";
import { type FleetState, readState, type SavedProcess } from "./fleet-state.js";
import { identify, lockHolder } from "./lock.js";
import { isForeign } from "./orphans.js";
import { distrust } from "./trust.js";

/**
 * Returns the configuration in force, if a supervisor that starts now can continue with the fleet.
 * @param source the fleet's identity
 */
export function presentFleet(runDir: string, source: string): Pick<LoadedFleet, "config" | "release"> | undefined {
  // Root must not follow the files of another user.
  if (distrust(runDir) !== undefined || lockHolder(runDir) !== undefined) return undefined;
  const record = readFleetFile(runDir);
  if (record === undefined || record.endedAt !== null || record.source !== source) return undefined;
  const { state } = readState(runDir);
  if (state === undefined) return undefined;
  const { boot, config, processes } = state;
  const alive = processes.filter(
    ({ pid, startTime, token }) =>
      identify(pid)?.startedAt === startTime && !isForeign(boot, pid, token, record.channelSocket),
  );
  if (alive.length === 0) return undefined;
  const pools = config.pools.map((pool) => withSecretsOf(pool, alive, state));
  return { config: { ...config, pools }, release: record.release };
}

/** Returns the running part of a fleet: the pid of its supervisor, or the state with which a new supervisor can continue. */
export function fleetAt(
  runDir: string,
  source: string,
): { pid?: number | undefined; present?: ReturnType<typeof presentFleet> } {
  if (distrust(runDir) !== undefined || readFleetFile(runDir)?.source !== source) return {};
  const pid = lockHolder(runDir)?.pid;
  return pid === undefined ? { present: presentFleet(runDir, source) } : { pid };
}

/** Adds the values of secrets from the environments of the processes, because the state does not have them. */
function withSecretsOf(pool: PoolConfig, alive: readonly SavedProcess[], { generations }: FleetState): PoolConfig {
  const names = Object.keys(pool.secrets);
  if (names.length === 0) return pool;
  const current = Math.max(...generations.filter((each) => each.pool === pool.name).map(({ number }) => number));
  const own = alive.filter((process) => process.pool === pool.name).sort((a, b) => b.generation - a.generation);
  const newest = own.find(({ generation }) => generation === current) ?? own[0];
  const text = newest && attempt(() => readFileSync(`/proc/${newest.pid}/environ`, "utf8"));
  const variables = new Map((text ?? "").split("\0").map((entry) => [entry.split("=", 1)[0] ?? "", entry] as const));
  const secretOf = (name: string) => variables.get(name)?.slice(name.length + 1) ?? "";
  const secrets = Object.entries(pool.secrets).map(([name, secret]) => [name, { ...secret, value: secretOf(name) }]);
  return { ...pool, secrets: Object.fromEntries(secrets) as PoolConfig["secrets"] };
}
