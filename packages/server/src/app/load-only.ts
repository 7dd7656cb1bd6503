/** Loads what a pool runs, and ends: how `paceline check` finds out whether that can be done. */
import { ServerError } from "../shared/errors.js";
import { loadWorkload, type Workload } from "./workload.js";

try {
  await loadWorkload(JSON.parse(process.argv[2] ?? "{}") as Workload, true, true);
  // The app may have left timers or sockets behind.
  process.exit(0);
} catch (error) {
  // Its own stack says where; the last line says what.
  if (error instanceof ServerError && error.cause !== undefined) console.error(error.cause);
  console.error(error instanceof ServerError ? error.message : error);
  process.exit(1);
}
