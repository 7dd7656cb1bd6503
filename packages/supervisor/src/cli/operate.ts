/** Runs one operation on the selected fleet and prints its progress and result. */
import { ControlClient } from "../control/client.js";
import { PacelineError } from "../errors.js";
import { findRunningFleet } from "./find-fleet.js";
import { type FleetOptions, type JsonOption, milliseconds, type TimeoutOption } from "./options.js";
import { type ExitStatus, print, printResult } from "./output.js";

export type OperateOptions = FleetOptions & JsonOption & TimeoutOption;

export async function operate(path: string, body: object, options: OperateOptions): Promise<ExitStatus> {
  const json = options.json === true;
  const { controlSocket, owner } = await findRunningFleet(options);
  if (owner !== undefined && "environment" in body) {
    const message = `the fleet is ${owner}'s: --update-env would hand over this shell's environment; run it as that user`;
    throw new PacelineError("denied", message);
  }
  const client = new ControlClient({
    socketPath: controlSocket,
    timeoutMs: milliseconds(options.timeout),
  });
  const result = await client.operate("POST", path, body, json ? undefined : print);
  return printResult(result, json);
}
