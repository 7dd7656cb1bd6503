/** Starts a fleet in its own session and shows the dashboard. The fleet stops with the dashboard, unless the user detaches. */
import { setTimeout as sleep } from "node:timers/promises";
import { visibleLine } from "../core/words.js";
import { glyphsFor } from "../dashboard/chart.js";
import { type Leaving, runDashboard } from "../dashboard/dashboard.js";
import type { PacelineError } from "../errors.js";
import { launchFleet, type StartedFleet } from "../fleet/create-fleet.js";
import { describeFleet } from "../fleet/prepare-start.js";
import { milliseconds, type StartOptions, startOf } from "./options.js";
import { EXIT, type ExitStatus, print, printError, printForeign, wantsColour } from "./output.js";
import { takeDump } from "./save-dump.js";
import { printTrust } from "./start-detached.js";

/** A start that fails within this time is reported as text, without showing the dashboard first. In milliseconds. */
const QUICK_FAILURE_MS = 1_500;

export async function startInTerminal(target: string, options: StartOptions): Promise<ExitStatus> {
  const fleet = await launchFleet(startOf(target, options));
  const { config } = fleet.prepared.fleet;
  print(`paceline: ${describeFleet(config, process.cwd())}`);
  // Ctrl-C also stops the fleet before the dashboard appears.
  const interrupted = () => void fleet.supervisor.stop().then(() => process.exit(EXIT.done));
  process.once("SIGINT", interrupted).once("SIGTERM", interrupted);
  const timeoutMs = milliseconds(options.timeout);
  let failed: StartWatch;
  try {
    await fleet.untilUp(timeoutMs);
    failed = untilStartFailed(fleet, timeoutMs);
    const early = await Promise.race([failed.settled, sleep(QUICK_FAILURE_MS, undefined, { ref: false })]);
    if (early !== undefined) throw await fleet.undone(early);
  } finally {
    process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
  }
  const leaving = await runDashboard({
    glyphs: glyphsFor(process.env),
    socketPath: fleet.controlSocket,
    ownership: "started",
    colour: wantsColour(),
    saveDump: (target, details) => takeDump(target, details).message,
    onStop: () => fleet.supervisor.kill("SIGINT"),
    ended: Promise.race([fleet.ended, failed.failure]),
  });
  return afterDashboard(leaving, fleet, failed.known(), visibleLine(config.name));
}

interface StartWatch {
  /** Resolves without an error when all instances are ready; with an error when the start has failed. */
  settled: Promise<PacelineError | undefined>;
  /** Resolves only if the start has failed. */
  failure: Promise<PacelineError>;
  known(): PacelineError | undefined;
}

/** Watches a start. It fails at its deadline, or when instances fail to start and none serves. */
function untilStartFailed(fleet: StartedFleet, timeoutMs: number | undefined): StartWatch {
  let known: PacelineError | undefined;
  const settled = fleet.waitReady(timeoutMs).then(
    () => undefined,
    async (error: PacelineError) => {
      const status = await fleet.status({ timeoutMs: 5_000 }).catch(() => undefined);
      // A supervisor that has exited prints its own result; one that serves something keeps running.
      if (status === undefined || status.state === "stopping") return undefined;
      if (fleet.isTakenOver() || (error.code !== "timeout" && status.pools.some((pool) => pool.ready > 0)))
        return undefined;
      known = error;
      return error;
    },
  );
  const failure = new Promise<PacelineError>((resolve) => {
    void settled.then((error) => {
      if (error !== undefined) resolve(error);
    });
  });
  return { settled, failure, known: () => known };
}

async function afterDashboard(
  leaving: Leaving,
  fleet: StartedFleet,
  failure: PacelineError | undefined,
  name: string,
): Promise<ExitStatus> {
  switch (leaving.by) {
    case "key":
      await fleet.detach();
      print(`paceline: ${name} keeps running (pid ${fleet.pid}); paceline top shows it, paceline stop ends it`);
      await printTrust(fleet.prepared.fleet.config, fleet.runDir);
      return EXIT.done;
    case "signal":
      await fleet.close();
      return reportEnd(fleet, name);
    case "end":
      if (failure !== undefined) throw await fleet.undone(failure);
      return reportEnd(fleet, name);
    default:
      return leaving satisfies never;
  }
}

/** Prints how the supervisor exited and returns the exit status. */
async function reportEnd({ ended, supervisor }: StartedFleet, name: string): Promise<ExitStatus> {
  const { code, signal } = await ended;
  printForeign(supervisor.output());
  if (signal !== null)
    printError(
      `the supervisor was killed by ${signal}; its processes keep serving for orphanGraceMs, then drain and exit; paceline status says until when, paceline start takes them over`,
    );
  else print(`paceline: ${name} ${code === 0 ? "has stopped" : `ended with exit status ${code}`}`);
  return (code ?? EXIT.failed) as ExitStatus;
}
