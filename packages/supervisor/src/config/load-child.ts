/**
 * The short-lived process that loads and validates a configuration and writes the result as JSON to fd 3. Stdout belongs to the config
 * module. It is a separate process because modules cannot be imported again, user code may hang, and validation takes more memory than the
 * rest of the supervisor.
 */
import { writeSync } from "node:fs";
import type { FleetConfig, PoolConfig } from "../core/model.js";
import { composeFleet, type LoadTask } from "./compose.js";
import { ConfigError, type Problem } from "./problems.js";
import { readForeignConfig } from "./read-file.js";

const RESULT_FD = 3;

async function load(task: LoadTask | ExportTask): Promise<LoadResult> {
  try {
    return "exportOf" in task
      ? { value: await readForeignConfig(task.exportOf) }
      : { config: await composeFleet(task) };
  } catch (error) {
    if (error instanceof ConfigError) return { problems: error.problems, sound: error.sound };
    throw error;
  }
}

function writeAll(bytes: Buffer): void {
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(RESULT_FD, bytes, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      // The pipe is full, so this waits for the reader.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/** How often it checks whether its parent is still running, in milliseconds. */
const LOOK_EVERY_MS = 1000;
const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) process.exit(1);
}, LOOK_EVERY_MS).unref();

const task = process.argv[2];
if (task === undefined) throw new Error("load-child needs its task");
// Without a top-level `await`, which bytecode cannot have.
void load(JSON.parse(task) as LoadTask | ExportTask).then((result) => {
  try {
    writeAll(Buffer.from(`${JSON.stringify(result)}\n`));
  } catch {
    // The reader is gone.
    process.exit(1);
  }
  // User code may have left timers or sockets open.
  process.exit(0);
});

/** The request for the export of another program's module, unchecked. */
export interface ExportTask {
  exportOf: string;
}

/** The line of JSON that the child writes to fd 3. */
export type LoadResult =
  | { config: FleetConfig }
  | { value: unknown }
  | { problems: Problem[]; sound: readonly PoolConfig[] };
