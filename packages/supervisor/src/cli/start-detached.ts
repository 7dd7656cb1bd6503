/** `start --detach`: starts a fleet, waits until it is ready, and leaves it running. */
import type { FleetConfig } from "../core/model.js";
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
      // Scripts get only the outcome.
      onWaiting: !json && process.stderr.isTTY ? printError : undefined,
    });
    const { pid, runDir, outcome } = fleet;
    if (json) printJson({ ok: true, message: outcome, pid, runDir });
    else {
      const config = await fleet.presentConfig();
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

/** Prints the root certificate that clients of an internal authority must trust. The supervisor reports it only in its log. */
export async function printTrust({ tls }: FleetConfig, runDir: string): Promise<void> {
  if (tls?.issuer !== "internal") return;
  const hint = (await import("../certificates/local-issuer.js")).trustHint(runDir);
  if (hint !== undefined) print(`paceline: ${hint}`);
}
