/** `paceline -H box1 -H box2 COMMAND`: runs the command on each machine over the system's own ssh, one after another. */
import { type ChildProcess, spawn } from "node:child_process";
import { hostname } from "node:os";
import type { Readable } from "node:stream";
import { callerOf } from "../control/caller.js";
import { callerText } from "../core/history.js";
import { shellWord } from "../core/words.js";
import { PacelineError } from "../errors.js";
import { afterOutput, EXIT, print, printError, printForeign } from "./output.js";

/** The commands that may run on other machines, and what they do there. */
const REMOTE_COMMANDS: Readonly<Record<string, "reads" | "changes">> = {
  ...{ status: "reads", ls: "reads", top: "reads", diff: "reads", history: "reads", check: "reads" },
  ...{ logs: "reads", events: "reads", deaths: "reads", explain: "reads", alerts: "reads", certs: "reads" },
  ...{ deploy: "changes", rollback: "changes", reload: "changes", restart: "changes", scale: "changes" },
  ...{ drain: "changes", undrain: "changes", eject: "changes", readmit: "changes", weight: "changes" },
  ...{ stop: "changes", upgrade: "changes", lock: "changes", unlock: "changes" },
};

interface HostsCommand {
  hosts: string[];
  ssh: string;
  isParallel: boolean;
  /** The command and its arguments, as the machines get them. */
  args: string[];
  isReading: boolean;
}

const HOST = /^(ssh:\/\/)?([\w.%+-]+@)?(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[A-Za-z0-9_][\w.-]*)(:\d{1,5})?$/;

/**
 * Returns the parsed command line if it begins with `-H`; undefined for another one.
 * @throws PacelineError `usage`
 */
export function readHosts(words: readonly string[], environment: NodeJS.ProcessEnv): HostsCommand | undefined {
  const hosts: string[] = [];
  let ssh = environment.PACELINE_SSH || "ssh";
  let isParallel = false;
  let at = 0;
  for (; words[at]?.startsWith("-"); at++) {
    const [, name = "", joined] = /^(-H|--on|--ssh|--parallel)(?:=(.*))?$/s.exec(words[at] ?? "") ?? [];
    if (name === "") break;
    if (name === "--parallel") {
      isParallel = true;
      continue;
    }
    const value = joined ?? words[++at];
    if (value === undefined || value === "") throw new PacelineError("usage", `${name} needs a value`);
    if (name === "--ssh") ssh = value;
    else hosts.push(value);
  }
  if (at === 0) return undefined;
  const args = words.slice(at);
  const [command] = args;
  if (hosts.length === 0) throw new PacelineError("usage", "--ssh and --parallel need -H HOST");
  for (const host of hosts) {
    if (!HOST.test(host))
      throw new PacelineError("usage", `-H ${host}: must be HOST, USER@HOST or ssh://USER@HOST:PORT, without a path`);
  }
  if (command === undefined) throw new PacelineError("usage", `-H ${hosts[0]}: no command was given`);
  const effect = Object.hasOwn(REMOTE_COMMANDS, command) ? REMOTE_COMMANDS[command] : undefined;
  if (effect === undefined) {
    const known = Object.keys(REMOTE_COMMANDS).join(", ");
    throw new PacelineError("usage", `-H ${hosts[0]}: ${command} does not run on other machines; these do: ${known}`);
  }
  if (isParallel && effect === "changes") {
    const why = "it changes fleets, and stops at the first machine that refuses";
    throw new PacelineError("usage", `--parallel is not valid with ${command}: ${why}`);
  }
  const boxes = [...new Set(hosts)];
  if (boxes.length > 1) refuseEndless(args, isParallel);
  return { hosts: boxes, ssh, isParallel, args, isReading: effect === "reads" };
}

/** @throws PacelineError `usage` if the command would never end on the first machine */
function refuseEndless(args: readonly string[], isParallel: boolean): void {
  const has = (...words: string[]) => words.some((word) => args.includes(word));
  if (wantsScreen(args)) throw new PacelineError("usage", "top shows one machine: add --plain for several");
  const isEndless = has("-f", "--follow") || (args[0] === "top" && !has("--once"));
  if (isEndless && has("--json"))
    throw new PacelineError(
      "usage",
      "--json of several machines is printed when each has ended: omit --follow, or add --once",
    );
  if (isEndless && !isParallel)
    throw new PacelineError(
      "usage",
      `${args[0]} would never end on the first machine: add --parallel before the command`,
    );
}

function wantsScreen([command, ...options]: readonly string[]): boolean {
  return command === "top" && !options.some((word) => ["--plain", "--json", "--once"].includes(word));
}

/** How many machines run the command at once with --parallel. */
const AT_ONCE = 8;

/** Runs the command on the machines. Returns the exit status of the first one that failed, in the order of the options. */
export async function runOnHosts(command: HostsCommand, environment: NodeJS.ProcessEnv): Promise<number> {
  const { hosts, isParallel, isReading } = command;
  // If the reader of stdout closes it, as in `| head`, a command that only reads ends. A command that changes the fleet continues.
  if (isReading) process.stdout.once("error", (error) => process.exit(afterOutput(error)));
  const statuses = new Map<string, number>();
  const waiting = [...hosts];
  const work = async () => {
    for (let host = waiting.shift(); host !== undefined; host = waiting.shift()) {
      const status = await runOn(host, command, environment);
      statuses.set(host, status);
      if (status === EXIT.done || isReading) continue;
      const left = waiting.splice(0);
      if (left.length > 0)
        printError(`${nameOf(host)} refused (exit status ${status}); not run on ${left.map(nameOf).join(", ")}`);
    }
  };
  await Promise.all(Array.from({ length: isParallel ? AT_ONCE : 1 }, work));
  return hosts.map((host) => statuses.get(host) ?? EXIT.done).find((status) => status !== EXIT.done) ?? EXIT.done;
}

