/** Compares the version in service with the one that a reload or a deploy would load now, without changing anything. */
import { isAbsolute } from "node:path";
import type { FleetDiff, OperationResult } from "../control/api.js";
import { keyChanges, type PoolSide, releaseChanges, variableChanges } from "../core/config-diff.js";
import { type Fleet, findPool } from "../core/fleet.js";
import type { FleetConfig, PoolConfig } from "../core/model.js";
import { unknownName } from "../core/words.js";
import type { Children } from "../processes/children.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import type { ConfigLoader } from "./reload.js";

interface FleetDiffOptions {
  configs: PoolConfigs;
  children: Pick<Children, "alive">;
  fleet(): Fleet;
  loadConfig: ConfigLoader;
  /** Returns why the loaded configuration cannot be put into service. */
  refusal(next: FleetConfig): OperationResult | undefined;
  /** The absolute paths of the runtimes. */
  runtimes: { bun?: string; node: string };
}

/** @param environment would replace the caller's environment; undefined: it stays */
export async function diffFleet(
  { configs, children, fleet, loadConfig, refusal, runtimes }: FleetDiffOptions,
  pool: string | undefined,
  environment: Record<string, string> | undefined,
): Promise<OperationResult> {
  const loaded = await loadConfig();
  if (!loaded.ok) return { ok: false, code: "config", message: loaded.problems.join("\n") };
  const next = loaded.config;
  const names = [...new Set([...configs.fleet.pools, ...next.pools].map(({ name }) => name))];
  if (pool !== undefined && !names.includes(pool))
    return { ok: false, code: "invalid", message: unknownName(pool, names) };
  const isMeant = ({ name }: { name: string }) => pool === undefined || name === pool;
  const inService = configs.fleet.pools.filter(isMeant).map((config) => {
    const number = findPool(fleet(), config.name)?.generation ?? 0;
    const known = configs.generation(config.name, number);
    return {
      config: known?.pool ?? config,
      environment: known?.environment ?? configs.environment,
      since: known?.since ?? Date.now(),
    };
  });
  const after = next.pools.filter(isMeant);
  const sides = after.map((config): PoolSide => ({ config, environment: environment ?? configs.environment }));
  const before: FleetConfig = { ...configs.fleet, pools: inService.map(({ config }) => config) };
  // A reload of one pool does not change the fleet's own keys.
  const keys = keyChanges(before, { ...next, pools: after }).filter((key) => pool === undefined || key.pool !== null);
  const pids = new Map([...children.alive()].flatMap(({ pool, pid }) => (pid === null ? [] : [[pool, pid]])));
  const refused = refusal(next);
  const details: FleetDiff = {
    refused: refused === undefined || refused.ok ? null : refused.message,
    config: keys,
    env: variableChanges(inService, sides),
    releases: releaseChanges(inService, after),
    runtimes: after.flatMap((config) => {
      const [pid, program] = [pids.get(config.name), programOf(config, runtimes)];
      return pid === undefined || program === undefined ? [] : [{ pool: config.name, pid, program }];
    }),
  };
  return { ok: true, message: "compared", details: { ...details } };
}

/** Returns the absolute path of the program that would run the pool's instances; undefined if its version does not matter for the app. */
function programOf({ launch, runtime }: PoolConfig, runtimes: FleetDiffOptions["runtimes"]): string | undefined {
  if ("command" in launch) return isAbsolute(launch.command) ? launch.command : undefined;
  return launch.entry === "server" ? runtimes[runtime] : undefined;
}
