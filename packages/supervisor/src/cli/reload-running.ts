/** `start --or-reload`: reloads the fleet if it is running or starting, and starts it otherwise. */
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { ControlClient } from "../control/client.js";
import { PacelineError } from "../errors.js";
import { prepareStart } from "../fleet/prepare-start.js";
import { lockHolder } from "../run-dir/lock.js";
import { controlSocketIn } from "../run-dir/run-dir.js";
import { operate } from "./operate.js";
import { milliseconds, type StartOptions, startOf } from "./options.js";
import type { ExitStatus } from "./output.js";

/** Another start may first have to end processes that a killed supervisor left behind. */
const START_TIMEOUT_MS = 120_000;
const POLL_MS = 50;
/** A round is lost when another start wins the race, or fails. */
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
    const { runDirPath } = await prepareStart(startOf(target, options), { endsSoon: options.detach === true });
    if (await isUp(runDirPath, deadline)) {
      const timeout = timeoutMs === undefined ? {} : { timeout: Math.max(1, deadline - performance.now()) / 1000 };
      const selected = { runDir: runDirPath, ...timeout, ...(options.json ? { json: true } : {}) };
      return operate(selected, undefined, (fleet, how) => fleet.reload(how));
    }
    try {
      return await start();
    } catch (error) {
      const lostTheRace = error instanceof PacelineError && error.code === "running";
      if (!lostTheRace || round === MAX_ROUNDS) throw error;
    }
  }
}

/** Whether a fleet is running. Waits for one that is starting until it responds. */
async function isUp(runDir: string, deadline: number): Promise<boolean> {
  for (;;) {
    const holder = existsSync(runDir) ? lockHolder(runDir) : undefined;
    if (holder === undefined) return false;
    const leftMs = deadline - performance.now();
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
