/** What commands are made of: how one is registered, the options that several share, and how their values are read. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ScaleChange } from "../control/api.js";
import type { RuntimeName } from "../core/model.js";
import type { ExitStatus } from "./exit-status.js";

/** A command's action: gives the exit status. */
export type Action = (...args: never[]) => Promise<ExitStatus>;

/** Registers one command; `action` wraps what it does, so that errors are told and the exit status is set. */
export type DefineCommand = (program: Command, action: (run: Action) => (...args: unknown[]) => Promise<void>) => void;

export interface FleetOptions {
  runDir?: string;
  config?: string;
}

export interface JsonOption {
  json?: boolean;
}

export interface TimeoutOption {
  /** In seconds. */
  timeout?: number;
}

/** Those of `paceline start`, which several files carry out. */
export interface StartOptions extends TimeoutOption, JsonOption {
  detach?: boolean;
  instances?: number | "cpus";
  listen?: string[];
  runtime?: RuntimeName;
  runDir?: string;
  replace?: boolean;
  watch?: boolean;
  /** Reload the fleet when it runs already. */
  orReload?: boolean;
  /** A folder of files. */
  static?: string;
  /** A FAPWS start script. */
  fapws?: string;
  /** What the script is to have in sys.argv. */
  scriptArgs?: string[];
  /** Apps of Python, as the config names them. */
  wsgi?: string;
  asgi?: string;
  /** Their interpreter. */
  python?: string;
  /** False with --no-dashboard. */
  dashboard: boolean;
  logFormat?: "text" | "json" | "none";
  /** Where to say that the control socket is served; a file descriptor. */
  notifyFd?: number;
  /** What the starter has loaded; a file descriptor. */
  fleetFd?: number;
  /** Stop when the standard input ends. */
  stopWithClient?: boolean;
}

/** Which fleet is meant: for the commands that speak to one that runs. */
export function withFleet(command: Command): Command {
  return command
    .option("-c, --config <path>", "the config file of the fleet, or its folder")
    .option("--run-dir <path>", "the run directory of the fleet");
}

export function withJson(command: Command): Command {
  return command.option("--json", "print one JSON document");
}

export function withTimeout(command: Command): Command {
  return command.addOption(
    new Option("--timeout <seconds>", "give up waiting after this long (exit status 4)").argParser(parseSeconds),
  );
}

export function milliseconds(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : Math.ceil(seconds * 1000);
}

export function parseSeconds(text: string): number {
  const seconds = Number(text.replace(/s$/, ""));
  if (!/^\d+(\.\d+)?s?$/.test(text) || seconds <= 0 || seconds > 86_400) {
    throw new InvalidArgumentError("It must be a number of seconds, a day at most.");
  }
  return seconds;
}

export function parseCount(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}

/** A number of instances, or how many more or fewer. */
export function parseChange(text: string): ScaleChange {
  if (/^[+-]\d{1,4}$/.test(text)) return { by: Number(text) };
  if (!/^\d{1,6}$/.test(text))
    throw new InvalidArgumentError("It must be a whole number, or a change such as +2 or -1.");
  return { instances: Number(text) };
}

export function parseInstances(text: string): number | "cpus" {
  if (text === "cpus") return text;
  const count = parseCount(text);
  if (count < 1 || count > 1024) throw new InvalidArgumentError('It must be from 1 to 1024, or "cpus".');
  return count;
}

export function collect(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text];
}
