/** Starts a fleet in its own session and shows the dashboard. The fleet ends with the dashboard, unless the user detaches. */
import { setTimeout as sleep } from "node:timers/promises";
import type { OperationResult } from "../control/api.js";
import { ControlClient } from "../control/client.js";
import { visibleLine } from "../core/words.js";
import { type Leaving, runDashboard } from "../dashboard/dashboard.js";
import { PacelineError } from "../errors.js";
import { controlSocketIn } from "../run-dir/run-dir.js";
import { milliseconds, type StartOptions } from "./options.js";
import {
  EXIT,
  type ExitStatus,
  exitStatusOf,
  print,
  printError,
  printForeign,
  printResult,
  reportFailure,
  wantsColour,
} from "./output.js";
import { DETACH, describeFleet, prepareStart } from "./prepare-start.js";
import { lateResult, type SupervisorProcess, spawnSupervisor, waitReady } from "./supervisor-process.js";

/** A start that fails within this time is reported as text, without showing the dashboard first. */
const QUICK_FAILURE_MS = 1_500;

export async function startInTerminal(target: string, options: StartOptions): Promise<ExitStatus> {
  const { fleet, runDirPath } = await prepareStart(target, options);
  const supervisor = spawnSupervisor(target, options, { runDirPath, fleet, stopWithClient: true });
  print(`paceline: ${describeFleet(fleet.config, process.cwd())}`);
  // Ctrl-C stops the fleet before the dashboard appears, too.
  const interrupted = () => void supervisor.stop().then(() => process.exit(EXIT.done));
  process.once("SIGINT", interrupted).once("SIGTERM", interrupted);
  const timeoutMs = milliseconds(options.timeout);
  const up = await supervisor.notice(timeoutMs);
  if (up === "late") return endFailedStart(supervisor, lateResult(options));
  if (typeof up === "object") {
    if (!options.orReload || up.code !== "running") return reportFailure(up, false);
    process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
    throw new PacelineError(up.code, up.message);
  }
  if (up === "ended") {
    printForeign(supervisor.output());
    return ((await supervisor.exited).code ?? EXIT.failed) as ExitStatus;
  }
  const socketPath = controlSocketIn(runDirPath);
  const failed = untilStartFailed(socketPath, timeoutMs, options);
  const early = await Promise.race([failed.settled, sleep(QUICK_FAILURE_MS, undefined, { ref: false })]);
  if (early !== undefined && !early.ok) return endFailedStart(supervisor, early);

  process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
  const leaving = await runDashboard({
    socketPath,
    ownership: "started",
    colour: wantsColour(),
    onStop: () => supervisor.child.kill("SIGINT"),
    ended: Promise.race([supervisor.exited, failed.result]),
  });
  return afterDashboard(leaving, supervisor, failed.known(), visibleLine(fleet.config.name));
}

interface StartWatch {
  /** The result of the start, once nothing serves or all instances are ready. */
  settled: Promise<OperationResult>;
  /** Resolves only if the start has failed. */
  result: Promise<OperationResult>;
  known(): OperationResult | undefined;
}

/** Watches a start. It fails at its deadline, or when instances fail to start and none of them serves. */
function untilStartFailed(socketPath: string, timeoutMs: number | undefined, options: StartOptions): StartWatch {
  let known: OperationResult | undefined;
  const settled = waitReady(socketPath, timeoutMs, options).then(async (ready): Promise<OperationResult> => {
    if (ready.ok) return ready;
    const status = await new ControlClient({ socketPath, timeoutMs: 5_000 }).status().catch(() => undefined);
    // A supervisor that has gone prints its own result; one that serves something keeps running.
    if (status === undefined || status.state === "stopping") return { ok: true, message: ready.message };
    if (ready.code !== "timeout" && status.pools.some((pool) => pool.ready > 0)) return { ok: true, message: "" };
    known = ready;
    return ready;
  });
  const result = new Promise<OperationResult>((resolve) => {
    void settled.then((ready) => {
      if (!ready.ok) resolve(ready);
    });
  });
  return { settled, result, known: () => known };
}

async function endFailedStart(supervisor: SupervisorProcess, result: OperationResult): Promise<ExitStatus> {
  await supervisor.stop();
  printForeign(supervisor.output());
  printResult(result, false);
  printError("nothing was left running");
  return exitStatusOf(result);
}

async function afterDashboard(
  leaving: Leaving,
  supervisor: SupervisorProcess,
  failure: OperationResult | undefined,
  name: string,
): Promise<ExitStatus> {
  switch (leaving.by) {
    case "key":
      return leaveRunning(supervisor, name);
    case "signal":
      await supervisor.stop();
      return reportEnd(supervisor, name);
    case "end":
      return failure === undefined ? reportEnd(supervisor, name) : endFailedStart(supervisor, failure);
    default:
      return leaving satisfies never;
  }
}

async function leaveRunning({ child }: SupervisorProcess, name: string): Promise<ExitStatus> {
  await new Promise<void>((resolve) => child.stdin?.end(`${DETACH}\n`, () => resolve()));
  child.unref();
  print(`paceline: ${name} keeps running (pid ${child.pid}); paceline top shows it, paceline stop ends it`);
  return EXIT.done;
}

/** Prints how the supervisor ended and returns the exit status. */
async function reportEnd(supervisor: SupervisorProcess, name: string): Promise<ExitStatus> {
  const { code, signal } = await supervisor.exited;
  printForeign(supervisor.output());
  if (signal !== null)
    printError(`the supervisor was killed by ${signal}; its processes finish their requests and exit`);
  else print(`paceline: ${name} ${code === 0 ? "has stopped" : `ended with exit status ${code}`}`);
  return (code ?? EXIT.failed) as ExitStatus;
}
