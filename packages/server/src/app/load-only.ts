/** Loads what a pool runs, and ends: how `paceline check` finds out whether that can be done. */
import { ServerError } from "../shared/errors.js";
import { loadWorkload, type Workload } from "./workload.js";

// No `await` at the top level: on Bun a module that waits keeps its process, even when nothing can happen any more.
loadWorkload(JSON.parse(process.argv[2] ?? "{}") as Workload, true, true).then(
  // The app may have left timers or sockets behind.
  () => process.exit(0),
  (error: unknown) => {
    // Its own stack says where; the last line says what.
    if (error instanceof ServerError && error.cause !== undefined) console.error(error.cause);
    console.error(error instanceof ServerError ? error.message : error);
    process.exit(1);
  },
);
