/** Loads a pool's app and exits: `paceline check` runs this. */
import { ServerError } from "../shared/errors.js";
import { loadWorkload, type Workload } from "./workload.js";

// No top-level `await`: on Bun a waiting module keeps its process alive, even if nothing can happen.
loadWorkload(JSON.parse(process.argv[2] ?? "{}") as Workload, true, true).then(
  // The app may have left timers or sockets open.
  () => process.exit(0),
  (error: unknown) => {
    // Its stack shows the place; the last line says what is wrong.
    if (error instanceof ServerError && error.cause !== undefined) console.error(error.cause);
    console.error(error instanceof ServerError ? error.message : error);
    process.exit(1);
  },
);