/** The maximum output of one machine that is kept for `--json`, in characters. */
const MAX_JSON = 32 << 20;

async function runOn(host: string, command: HostsCommand, environment: NodeJS.ProcessEnv): Promise<number> {
  const { hosts, ssh, args } = command;
  const remote = remoteCommand(args, environment);
  if (wantsScreen(args)) return ended(spawn(ssh, ["-t", host, remote], { stdio: "inherit" }), command, host);
  // For a single machine, its JSON is printed unchanged.
  const isWhole = args.includes("--json") && hosts.length > 1;
  const isRaw = args.includes("--json") && hosts.length === 1;
  const child = spawn(ssh, [host, remote], { stdio: ["ignore", "pipe", "pipe"] });
  const name = nameOf(host);
  let document = "";
  if (isRaw) child.stdout.pipe(process.stdout, { end: false });
  else
    eachLine(child.stdout, (line) => {
      if (!isWhole) {
        print(`${name} | ${line}`);
        waitForReader(child.stdout);
      } else if (document.length < MAX_JSON) document += `${line}\n`;
    });
  eachLine(child.stderr, (line) => printForeign(`${name} | ${line}\n`));
  const status = await ended(child, command, host);
  if (isWhole) print(JSON.stringify({ host: name, exitStatus: status, ...outputOf(document) }));
  return status;
}

/** A longer line is cut into several, in characters. */
const MAX_LINE = 1 << 20;

/** Not node:readline, which also ends lines at U+2028 and U+2029, within JSON too. */
function eachLine(from: Readable, take: (line: string) => void): void {
  let rest = "";
  from.setEncoding("utf8");
  from.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = (lines.at(-1)?.length ?? 0) > MAX_LINE ? "" : (lines.pop() ?? "");
    for (const line of lines) take(line.replace(/\r$/, ""));
  });
  from.on("end", () => {
    if (rest !== "") take(rest);
  });
}

const MAX_WAITING = 1 << 20;

/** Pauses reading while the reader of stdout is behind. */
function waitForReader(from: Readable): void {
  if (process.stdout.writableLength < MAX_WAITING || from.isPaused()) return;
  from.pause();
  process.stdout.once("drain", () => from.resume());
}

/** Returns one document, or several lines of JSON, or text that is not JSON. */
function outputOf(text: string): object {
  try {
    return { document: JSON.parse(text) as unknown };
  } catch {
    // Handled below.
  }
  try {
    const lines = text.split("\n").filter((line) => line !== "");
    return { documents: lines.map((line) => JSON.parse(line) as unknown) };
  } catch {
    return { output: text };
  }
}

/** The exit status of ssh itself if it could not run the command, and the status of a shell that does not find the command. */
const SSH_FAILED = 255;
const NOT_FOUND = 127;

/** How long ssh may take in addition to the `--timeout` of the remote command, in milliseconds. */
const SSH_GRACE_MS = 30_000;

async function ended(child: ChildProcess, { ssh, args }: HostsCommand, host: string): Promise<number> {
  const name = nameOf(host);
  const timeoutMs = timeoutOf(args);
  let isLate = false;
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          isLate = true;
          child.kill();
        }, timeoutMs + SSH_GRACE_MS);
  const status = await new Promise<number>((resolve) => {
    child.once("error", (error: NodeJS.ErrnoException) => {
      const why = error.code === "ENOENT" ? "there is no such program" : error.message;
      printError(`${name}: ${ssh} cannot be run: ${why}`);
      resolve(EXIT.failed);
    });
    // `close` comes after all output.
    child.once("close", (code, signal) => {
      if (code === SSH_FAILED) printError(`${name}: ssh could not run the command there`);
      if (code === NOT_FOUND)
        printError(`${name}: paceline is not in the PATH of that shell: set PACELINE_REMOTE to its path there`);
      if (signal !== null) return resolve(EXIT.interrupted);
      resolve(code === SSH_FAILED || code === NOT_FOUND ? EXIT.failed : (code ?? EXIT.failed));
    });
  });
  clearTimeout(timer);
  if (!isLate) return status;
  printError(`${name}: ssh has not ended, and was killed; the operation there may continue`);
  return EXIT.deadline;
}

function timeoutOf(args: readonly string[]): number | undefined {
  const at = args.findIndex((word) => /^--timeout(=|$)/.test(word));
  const seconds = Number.parseFloat((args[at]?.split("=")[1] ?? args[at + 1] ?? "").trim());
  return at >= 0 && seconds > 0 && seconds <= 86_400 ? seconds * 1000 : undefined;
}

function remoteCommand(args: readonly string[], environment: NodeJS.ProcessEnv): string {
  const caller = callerOf(environment);
  const { actor } = caller;
  const from = `${actor ?? callerText(caller)}@${hostname()}`;
  // Some users' shells do not support assignments before a command.
  return ["env", `PACELINE_ACTOR=${from}`, environment.PACELINE_REMOTE || "paceline", ...args].map(shellWord).join(" ");
}

/** Returns `deploy@box1`: the destination without its scheme. */
function nameOf(host: string): string {
  return host.replace(/^ssh:\/\//, "");
}
