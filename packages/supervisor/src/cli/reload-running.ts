/** `start --or-reload`: what is to be started runs already, or another command starts it just now, so it takes over what is new. */
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { ControlClient } from "../control/client.js";
import { PacelineError } from "../errors.js";
import { lockHolder } from "../run-dir/lock.js";
import { controlSocketIn } from "../run-dir/run-dir.js";
import type { ExitStatus } from "./exit-status.js";
import { operate } from "./operate.js";
import type { StartOptions } from "./options.js";
import { milliseconds } from "./options.js";
import { prepareStart } from "./prepare-start.js";

/** Another start may have to end what a killed supervisor has left before it can be asked. */
const START_TIMEOUT_MS = 120_000;
const POLL_MS = 50;
/** Each is lost to another start that began in between, or to one that failed. */
const MAX_ROUNDS = 5;

/**
 * Reloads the fleet of `target` when it runs, and starts it otherwise.
 * @param start throws PacelineError `running` when another start was faster
 */
export async function reloadOrStart(
  target: string,
  options: StartOptions,
  start: () => Promise<ExitStatus>,
): Promise<ExitStatus> {
  const timeoutMs = milliseconds(options.timeout);
  const deadline = performance.now() + (timeoutMs ?? START_TIMEOUT_MS);
  for (let round = 1; ; round++) {
    const { runDirPath } = await prepareStart(target, options);
    if (await isUp(runDirPath, deadline)) {
      const timeout = timeoutMs === undefined ? {} : { timeout: Math.max(1, deadline - performance.now()) / 1000 };
      return operate("/v1/reload", {}, { runDir: runDirPath, ...timeout, ...(options.json ? { json: true } : {}) });
    }
    try {
      return await start();
    } catch (error) {
      const lostTheRace = error instanceof PacelineError && error.code === "running";
      if (!lostTheRace || round === MAX_ROUNDS) throw error;
    }
  }
}

/** Whether a fleet runs there; one that another command starts just now is waited for until it can be asked. */
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
    // The socket is there a moment before the pools are.
    if (status !== undefined && status.pools.length > 0) return true;
    await sleep(POLL_MS);
  }
}
