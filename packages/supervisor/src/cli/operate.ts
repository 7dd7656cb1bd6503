/** Runs one operation on the selected fleet and prints its progress and result. */
import { PacelineError } from "../errors.js";
import type { FleetChoice, OperationDone, OperationOptions } from "../fleet/api.js";
import { connectFleet, type FleetClient } from "../fleet/fleet.js";
import { listFleets } from "../fleet/known-fleets.js";
import { lockHolder } from "../run-dir/lock.js";
import { type JsonOption, milliseconds, type TimeoutOption, unlessAll } from "./options.js";
import { EXIT, type ExitStatus, print, printError, printJson } from "./output.js";

export type OperateOptions = FleetChoice & JsonOption & TimeoutOption;

/**
 * @param given the pool or instance that the user names; `run` gets undefined for `all` and for the name of the fleet
 * @param run throws PacelineError if the operation fails
 * @param what the operation for messages, for example `the reload`
 */
export async function operate(
  { json = false, timeout, ...choice }: OperateOptions,
  given: string | undefined,
  run: (fleet: FleetClient, options: OperationOptions, name: string | undefined) => Promise<OperationDone>,
  what: string,
): Promise<ExitStatus> {
  const named = unlessAll(given);
  const fleet = await elsewhere(connectFleet(choice), choice, named);
  const name = await fleet.unlessOwn(named);
  try {
    const done = await interruptible(fleet, what, () =>
      run(fleet, { timeoutMs: milliseconds(timeout), ...(json ? {} : { onProgress: print }) }, name),
    );
    if (json) printJson(done);
    else print(done.message);
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof PacelineError) || error.code !== "timeout") throw error;
    // Without a supervisor, the error of the stop itself explains how to continue.
    if (lockHolder(fleet.runDir) === undefined) throw error;
    throw new PacelineError("timeout", `${error.message}; ${continues(what)}`, { cause: error });
  }
}

/** Runs an operation. Ctrl-C ends the command and prints what happens to the operation. */
export async function interruptible<T>(
  { runDir, pid }: Pick<FleetClient, "runDir" | "pid">,
  what: string,
  run: () => Promise<T>,
): Promise<T> {
  const interrupt = () => {
    printError(`interrupted; ${afterwards(what, { asked: pid, present: lockHolder(runDir)?.pid, own: process.pid })}`);
    process.exit(EXIT.interrupted);
  };
  process.once("SIGINT", interrupt);
  try {
    return await run();
  } finally {
    process.off("SIGINT", interrupt);
  }
}

/**
 * Returns what happens to an operation whose command ends.
 * @param asked the pid of the supervisor that was asked
 * @param present the pid of the process that holds the fleet's lock now
 * @param own the pid of this command, which holds the lock while it stops the processes of a killed supervisor
 */
export function afterwards(
  what: string,
  { asked, present, own }: { asked: number | undefined; present: number | undefined; own: number },
): string {
  if (present === undefined || present === own)
    return `the supervisor was killed, and ${what} does not continue: paceline stop ends what is left of the fleet`;
  if (present === asked) return continues(what);
  return `another supervisor (pid ${present}) runs the fleet now: paceline status shows whether ${what} continues`;
}

function continues(what: string): string {
  return `${what} continues in the supervisor: paceline status shows it`;
}

/** Waits for `search`. If no fleet is found here, the error lists the running fleets with the name `name`. */
export async function elsewhere<T>(search: Promise<T>, options: FleetChoice, name: string | undefined): Promise<T> {
  try {
    return await search;
  } catch (error) {
    const isChosen = options.config !== undefined || options.runDir !== undefined;
    if (isChosen || name === undefined || !(error instanceof PacelineError) || error.code !== "not-running")
      throw error;
    const { fleets } = await listFleets(process.env, []);
    const sources = fleets.flatMap(({ record }) => (record?.name === name ? [record.source] : []));
    if (sources.length === 0) throw error;
    const choices = sources.length === 1 ? `-c ${name}` : sources.map((source) => `-c ${source}`).join(" or ");
    throw new PacelineError("not-running", `${error.message}; ${name} runs from ${sources.join(", ")}: add ${choices}`);
  }
}
