/** Loads a pool's app and exits: `paceline check` runs this. Arguments: the workload as JSON, and the time until it is killed. */
import { lateAfterMs } from "@paceline/wire";
import { ServerError } from "../shared/errors.js";
import { HOOKS_ALONE } from "./load.js";
import { loadWorkload, type Workload, waitText } from "./workload.js";

const [, , workload = "{}", timeoutMs] = process.argv;
let awaited = "";
let isLate = false;

const reportWait = () =>
  void waitText(awaited).then(
    // `paceline check` looks for this line.
    (text) => console.error(`still loading: ${text}`),
    () => {},
  );
if (timeoutMs !== undefined)
  setTimeout(
    () => {
      isLate = true;
      if (awaited !== "") reportWait();
    },
    lateAfterMs(Number(timeoutMs)),
  ).unref();

const hooks = {
  ...HOOKS_ALONE,
  onWait: (next: string) => {
    awaited = next;
    if (isLate) reportWait();
  },
};

// No top-level `await`: on Bun, a waiting module keeps its process alive even if nothing can happen.
loadWorkload(JSON.parse(workload) as Workload, true, true, hooks).then(
  // The app may have left timers or sockets open.
  () => process.exit(0),
  (error: unknown) => {
    // The stack shows the place; the last line says what is wrong.
    if (error instanceof ServerError && error.cause !== undefined) console.error(error.cause);
    console.error(error instanceof ServerError ? error.message : error);
    process.exit(1);
  },
);
