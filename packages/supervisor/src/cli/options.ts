/** Shared parts of commands: registration, common options and value parsers. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ScaleChange } from "../control/api.js";
import type { RuntimeName } from "../core/model.js";
import type { FleetChoice } from "../fleet/api.js";
import type { OwnStart } from "../fleet/prepare-start.js";
import type { ExitStatus } from "./output.js";

/** A command's action. Resolves with the exit status. */
export type Action = (...args: never[]) => Promise<ExitStatus>;

/** Registers one command. `action` wraps its function: it prints errors and sets the exit status. */
export type DefineCommand = (program: Command, action: (run: Action) => (...args: unknown[]) => Promise<void>) => void;

export interface JsonOption {
  json?: boolean;
}

export interface TimeoutOption {
  /** In seconds. */
  timeout?: number;
}

/** The options of `paceline start`. */
export interface StartOptions extends TimeoutOption, JsonOption {
  detach?: boolean;
  instances?: number | "cpus";
  listen?: string[];
  /** The name of the fleet. */
  name?: string;
  /** The config file, in place of the argument. */
  config?: string;
  /** Ports of 127.0.0.1, added to `listen`. */
  port?: number[];
  /** The port of 127.0.0.1 to listen on if nothing else is configured. */
  defaultPort?: number | undefined;
  runtime?: RuntimeName;
  runDir?: string;
  replace?: boolean;
  onlyAdopts?: boolean;
  /** The original working directory of this start, if that folder may be gone. */
  cwd?: string;
  reloadAdopted?: boolean;
  /** Whether this is the fleet of `paceline rehearse`. */
  rehearses?: boolean;
  watch?: boolean;
  /** Reload the fleet if it is already running. */
  orReload?: boolean;
  /** Serve this folder of files. */
  static?: string;
  /** Forward requests to this upstream. */
  proxy?: string;
  /** Run this program with its arguments. */
  command?: string[];
  /** The module or the program gets no requests. */
  worker?: boolean;
  /** The schedule of a worker that runs only at certain times, as a cron pattern. */
  cron?: string;
  /** Run this FAPWS start script. */
  fapws?: string;
  /** The source of certificates for names that no file covers. */
  tls?: "self-signed" | "internal";
  /** How sticky clients are recognized, in the form of the config. */
  sticky?: string;
  /** The arguments of the app or the script, for process.argv and sys.argv. */
  scriptArgs?: string[];
  /** Python apps, named as in the config. */
  wsgi?: string;
  asgi?: string;
  /** The Python interpreter. */
  python?: string;
  /** False with --no-dashboard. */
  dashboard: boolean;
  logFormat?: "text" | "json" | "none";
  /** The file descriptor on which this process reports that the control socket is served. */
  notifyFd?: number;
  /** The file descriptor of the configuration that the starting command has loaded. */
  fleetFd?: number;
  /** The socket of the starting command, if that command is not the parent of this process. The configuration is then in a file. */
  starter?: string;
  fleetFile?: string;
  /** The number of listening sockets that this process inherits from its fleet. */
  listenFds?: number;
  /** Whether a supervisor of this fleet has handed over to this one. */
  nextSupervisor?: boolean;
  /** Whether to stop when the starting command ends. */
  stopWithClient?: boolean;
}

/** The options of `paceline deploy`. */
export interface DeployOptions extends FleetChoice, JsonOption, TimeoutOption {
  envFile?: string;
  canary?: number;
  judge?: number;
  onNoTraffic?: "promote" | "rollback";
  keepWarm?: number;
  steer?: "promote" | "hold" | "resume" | "rollback";
  wait: boolean;
}

/** Adds the options that select a running fleet. */
export function withFleet(command: Command): Command {
  return command
    .option("-c, --config <path>", "the config file of the fleet, or its folder")
    .option("--run-dir <path>", "the run directory of the fleet");
}

