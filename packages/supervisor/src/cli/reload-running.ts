/** `start --or-reload`: reloads the fleet if it is running or starting, and starts it otherwise. */
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { clientAddresses, formatListenAddress } from "../config/listen-address.js";
import { ControlClient } from "../control/client.js";
import { visibleLine } from "../core/words.js";
import { PacelineError } from "../errors.js";
import type { OperationDone, OperationOptions } from "../fleet/api.js";
import type { FleetClient } from "../fleet/fleet.js";
import { type PreparedStart, prepareStart } from "../fleet/prepare-start.js";
import { type FleetFile, readFleetFile } from "../run-dir/fleet-file.js";
import { isStopped, lockHolder, silentText } from "../run-dir/lock.js";
import { controlSocketIn } from "../run-dir/run-dir.js";
import { operate } from "./operate.js";
import { milliseconds, type StartOptions, startOf } from "./options.js";
import { type ExitStatus, failWithOutput } from "./output.js";

/** How long to wait, in milliseconds: another start may first have to kill processes that a killed supervisor left behind. */
const START_TIMEOUT_MS = 120_000;
const POLL_MS = 50;
/** The maximum number of attempts. One is lost when another start is faster, or fails. */
const MAX_ROUNDS = 5;

/**
 * Reloads the fleet of `target` if it is running, and starts it otherwise.
 * @param start throws PacelineError `running` if another start was faster
 */
export async function reloadOrStart(
  target: string,
  options: StartOptions,
  start: () => Promise<ExitStatus>,
): Promise<ExitStatus> {
  const timeoutMs = milliseconds(options.timeout);
  const deadline = performance.now() + (timeoutMs ?? START_TIMEOUT_MS);
  for (let round = 1; ; round++) {
    const prepared = await prepareStart(startOf(target, options), { endsSoon: options.detach === true });
    const { runDirPath } = prepared;
    if (await isUp(runDirPath, deadline)) {
      checkOptions(prepared, options, readFleetFile(runDirPath));
      failWithOutput();
      const left = () => (timeoutMs === undefined ? undefined : Math.max(1, deadline - performance.now()));
      const timeout = left();
      const selected = {
        runDir: runDirPath,
        ...(timeout === undefined ? {} : { timeout: timeout / 1000 }),
        ...(options.json ? { json: true } : {}),
      };
      return operate(
        selected,
        undefined,
        async (fleet, how) => {
          const reloaded = await fleet.reload(how);
          const resized =
            options.instances === undefined ? undefined : await resize(fleet, prepared, { ...how, timeoutMs: left() });
          return resized === undefined ? reloaded : { ...reloaded, message: `${reloaded.message}; ${resized.message}` };
        },
        "the reload",
      );
    }
    try {
      return await start();
    } catch (error) {
      const lostTheRace = error instanceof PacelineError && error.code === "running";
      if (!lostTheRace || round === MAX_ROUNDS) throw error;
    }
  }
}

/**
 * Checks that a reload does not ignore an option of this command.
 * @throws PacelineError `usage`
 */
function checkOptions({ fleet, options }: PreparedStart, given: StartOptions, record: FleetFile | undefined): void {
  if (record?.options === undefined) return;
  const { name, pid, listen = [], options: former } = record;
  const differing = Object.entries(options).flatMap(([option, value]) => {
    const isSame = former[option] === value || (option === "--name" && value === JSON.stringify(name));
    return isSame ? [] : [option];
  });
  const addresses = clientAddresses(fleet.config).map(formatListenAddress);
  if (given.listen !== undefined && !isDeepStrictEqual(addresses, listen))
    differing.unshift(`--listen (${addresses.join(", ")}, not ${listen.join(", ") || "nothing"})`);
  if (differing.length === 0) return;
  const message = `${name} runs (pid ${pid}) with different options: ${differing.join(", ")}; nothing was changed: stop and start the fleet to apply them`;
  throw new PacelineError("usage", visibleLine(message));
}

/** Scales the pool to which --instances applies. */
async function resize(
  running: FleetClient,
  { fleet }: PreparedStart,
  how: OperationOptions,
): Promise<OperationDone | undefined> {
  const [pool] = fleet.config.pools;
  const { pools } = await running.status();
  if (pool === undefined || pools.find(({ name }) => name === pool.name)?.wanted === pool.instances) return undefined;
  return running.scale(pool.name, pool.instances, how);
}

/** Whether a fleet is running. If one is starting, waits until it responds. */
async function isUp(runDir: string, deadline: number): Promise<boolean> {
  for (;;) {
    const holder = existsSync(runDir) ? lockHolder(runDir) : undefined;
    if (holder === undefined) return false;
    const leftMs = deadline - performance.now();
    if (isStopped(holder.pid)) throw new PacelineError("unresponsive", silentText(holder.pid));
    if (leftMs <= 0) {
      throw new PacelineError("timeout", `the supervisor (pid ${holder.pid}) in ${runDir} does not respond yet`);
    }
    const client = new ControlClient({ socketPath: controlSocketIn(runDir), timeoutMs: Math.min(leftMs, 10_000) });
    const status = await client.status().catch(() => undefined);
    // The socket is served shortly before the pools exist.
    if (status !== undefined && status.pools.length > 0) return true;
    await sleep(POLL_MS);
  }
}
