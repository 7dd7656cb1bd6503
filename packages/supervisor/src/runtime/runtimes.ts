/**
 * Finds the runtimes. Builds the command line of every Bun and Node process that we start (bin/paceline does the same in sh), and the
 * messages for failed starts.
 */
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, dirname, join } from "node:path";
import type { PoolConfig, RuntimeName } from "../core/model.js";
import { PacelineError } from "../errors.js";
import { builtFile } from "../package.js";

/** The paths of the available runtimes. */
export interface Runtimes {
  bun?: string;
  node?: string;
  /** The default runtime. */
  preferred: RuntimeName;
}

/**
 * Finds Bun (PACELINE_BUN or the package next to ours), node (PATH), and the runtime of this process. Prefers Bun, unless PACELINE_RUNTIME
 * is `node`.
 */
export function findRuntimes(environment: NodeJS.ProcessEnv = process.env): Runtimes {
  const onBun = process.versions.bun !== undefined;
  const bun = environment.PACELINE_BUN ?? (onBun ? process.execPath : packagedBun());
  const node = onBun ? inPath("node", environment.PATH ?? "") : process.execPath;
  const preferred = bun === undefined || environment.PACELINE_RUNTIME === "node" ? "node" : "bun";
  return { ...(bun === undefined ? {} : { bun }), ...(node === undefined ? {} : { node }), preferred };
}

function packagedBun(): string | undefined {
  const cpu = { x64: "x64", arm64: "aarch64" }[process.arch as string];
  const glibc = { x64: "/lib64/ld-linux-x86-64.so.2", arm64: "/lib/ld-linux-aarch64.so.1" }[process.arch as string];
  const musl = process.platform === "linux" && glibc !== undefined && !existsSync(glibc) ? "-musl" : "";
  try {
    const manifest = `@oven/bun-${process.platform}-${cpu}${musl}/package.json`;
    const program = join(dirname(createRequire(import.meta.url).resolve(manifest)), "bin", "bun");
    return isProgram(program) ? program : undefined;
  } catch {
    return undefined; // The package is optional, and does not exist for every platform.
  }
}

function inPath(name: string, path: string): string | undefined {
  const folders = path.split(delimiter).filter((folder) => folder !== "");
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // Missing or not executable.
  }
}

export interface Program {
  /** The absolute path of our program. */
  entry: string;
  /** Whether the program loads the operator's modules, to which the operator's tsconfig.json applies. */
  hasUserCode: boolean;
  /** The bunfig.toml that the operator has named. No other bunfig.toml is read. */
  bunfig?: string | undefined;
  /** Whether its stack can be read while it runs. */
  isInspectable?: boolean | undefined;
  /** The limit for the head of a request in bytes, for an instance; Bun accepts it only on the command line. */
  maxHeadBytes?: number | undefined;
}

/** The absolute paths of the runtimes. */
export interface RuntimePrograms {
  bun?: string | undefined;
  node?: string | undefined;
}

const MAX_TITLE = 80;

/** Returns what the process list shows for one of our processes: `paceline web.3 (shop)`. */
export function processTitle(name: string, fleet: string): string {
  return `paceline ${name} (${fleet})`.replace(/[^\x20-\x7e]+/g, "?").slice(0, MAX_TITLE);
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

/** Returns the command for another process on the runtime of this process. */
export function ownRuntimeCommand(program: Program): { command: string; args: string[] } {
  const { execPath: own } = process;
  return process.versions.bun === undefined
    ? runtimeCommand({ node: own }, "node", program)
    : runtimeCommand({ bun: own }, "bun", program);
}

/**
 * Turns off Bun's development features: reading .env files and bunfig.toml from the working directory and home, installing missing
 * packages, and applying the `paths` of any tsconfig.json above an importing file.
 */
function bunFlags({ hasUserCode, bunfig, maxHeadBytes }: Program): string[] {
  return [
    // Collects garbage earlier, because many processes share the machine's memory.
    "--smol",
    "--no-env-file",
    "--no-install",
    `--config=${bunfig ?? "/dev/null"}`,
    ...(hasUserCode ? [] : ["--tsconfig-override=/dev/null"]),
    ...(maxHeadBytes === undefined ? [] : [`--max-http-header-size=${maxHeadBytes}`]),
  ];
}

/** Limits the young generation of the heap, like Bun's --smol. An app may need Node's default, so its limit stays unchanged. */
function nodeFlags({ hasUserCode, isInspectable = false }: Program): string[] {
  return [...(hasUserCode ? [] : ["--max-semi-space-size=1"]), ...(isInspectable ? INSPECTOR_FLAGS : [])];
}

/**
 * SIGUSR1 makes Node open its inspector. With these flags the inspector listens on a free loopback port. A connection needs a secret path,
 * which appears only in the output of the process, where other users cannot read it.
 */
export const INSPECTOR_FLAGS = ["--inspect-port=127.0.0.1:0", "--inspect-publish-uid=stderr"];

/**
 * Whether this process runs from the standalone executable (docs/installation.md). The executable sets BUN_BE_BUN at its start, so that
 * its child processes, which run the same file, act as Bun.
 */
export function isExecutable(): boolean {
  return process.env.BUN_BE_BUN !== undefined;
}

/** In the executable: a folder with one file for each public module, because Bun does not read the `exports` of packages in NODE_PATH. */
const MODULES = builtFile("../../../modules");

/**
 * Returns `environment` with the variables that a process of `runtimeCommand` needs in the executable: to act as Bun, and to find
 * `paceline`.
 */
export function forRuntime(
  environment: Record<string, string>,
  { hasUserCode }: Pick<Program, "hasUserCode">,
): Record<string, string> {
  if (!isExecutable()) return environment;
  const { NODE_PATH = "" } = environment;
  const modules = NODE_PATH === "" ? MODULES : NODE_PATH + delimiter + MODULES;
  return { ...environment, BUN_BE_BUN: "1", ...(hasUserCode && { NODE_PATH: modules }) };
}

/** Variables with which a caller or an editor changes every Bun process below it: options and preloads. A config may set them. */
const OF_THE_CALLER_ALONE = [
  "BUN_OPTIONS",
  "BUN_INSPECT",
  "BUN_INSPECT_PRELOAD",
  "BUN_INSPECT_CONNECT_TO",
  "BUN_INSPECT_NOTIFY",
  // Set only for our own child processes on Bun.
  "BUN_BE_BUN",
];

/** Returns the part of the caller's environment that child processes inherit. */
export function inheritable(environment: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !OF_THE_CALLER_ALONE.includes(name)));
}

/** Returns the variables that a pool's configuration sets, including secrets: they must only be given to processes of the pool. */
export function environmentOf({ env, secrets }: Pick<PoolConfig, "env" | "secrets">): Record<string, string> {
  const values = Object.entries(secrets).map(([name, { value }]) => [name, value] as const);
  return { ...env, ...Object.fromEntries(values) };
}

export function spawnProblem(error: Error, command: string, cwd: string): string {
  if (lookAt(cwd) === "denied") return `this user may not enter its working directory: ${cwd}`;
  if (lookAt(cwd) !== "folder") return `its working directory is gone: ${cwd}`;
  if (!command.startsWith("/")) return error.message;
  if (lookAt(command) === "denied") return `this user may not run its program: ${command}`;
  return lookAt(command) === "missing" ? `its program is gone: ${command}` : error.message;
}

function lookAt(path: string): "folder" | "other" | "missing" | "denied" {
  try {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return "missing";
    if (!stat.isDirectory()) return "other";
    accessSync(path, constants.X_OK);
    return "folder";
  } catch {
    return "denied";
  }
}
