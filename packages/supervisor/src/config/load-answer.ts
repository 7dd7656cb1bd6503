/** What passes between a command and the process that loads its configuration. */
import type { FleetConfig } from "../core/model.js";
import type { Problem } from "./problems.js";

/** What the child writes to fd 3, as one line of JSON. */
export type LoadAnswer = { config: FleetConfig } | { problems: Problem[] };
