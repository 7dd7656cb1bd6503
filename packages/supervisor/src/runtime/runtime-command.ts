/** The one place that builds the command line of a Bun or a Node that we start (bin/paceline has the same in sh), and says why it could not be started. */

import { statSync } from "node:fs";
import type { RuntimeName } from "../core/model.js";
import { PacelineError } from "../errors.js";

export interface Program {
  /** The absolute path of a program of ours. */
  entry: string;
  /** It loads modules of the operator's, whose tsconfig.json then counts; else none does. */
  hasUserCode: boolean;
  /** A bunfig.toml that the operator has named; else none is read. */
  bunfig?: string | undefined;
  /** For an instance; Bun learns it from its command line alone. */
  maxHeadBytes?: number | undefined;
}

/** Absolute paths. */
export interface RuntimePrograms {
  bun?: string | undefined;
  node?: string | undefined;
}

/** @throws PacelineError `ENORUNTIME` */
export function runtimeCommand(
  runtimes: RuntimePrograms,
  runtime: RuntimeName,
  program: Program,
): { command: string; args: string[] } {
  if (runtime === "node") return { command: runtimes.node ?? "node", args: [...nodeFlags(program), program.entry] };
  if (runtimes.bun === undefined) {
    throw new PacelineError("ENORUNTIME", 'Bun is not installed here; set runtime: "node"');
  }
  return { command: runtimes.bun, args: [...bunFlags(program), program.entry] };
}

/** The same for another process on the runtime of this one. */
export function ownRuntimeCommand(program: Program): { command: string; args: string[] } {
  const { execPath: own } = process;
  return process.versions.bun === undefined
    ? runtimeCommand({ node: own }, "node", program)
    : runtimeCommand({ bun: own }, "bun", program);
}

/**
 * What Bun does for a developer at work is turned off: it reads .env files and bunfig.toml of the working directory and of
 * the home, installs packages that are missing, and follows the `paths` of any tsconfig.json above an importing file.
 */
function bunFlags({ hasUserCode, bunfig, maxHeadBytes }: Program): string[] {
  return [
    // It collects garbage sooner: many processes share the machine's memory.
    "--smol",
    "--no-env-file",
    "--no-install",
    `--config=${bunfig ?? "/dev/null"}`,
    ...(hasUserCode ? [] : ["--tsconfig-override=/dev/null"]),
    ...(maxHeadBytes === undefined ? [] : [`--max-http-header-size=${maxHeadBytes}`]),
  ];
}

/** What waits to be collected is held small, as Bun's --smol does it; an app may need it otherwise. */
function nodeFlags({ hasUserCode }: Program): string[] {
  return hasUserCode ? [] : ["--max-semi-space-size=1"];
}

/** Variables by which a caller, or the caller's editor, changes every Bun below: options, and code to run first. A config may set them in `env`. */
const OF_THE_CALLER_ALONE = [
  "BUN_OPTIONS",
  "BUN_INSPECT",
  "BUN_INSPECT_PRELOAD",
  "BUN_INSPECT_CONNECT_TO",
  "BUN_INSPECT_NOTIFY",
];

/** The environment of the caller, as children get it. */
export function inheritable(environment: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !OF_THE_CALLER_ALONE.includes(name)));
}

export function spawnProblem(error: Error, command: string, cwd: string): string {
  if (!statSync(cwd, { throwIfNoEntry: false })?.isDirectory()) return `its working directory is gone: ${cwd}`;
  const isGone = command.startsWith("/") && statSync(command, { throwIfNoEntry: false }) === undefined;
  return isGone ? `its program is gone: ${command}` : error.message;
}
