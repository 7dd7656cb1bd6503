/** Starts a fleet in a session of its own and waits until all of it is ready; of a start that fails nothing is left. */
import type { OperationResult } from "../control/api.js";
import { controlSocketIn } from "../run-dir/run-dir.js";
import type { StartOptions } from "./commands/start.js";
import { describeFleet } from "./describe-fleet.js";
import { EXIT, type ExitStatus, exitStatusOf } from "./exit-status.js";
import { milliseconds } from "./options.js";
import { print, printError, printForeign, printJson, printResult } from "./output.js";
import { prepareStart } from "./prepare-start.js";
import { lateResult, spawnSupervisor, waitReady } from "./supervisor-process.js";

export async function startDetached(target: string, options: StartOptions): Promise<ExitStatus> {
  // The supervisor loads it again; here it is checked where its problems can be seen.
  const { fleet, runDirPath } = await prepareStart(target, options);
  const supervisor = spawnSupervisor(target, options, { runDirPath, stopWithClient: false });
  const { child } = supervisor;
  const timeoutMs = milliseconds(options.timeout);
  const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  const left = () => (deadline === undefined ? undefined : Math.max(1, deadline - performance.now()));

  const interrupted = () => void supervisor.stop().then(() => process.exit(130));
  process.once("SIGINT", interrupted);
  process.once("SIGTERM", interrupted);

  const up = await supervisor.notice(left());
  if (up === "ended") {
    const { code } = await supervisor.exited;
    printForeign(supervisor.output());
    return (code ?? EXIT.failed) as ExitStatus;
  }
  const result: OperationResult =
    up === "late" ? lateResult(options) : await waitReady(controlSocketIn(runDirPath), left(), options);
  if (!result.ok) {
    await supervisor.stop();
    printForeign(supervisor.output());
    const status = printResult(result, options.json === true);
    if (!options.json) printError("nothing was left running");
    return status;
  }
  child.unref();
  if (options.json) printJson({ ...result, pid: child.pid, runDir: runDirPath });
  else print(`paceline: ${describeFleet(fleet.config, process.cwd())}: all ready (pid ${child.pid})`);
  return exitStatusOf(result);
}
