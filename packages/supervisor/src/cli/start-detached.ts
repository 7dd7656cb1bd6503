/** `start --detach`: starts a fleet, waits until it is ready, and leaves it running. */
import type { FleetConfig } from "../core/model.js";
import { PacelineError } from "../errors.js";
import { createFleet, type StartedFleet } from "../fleet/create-fleet.js";
import { describeFleet } from "../fleet/prepare-start.js";
import { milliseconds, type StartOptions, startOf } from "./options.js";
import { EXIT, type ExitStatus, failureOf, print, printError, printJson } from "./output.js";

export async function startDetached(target: string, options: StartOptions): Promise<ExitStatus> {
  const { json = false, timeout } = options;
  const interruption = new AbortController();
  const interrupt = () => interruption.abort();
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
  try {
    const fleet = await createFleet({
      ...startOf(target, options),
      ...{ detached: true, endsSoon: true, timeoutMs: milliseconds(timeout), signal: interruption.signal },
      onWaiting: json ? undefined : printError,
    });
    const { pid, runDir, prepared, outcome } = fleet;
    if (json) printJson({ ok: true, message: outcome, pid, runDir });
    else {
      const config = fleet.isTakenOver() ? await presentSizes(fleet) : prepared.fleet.config;
      print(`paceline: ${describeFleet(config, process.cwd())}: ${outcome} (pid ${pid})`);
      await printTrust(config, runDir);
    }
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof PacelineError) || error.code !== "interrupted") throw error;
    if (json) printJson(failureOf(error));
    else printError(error.message);
    return EXIT.interrupted;
  } finally {
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
  }
}

/** Prints what clients of an internal authority must trust: the supervisor says so only in its log. */
export async function printTrust({ tls }: FleetConfig, runDir: string): Promise<void> {
  if (tls?.issuer !== "internal") return;
  const hint = (await import("../certificates/local-issuer.js")).trustHint(runDir);
  if (hint !== undefined) print(`paceline: ${hint}`);
}

/** The deadline of the status that has the sizes, in milliseconds. */
const SIZES_MS = 5_000;

/** Returns the configuration with the sizes that `scale` has given to the pools before this start. */
async function presentSizes(fleet: StartedFleet): Promise<FleetConfig> {
  const { config } = fleet.prepared.fleet;
  const { pools } = await fleet.status({ timeoutMs: SIZES_MS });
  const sizes = new Map(pools.map(({ name, wanted }) => [name, wanted]));
  return {
    ...config,
    pools: config.pools.map((pool) => ({ ...pool, instances: sizes.get(pool.name) ?? pool.instances })),
  };
}
