/** What passes between a command and the process that loads its configuration. */
import type { FleetConfig } from "../core/model.js";
import type { Problem } from "./problems.js";

/** What the child writes to fd 3. */
export type LoadAnswer = { config: FleetConfig } | { problems: Problem[] };

/** The child's exit status when that could not be written, as `EX_IOERR` of sysexits.h. */
export const ANSWER_NOT_WRITTEN = 74;
