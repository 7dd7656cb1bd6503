/** Runs one operation on the selected fleet and prints its progress and result. */
import type { FleetChoice, OperationDone, OperationOptions } from "../fleet/api.js";
import { connectFleet, type FleetClient } from "../fleet/fleet.js";
import { type JsonOption, milliseconds, type TimeoutOption } from "./options.js";
import { EXIT, type ExitStatus, print, printJson } from "./output.js";

export type OperateOptions = FleetChoice & JsonOption & TimeoutOption;

/** @param run throws PacelineError if the operation fails */
export async function operate(
  { json = false, timeout, ...choice }: OperateOptions,
  run: (fleet: FleetClient, options: OperationOptions) => Promise<OperationDone>,
): Promise<ExitStatus> {
  const fleet = await connectFleet(choice);
  const done = await run(fleet, { timeoutMs: milliseconds(timeout), ...(json ? {} : { onProgress: print }) });
  if (json) printJson(done);
  else print(done.message);
  return EXIT.done;
}
