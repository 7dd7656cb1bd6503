/** `start --detach`: starts a fleet, waits until it is ready, and leaves it running. */
import { PacelineError } from "../errors.js";
import { createFleet } from "../fleet/create-fleet.js";
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
    });
    const { pid, runDir, prepared, outcome } = fleet;
    if (json) printJson({ ok: true, message: outcome, pid, runDir });
    else print(`paceline: ${describeFleet(prepared.fleet.config, process.cwd())}: ${outcome} (pid ${pid})`);
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
