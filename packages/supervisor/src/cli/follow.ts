/** Reads the log or the events of the fleet that is meant and prints them as they come. */
import { ControlClient } from "../control/client.js";
import { EXIT, type ExitStatus } from "./exit-status.js";
import { findControlSocket } from "./find-fleet.js";
import { type FleetOptions, type JsonOption, milliseconds, type TimeoutOption } from "./options.js";
import { print } from "./output.js";

export type FollowOptions = FleetOptions & JsonOption & TimeoutOption & { follow?: boolean; lines?: number };

/** Prints each line of `path` with `format`, or as it came with --json; a deadline ends following, as was asked. */
export async function follow<Line extends object>(
  path: string,
  name: string | undefined,
  options: FollowOptions,
  format: (line: Line) => string,
): Promise<ExitStatus> {
  const query = new URLSearchParams();
  if (name !== undefined) query.set("name", name);
  if (options.lines !== undefined) query.set("lines", String(options.lines));
  if (options.follow) query.set("follow", "1");
  const client = new ControlClient({
    socketPath: await findControlSocket(options),
    timeoutMs: milliseconds(options.timeout ?? (options.follow ? undefined : 10)),
  });
  // Nobody reads any more: nothing is left to do.
  process.stdout.on("error", () => process.exit(EXIT.done));
  await client.read(`${path}?${query}`, (line) => print(options.json ? JSON.stringify(line) : format(line as Line)));
  return EXIT.done;
}
