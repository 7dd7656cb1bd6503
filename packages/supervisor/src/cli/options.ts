/** The options that several commands share, and how their values are read. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ScaleChange } from "../control/api.js";

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

/** Which fleet is meant: for the commands that speak to one that runs. */
export function withFleet(command: Command): Command {
  return command
    .option("-c, --config <path>", "the config file (or its folder) of the fleet that is meant")
    .option("--run-dir <path>", "the run directory of the fleet that is meant");
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
