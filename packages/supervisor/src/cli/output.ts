/** All output of the commands: text for people, one JSON document, errors, and the exit status. */
import type { OperationResult } from "../control/api.js";
import { visible } from "../core/words.js";
import { PacelineError } from "../errors.js";

/** The exit statuses, the same for all commands. */
export const EXIT = {
  done: 0,
  /** The operation failed. */
  failed: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** Nothing is running, or its supervisor was killed. */
  notRunning: 3,
  /** The deadline passed. */
  deadline: 4,
  /** Another operation is running; try again later. */
  busy: 5,
} as const;

export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];

export function exitStatusOf(result: OperationResult): ExitStatus {
  return result.ok ? EXIT.done : exitStatusOfCode(result.code);
}

/** Returns the exit status for the code of an operation's result or of a PacelineError. */
export function exitStatusOfCode(code: string): ExitStatus {
  switch (code) {
    case "invalid":
    case "config":
    case "usage":
    case "cwd":
      return EXIT.usage;
    case "not-running":
    case "orphaned":
      return EXIT.notRunning;
    case "timeout":
      return EXIT.deadline;
    case "busy":
      return EXIT.busy;
    default:
      return EXIT.failed;
  }
}

/** A reader that closes our output (`paceline logs | head`) ends the output, not the command. */
export function surviveClosedOutput(): void {
  process.stdout.on("error", () => {});
  process.stderr.on("error", () => {});
}

/** Whether output is coloured; see https://no-color.org for NO_COLOR. */
export function wantsColour(): boolean {
  return process.env.NO_COLOR === undefined || process.env.NO_COLOR === "";
}

/** Prints text. In a terminal, control characters are escaped, because most text comes from other programs. */
export function print(text: string): void {
  printStyled(process.stdout.isTTY ? visible(text) : text);
}

/** Prints text that contains our own colours; the caller has escaped the rest. */
export function printStyled(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Prints the output of another Paceline process on stderr. */
export function printForeign(text: string): void {
  process.stderr.write(process.stderr.isTTY ? visible(text) : text);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

export function printError(text: string): void {
  printForeign(`paceline: ${text}\n`);
}

/** Prints an operation's result and returns its exit status. */
export function printResult(result: OperationResult, json: boolean): ExitStatus {
  if (json) printJson(result);
  else if (result.ok) print(result.message);
  else {
    printError(result.message);
    for (const line of result.lastLines ?? []) printForeign(`  | ${line}\n`);
  }
  return exitStatusOf(result);
}

/** The reason a command failed, in the form of its JSON output. */
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
  // A system error has its own code.
  const { code, syscall } = (error ?? {}) as { code?: unknown; syscall?: unknown };
  const isOfSystem = typeof code === "string" && syscall !== undefined;
  return { ok: false, code: isOfSystem ? code : "internal", message: describeUnforeseen(error) };
}

/** Prints why a command failed and returns its exit status. */
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

/** A system error needs no stack trace; a bug does. */
function describeUnforeseen(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "syscall" in error ? error.message : (error.stack ?? error.message);
}
