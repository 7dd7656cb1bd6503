/**
 * The short-lived process that loads a configuration, checks it and writes what it means as JSON to fd 3, so that a
 * config module's own output cannot be mistaken for it. A process of its own, since a module cannot be imported afresh,
 * user code may hang, and what checks a configuration takes more memory than the rest of the supervisor.
 */
import { writeSync } from "node:fs";
import type { FleetConfig } from "../core/model.js";
import { composeFleet, type LoadTask } from "./compose.js";
import { ConfigError, type Problem } from "./problems.js";

const RESULT_FD = 3;

async function load(task: LoadTask): Promise<LoadResult> {
  try {
    return { config: await composeFleet(task) };
  } catch (error) {
    if (error instanceof ConfigError) return { problems: error.problems };
    throw error;
  }
}

function writeAll(bytes: Buffer): void {
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(RESULT_FD, bytes, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      // The pipe is full until its reader has read.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

const task = process.argv[2];
if (task === undefined) throw new Error("load-child needs its task");
const response = Buffer.from(`${JSON.stringify(await load(JSON.parse(task) as LoadTask))}\n`);
try {
  writeAll(response);
} catch {
  // Whoever asked is gone.
  process.exit(1);
}
// User code may have left timers or sockets behind.
process.exit(0);

/** What the child writes to fd 3, as one line of JSON. */
export type LoadResult = { config: FleetConfig } | { problems: Problem[] };
