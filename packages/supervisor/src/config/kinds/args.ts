/** The key of kinds whose program reads a command line. */
import { texts } from "../fields.js";

export const args = texts(
  "Arguments for an `app` or a `fapws` script. `process.argv` is the runtime, the app's path, and these; `sys.argv` is the script's path and these. Default: none.",
);
