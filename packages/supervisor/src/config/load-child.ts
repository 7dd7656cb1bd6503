/**
 * The short-lived process that loads a configuration, checks it and writes what it means as JSON to fd 3, so that a
 * config module's own output cannot be mistaken for it. A process of its own, since a module cannot be imported afresh,
 * user code may hang, and what checks a configuration takes more memory than the rest of the supervisor.
 */
import { writeSync } from "node:fs";
import { composeFleet, type LoadTask } from "./compose.js";
import { ANSWER_NOT_WRITTEN, type LoadAnswer } from "./load-answer.js";
import { ConfigError } from "./problems.js";

const RESULT_FD = 3;

async function load(task: LoadTask): Promise<LoadAnswer> {
  try {
    return { config: await composeFleet(task) };
  } catch (error) {
    if (error instanceof ConfigError) return { problems: error.problems };
    throw error;
  }
}

function writeAll(bytes: Buffer): void {
  for (let written = 0; written < bytes.length; ) written += writeSync(RESULT_FD, bytes, written);
}

const task = process.argv[2];
if (task === undefined) throw new Error("load-child needs its task");
const answer = Buffer.from(JSON.stringify(await load(JSON.parse(task) as LoadTask)));
try {
  writeAll(answer);
} catch {
  process.exit(ANSWER_NOT_WRITTEN);
}
// User code may have left timers or sockets behind.
process.exit(0);
