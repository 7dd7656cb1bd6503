/** Starts the next supervisor of a fleet, which inherits the listening sockets: only a process that holds them can pass them on. */
import type { SpawnOptions } from "node:child_process";
import { dirname } from "node:path";
import { CHANNEL_ENVIRONMENT, fs, LISTEN_FDS, type SupervisorProgram } from "@paceline/wire";

const OTHERS = 0o077;
/** The one program that is started, of this version of the package or of another. */
const ENTRY = "/programs/cli/main.js";
/** The variables that say which process this is. */
const OF_THIS_PROCESS = new Set<string>([
  ...Object.values(CHANNEL_ENVIRONMENT),
  ...["PACELINE_POOL", "PACELINE_INSTANCE", "PACELINE_INDEX", "PACELINE_GENERATION"],
]);

/**
 * Starts it in a session of its own, and returns its pid.
 * @param listening the descriptors of the listening sockets
 * @param folder the run directory's folder of sockets: a file with an environment is read only from there
 */
export async function spawnSupervisor(
  program: SupervisorProgram,
  listening: readonly number[],
  folder: string,
): Promise<number> {
  // Of the runtime, so it is there even if the package was replaced meanwhile.
  const { spawn } = await import("node:child_process");
  if (!program.args.some((arg) => arg.endsWith(ENTRY))) throw new Error(`${program.args[0]} is not a supervisor`);
  const { environmentFile } = program;
  const env = environmentFile === undefined ? ownEnvironment() : takeEnvironment(environmentFile, folder);
  const place = program.args.indexOf(LISTEN_FDS);
  const args = program.args.map((arg, at) => (at === place ? String(listening.length) : arg));
  const output = openOutput(program.output);
  const options: SpawnOptions = {
    ...{ cwd: program.cwd, argv0: program.title, env, detached: true },
    stdio: ["ignore", output, output, ...listening],
  };
  try {
    const child = spawn(program.command, args, options);
    return await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.unref();
      if (child.pid !== undefined) resolve(child.pid);
    });
  } finally {
    fs().closeSync(output);
  }
}

/** Opens the file for appending. */
export function openOutput(path: string): number {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = fs().constants;
  return fs().openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
}

/** Returns the environment without the variables that say which process this is. */
export function ownEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !OF_THIS_PROCESS.has(name)));
}

/** Reads the file and removes it. @throws Error if others could have written or read it */
function takeEnvironment(path: string, folder: string): NodeJS.ProcessEnv {
  if (dirname(path) !== folder) throw new Error(`${path} is not in the run directory`);
  const { closeSync, constants, fstatSync, openSync, readFileSync, unlinkSync } = fs();
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { mode, uid } = fstatSync(fd);
    if ((mode & OTHERS) !== 0 || uid !== process.geteuid?.()) throw new Error(`${path} is open to others`);
    return JSON.parse(readFileSync(fd, "utf8")) as NodeJS.ProcessEnv;
  } finally {
    closeSync(fd);
    unlinkSync(path);
  }
}
