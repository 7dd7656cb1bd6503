/**
 * `start` in the foreground for a supervisor that a balancer has started: prints its log, passes signals on, and exits with it and its
 * status.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { LogLine } from "../control/api.js";
import { PacelineError } from "../errors.js";
import { StartedFleet } from "../fleet/create-fleet.js";
import { describeFleet, type PreparedStart } from "../fleet/prepare-start.js";
import type { SupervisorProcess } from "../fleet/supervisor-process.js";
import { type LogPrinter, openLogPrinter } from "./line-writer.js";
import { milliseconds, type StartOptions } from "./options.js";
import { EXIT, type ExitStatus, printError, printForeign } from "./output.js";

/** Signals that the supervisor handles like one in the foreground. */
const PASSED_ON = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR1"] as const;
/** How long the last lines of the log may take after the supervisor has ended, in milliseconds. */
const LAST_LINES_MS = 1_000;
/** The pause before the log of the next supervisor is read, in milliseconds. */
const RETRY_MS = 250;

export async function followFleet(
  prepared: PreparedStart,
  supervisor: SupervisorProcess,
  options: StartOptions,
): Promise<ExitStatus> {
  const fleet = new StartedFleet(prepared, supervisor, false);
  const timeoutMs = milliseconds(options.timeout);
  const endPassing = passSignalsOn((signal) => supervisor.kill(signal));
  const printer = openLogPrinter(options.logFormat ?? "text");
  try {
    await fleet.untilUp(timeoutMs);
    const text = describeFleet(await fleet.presentConfig(), prepared.request.cwd);
    printer.print([{ ...FROM_HERE, at: Date.now(), text }]);
    const log = printLog(fleet, printer);
    await failIfNothingServes(fleet, timeoutMs);
    const { code, signal } = await fleet.ended;
    // The timer keeps this process running. If the supervisor was killed, nothing else would keep it running, and it would exit with status
    // 0.
    const late = new AbortController();
    await Promise.race([log, sleep(LAST_LINES_MS, undefined, { signal: late.signal }).catch(() => {})]);
    late.abort();
    printForeign(supervisor.output());
    if (signal !== null)
      printError(`the supervisor was killed by ${signal}; its processes keep serving, and start continues with them`);
    return (code ?? EXIT.failed) as ExitStatus;
  } finally {
    endPassing();
    await printer.close();
  }
}

/** Returns a function that stops passing signals on. */
export function passSignalsOn(kill: (signal: NodeJS.Signals) => void): () => void {
  const handlers = PASSED_ON.map((signal) => [signal, () => kill(signal)] as const);
  for (const [signal, handler] of handlers) process.on(signal, handler);
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
}

const FROM_HERE = { sequence: 0, name: "paceline" };

/** Prints the log until the fleet stops, including that of a supervisor that takes over. */
async function printLog(fleet: StartedFleet, printer: LogPrinter): Promise<void> {
  let isOver = false;
  void fleet.ended.then(() => {
    isOver = true;
  });
  while (!isOver) {
    await fleet.read<LogLine>("logs", {}, (lines) => printer.print(lines)).catch(() => {});
    await sleep(RETRY_MS, undefined, { ref: false });
  }
}

/**
 * A fleet that serves something keeps running.
 * @throws StartError after the fleet was stopped
 */
async function failIfNothingServes(fleet: StartedFleet, timeoutMs: number | undefined): Promise<void> {
  const outcome = await Promise.race([fleet.ended, fleet.waitReady(timeoutMs).catch((error: unknown) => error)]);
  if (!(outcome instanceof PacelineError)) return;
  if (fleet.isTakenOver()) return printError(outcome.message);
  const status = await fleet.status({ timeoutMs: LAST_LINES_MS }).catch(() => undefined);
  if (status === undefined || status.state === "stopping") return;
  if (outcome.code !== "timeout" && status.pools.some((pool) => pool.ready > 0)) return;
  throw await fleet.undone(outcome);
}
