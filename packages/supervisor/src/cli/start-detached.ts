/** Starts a fleet in its own session and waits until it is ready. If the start fails, stops everything it started. */
import type { OperationResult } from "../control/api.js";
import { PacelineError } from "../errors.js";
import { controlSocketIn } from "../run-dir/run-dir.js";
import { EXIT, type ExitStatus, exitStatusOf } from "./exit-status.js";
import { milliseconds, type StartOptions } from "./options.js";
import { print, printError, printForeign, printJson, printResult, reportFailure } from "./output.js";
import { describeFleet, prepareStart } from "./prepare-start.js";
import { lateResult, spawnSupervisor, waitReady } from "./supervisor-process.js";

/** The exit status that shells use for SIGINT. */
const INTERRUPTED = 130;

export async function startDetached(target: string, options: StartOptions): Promise<ExitStatus> {
  const { fleet, runDirPath } = await prepareStart(target, options);
  const supervisor = spawnSupervisor(target, options, { runDirPath, fleet, stopWithClient: false });
  const { child } = supervisor;
  const timeoutMs = milliseconds(options.timeout);
  const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  const left = () => (deadline === undefined ? undefined : Math.max(1, deadline - performance.now()));

  const json = options.json === true;
  const interrupted = async () => {
    await supervisor.stop();
    if (json) printJson({ ok: false, code: "interrupted", message: "interrupted; nothing was left running" });
    process.exit(INTERRUPTED);
  };
  process.once("SIGINT", interrupted);
  process.once("SIGTERM", interrupted);

  const up = await supervisor.notice(left());
  if (typeof up === "object") {
    await supervisor.exited;
    if (options.orReload && up.code === "running") {
      process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
      throw new PacelineError(up.code, up.message);
    }
    return reportFailure(up, json);
  }
  if (up === "ended") {
    const { code, signal } = await supervisor.exited;
    if (!json) printForeign(supervisor.output());
    const how = signal === null ? `ended with exit status ${code}` : `was killed by ${signal}`;
    const lastLines = supervisor.output().trimEnd().split("\n").slice(-20);
    if (json) printJson({ ok: false, code: "failed", message: `the supervisor ${how}`, lastLines });
    return (code ?? EXIT.failed) as ExitStatus;
  }
  const result: OperationResult =
    up === "late" ? lateResult(options) : await waitReady(controlSocketIn(runDirPath), left(), options);
  if (!result.ok) {
    await supervisor.stop();
    if (!json) printForeign(supervisor.output());
    const status = printResult(result, json);
    if (!json) printError("nothing was left running");
    return status;
  }
  child.unref();
  if (json) printJson({ ...result, pid: child.pid, runDir: runDirPath });
  else print(`paceline: ${describeFleet(fleet.config, process.cwd())}: all ready (pid ${child.pid})`);
  return exitStatusOf(result);
}
