/** Shared by this package's tests: the two runtimes, and folders and processes that are removed after the test. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { findRuntimes } from "../dist/runtime/runtimes.js";

export const PACKAGE = fileURLToPath(new URL("../", import.meta.url));
export const PACELINE = join(PACKAGE, "bin/paceline");
export const FIXTURES = join(PACKAGE, "test/fixtures");

const runtimes = findRuntimes({ PATH: process.env.PATH });
/** The name and the program of each runtime. */
export const RUNTIMES: [string, string][] = [
  ["bun", runtimes.bun ?? "bun is not installed"],
  ["node", runtimes.node ?? process.execPath],
];

/** Creates a folder with `files`, removed after the test. */
export function makeFolder(files: Record<string, string> = {}): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "pl-")));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

export interface Finished {
  code: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  uid?: number;
  gid?: number;
  /** SIGKILL after this time in milliseconds; default 60,000. */
  deadlineMs?: number;
}

/** Runs a program until it exits. */
export function run(
  program: string,
  args: string[],
  { deadlineMs = 60_000, ...options }: RunOptions = {},
): Promise<Finished> {
  const child = start(program, args, options);
  const timer = setTimeout(() => child.kill("SIGKILL"), deadlineMs);
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (text) => (stdout += text));
  child.stderr?.setEncoding("utf8").on("data", (text) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr });
    });
  });
}

/** Starts a program that is killed after the test. */
export function start(program: string, args: string[], options: Omit<RunOptions, "deadlineMs"> = {}): ChildProcess {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

/** Resolves with the first line of `child`; rejects if it exits first, or after a minute. */
export function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const timer = setTimeout(() => reject(new Error("no line within 60 s")), 60_000);
    child.stdout?.setEncoding("utf8").on("data", (part) => {
      text += part;
      if (!text.includes("\n")) return;
      clearTimeout(timer);
      resolve(text.slice(0, text.indexOf("\n")));
    });
    // When it exits, its last output may not have been read yet.
    child.on("close", (code) => reject(new Error(`ended with ${code} after ${JSON.stringify(text)}`)));
  });
}
