/** Everything a command writes goes through here: text for people or one JSON document, and errors. */
import type { OperationResult } from "../control/api.js";
import { visible } from "../control-characters.js";
import { PacelineError } from "../errors.js";
import { type ExitStatus, exitStatusOf, exitStatusOfCode } from "./exit-status.js";

/** A reader that went away (`paceline logs | head`) ends what we print, not what we do. */
export function surviveClosedOutput(): void {
  process.stdout.on("error", () => {});
  process.stderr.on("error", () => {});
}

/** Whether colours are wanted: NO_COLOR says otherwise, as on https://no-color.org. */
export function wantsColour(): boolean {
  return process.env.NO_COLOR === undefined || process.env.NO_COLOR === "";
}

/** In a terminal, control characters are shown as escapes: much of what is printed was said by programs of others. */
export function print(text: string): void {
  printStyled(process.stdout.isTTY ? visible(text) : text);
}

/** For text that has colours of ours, and whose other parts are made visible. */
export function printStyled(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** What another process of ours wrote to its own output, on stderr. */
export function printForeign(text: string): void {
  process.stderr.write(process.stderr.isTTY ? visible(text) : text);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

export function printError(text: string): void {
  printForeign(`paceline: ${text}\n`);
}

/** Tells how an operation ended and gives the exit status for it. */
export function printResult(result: OperationResult, json: boolean): ExitStatus {
  if (json) printJson(result);
  else if (result.ok) print(result.message);
  else {
    printError(result.message);
    for (const line of result.lastLines ?? []) printForeign(`  | ${line}\n`);
  }
  return exitStatusOf(result);
}

/** Why a command could not be done, as JSON has it. */
export interface Failure {
  ok: false;
  code: string;
  message: string;
  problems?: unknown;
  lastLines?: string[];
}

export function failureOf(error: unknown): Failure {
  if (error instanceof PacelineError) {
    const problems = (error as { problems?: unknown }).problems;
    return { ok: false, code: error.code, message: error.message, ...(problems === undefined ? {} : { problems }) };
  }
  // What the system refused has a code of its own.
  const { code, syscall } = (error ?? {}) as { code?: unknown; syscall?: unknown };
  const isOfSystem = typeof code === "string" && syscall !== undefined;
  return { ok: false, code: isOfSystem ? code : "internal", message: describeUnforeseen(error) };
}

/** Tells why a command could not be done and gives the exit status for it. */
export function reportFailure(failure: Failure, json: boolean): ExitStatus {
  if (json) printJson(failure);
  else {
    for (const line of failure.message.split("\n")) printError(line);
    for (const line of failure.lastLines ?? []) printForeign(`  | ${line}\n`);
  }
  return exitStatusOfCode(failure.code);
}

export function reportError(error: unknown, json: boolean): ExitStatus {
  return reportFailure(failureOf(error), json);
}

/** What the system refused needs no stack; a fault of our own does. */
function describeUnforeseen(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "syscall" in error ? error.message : (error.stack ?? error.message);
}
