/** The public exports of the paceline package: config files, and fleets for programs. Importing it loads no other code of Paceline. */
import type { PacelineConfig } from "./config/config-types.js";
import type { ConfigContext } from "./config/read-file.js";
import type { CreatedFleet, CreateFleetOptions, Fleet, FleetChoice, ListedFleet } from "./fleet/api.js";

export type { PacelineConfig, PoolConfig } from "./config/config-types.js";
export { ConfigError, type Problem } from "./config/problems.js";
export type { ConfigContext } from "./config/read-file.js";
export type { FleetEvent, LogLine, ScaleChange, Status } from "./control/api.js";
export { PacelineError } from "./errors.js";
export type {
  CreatedFleet,
  CreateFleetOptions,
  Fleet,
  FleetChoice,
  FleetEnd,
  LinesOptions,
  ListedFleet,
  OperationDone,
  OperationOptions,
  ReloadOptions,
} from "./fleet/api.js";

/** A function that a config file may export. Each start and reload runs it in a process of its own. */
export type ConfigFunction = (context: ConfigContext) => PacelineConfig | Promise<PacelineConfig>;

/**
 * Returns its argument unchanged; lets an editor check its keys. With more than three forms, the compiler shows only the error of the last
 * one, so the last form is an object.
 */
export function defineConfig(config: (context: ConfigContext) => PacelineConfig): ConfigFunction;
export function defineConfig(config: ConfigFunction): ConfigFunction;
export function defineConfig(config: Promise<PacelineConfig>): Promise<PacelineConfig>;
export function defineConfig(config: PacelineConfig): PacelineConfig;
export function defineConfig(config: unknown): unknown {
  return config;
}

/**
 * Starts a fleet, as `paceline start` does, and resolves when all its instances are ready. If one fails to start, nothing is left running.
 * The supervisor is a process of its own. Unless `detached`, the fleet stops gracefully when this program exits or dies.
 * @throws PacelineError `config`, `running` if the fleet is already running, `orphans` if a killed supervisor left processes behind, the
 * system's code if an address cannot be bound, `timeout`, `interrupted`, otherwise `failed`
 */
export async function createFleet(options?: CreateFleetOptions): Promise<CreatedFleet> {
  const fleet = await import("./fleet/create-fleet.js");
  return fleet.createFleet(options);
}

/**
 * Returns a running fleet, wherever it was started. It is found in the same way as by the commands.
 * @throws PacelineError `not-running`, `orphaned` if its supervisor was killed, `denied`, or `usage` if several match
 */
export async function connectFleet(choice?: FleetChoice): Promise<Fleet> {
  const fleet = await import("./fleet/fleet.js");
  return fleet.connectFleet(choice);
}

/** Returns the fleets of this user (for root, of all users), wherever they were started, as `paceline ls` does. */
export async function listFleets(): Promise<ListedFleet[]> {
  const { describeFleets } = await import("./fleet/describe-fleets.js");
  return (await describeFleets()).fleets;
}
