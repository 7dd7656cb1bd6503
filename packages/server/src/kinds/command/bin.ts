#!/usr/bin/env node
/** The program of a shim: the parent of a command that knows nothing of Paceline. */
import { ChannelError, survivesFullDisk, takeChildEnvironment } from "@paceline/wire";
import { Shim } from "./shim.js";

survivesFullDisk();
try {
  const identity = takeChildEnvironment();
  if (identity === undefined) throw new ChannelError("bad-environment", "a shim is started by a supervisor alone");
  new Shim(identity).start();
} catch (error) {
  console.error(`paceline: ${(error as Error).message}`);
  process.exit(2);
}