/** Users of PM2 write `all`, which here is the same as no name. */
export function unlessAll(name: string | undefined): string | undefined {
  return name === "all" ? undefined : name;
}

export function withJson(command: Command): Command {
  return command.option("--json", "print one JSON document");
}

export function withTimeout(command: Command): Command {
  return command.addOption(
    new Option("--timeout <seconds>", "stop waiting after this time (exit status 4)").argParser(parseSeconds),
  );
}

export function milliseconds(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : Math.ceil(seconds * 1000);
}

function parseSeconds(text: string): number {
  const seconds = Number(text.replace(/s$/, ""));
  if (!/^\d+(\.\d+)?s?$/.test(text) || seconds <= 0 || seconds > 86_400) {
    throw new InvalidArgumentError("It must be a number of seconds, a day at most.");
  }
  return seconds;
}

/** Parses the time of a CPU profile. */
export function parseProfileSeconds(text: string): number {
  const seconds = Number(text.replace(/s$/, ""));
  if (!/^\d+(\.\d+)?s?$/.test(text) || seconds <= 0 || seconds > 300)
    throw new InvalidArgumentError("It must be a number of seconds, 300 at most.");
  return seconds;
}

/** Parses the duration of an action. */
export function parseSpan(text: string): number {
  const seconds = Number(text.replace(/s$/, ""));
  if (!/^\d+(\.\d+)?s?$/.test(text) || seconds < 1 || seconds > 86_400)
    throw new InvalidArgumentError("It must be a number of seconds, from 1 to a day.");
  return seconds;
}

export function parseCount(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}

/** More lines than the log files can hold. */
export const MOST_LINES = 1_000_000;

export function parseLines(text: string): number {
  const count = parseCount(text);
  if (count > MOST_LINES) throw new InvalidArgumentError(`It must be from 0 to ${MOST_LINES}.`);
  return count;
}

/** Parses a number of instances, or a difference such as `+2`. */
export function parseChange(text: string): ScaleChange {
  if (/^[+-]\d{1,15}$/.test(text)) return { by: Number(text) };
  if (!/^\d{1,15}$/.test(text))
    throw new InvalidArgumentError("It must be a whole number, or a change such as +2 or -1.");
  return { instances: Number(text) };
}

export function parseInstances(text: string): number | "cpus" {
  if (text === "cpus" || text === "max") return "cpus";
  const count = parseCount(text);
  if (count < 1 || count > 1024) throw new InvalidArgumentError('It must be from 1 to 1024, or "cpus".');
  return count;
}

export function parsePorts(text: string, before: number[] | undefined): number[] {
  const port = parseCount(text);
  if (port < 1 || port > 65_535) throw new InvalidArgumentError("It must be from 1 to 65535.");
  return [...(before ?? []), port];
}

/** Returns the port in the environment variable that many programs use; undefined if it is not set to a valid one. */
export function usualPort(): number | undefined {
  const { PORT = "" } = process.env;
  return /^[1-9]\d{0,4}$/.test(PORT) && Number(PORT) <= 65_535 ? Number(PORT) : undefined;
}

/** Returns the fleet that the options of `paceline start` and its target describe. */
export function startOf(target: string, options: StartOptions): OwnStart {
  const { static: folder, proxy, wsgi, asgi, fapws, command, worker, cron, scriptArgs: args, python } = options;
  const { name, instances, listen, defaultPort, tls, sticky, runtime, runDir, replace, watch, onlyAdopts, rehearses } =
    options;
  const { cwd } = options;
  const origin = { static: folder, proxy, wsgi, asgi, fapws, command, worker, cron, args, python };
  return {
    file: target === "." ? undefined : target,
    ...origin,
    name,
    instances,
    listen,
    defaultPort,
    tls,
    sticky,
    runtime,
    runDir,
    replace,
    watch,
    ...{ onlyAdopts, cwd },
    reloadsAdopted: options.orReload || options.reloadAdopted,
    rehearses,
  };
}

export function collect(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text];
}
