/** All output of the commands: text, one JSON document, errors, and the exit status. */
import type { OperationResult } from "../control/api.js";
import { visible, visibleLine } from "../core/words.js";
import { EXIT, type ExitStatus, exitStatusOfCode, PacelineError, StartError } from "../errors.js";
import type { Failure } from "../fleet/supervisor-process.js";

export { EXIT, type ExitStatus };

function exitStatusOf(result: OperationResult): ExitStatus {
  return result.ok ? EXIT.done : exitStatusOfCode(result.code);
}

/** If the reader closes the output (`paceline logs | head`), or the disk is full, only the output ends, not the command. */
export function surviveClosedOutput(): void {
  process.stdout.on("error", afterOutput);
  process.stderr.on("error", () => {});
}

let hasFailed = false;

/** The command fails if its output cannot be written, for example because the disk is full. */
export function failWithOutput(): void {
  process.once("exit", () => {
    if (hasFailed) process.exitCode ||= EXIT.failed;
  });
}

/** Returns the exit status of a command whose output ends with this error, and prints the reason once. */
export function afterOutput(error: NodeJS.ErrnoException): ExitStatus {
  if (error.code === "EPIPE") return EXIT.done;
  // The launcher makes a closed stdout unwritable.
  const why = error.code === "EBADF" ? "stdout is closed" : error.message;
  if (!hasFailed) printError(`cannot write the output: ${why}`);
  hasFailed = true;
  return EXIT.failed;
}

/** Whether output is coloured; see https://no-color.org for NO_COLOR. */
export function wantsColour(): boolean {
  return process.env.NO_COLOR === undefined || process.env.NO_COLOR === "";
}

/** Prints text. In a terminal, control characters are escaped, because most text comes from other programs. */
export function print(text: string): void {
  printStyled(process.stdout.isTTY ? visible(text) : text);
}

/** Prints text that contains our own colours. The caller has escaped the rest. */
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
  process.stderr.write(`paceline: ${visible(text)}\n`);
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

/** Returns the reason why a command failed, in the form of its JSON output. */
export function failureOf(error: unknown): Failure {
  if (error instanceof PacelineError) {
    const { code, message, lastLines } = error;
    const problems = (error as { problems?: unknown }).problems;
    return {
      ...{ ok: false, code, message },
      ...(problems === undefined ? {} : { problems }),
      ...(lastLines.length === 0 ? {} : { lastLines: [...lastLines] }),
    };
  }
  // A system error has its own code.
  const { code, syscall } = (error ?? {}) as { code?: unknown; syscall?: unknown };
  const isOfSystem = typeof code === "string" && syscall !== undefined;
  return { ok: false, code: isOfSystem ? code : "internal", message: describeUnexpected(error) };
}

/** Errors whose messages have only one line. A line break in such a message comes from a path or a name. */
const OF_ONE_LINE = new Set(["usage", "cwd", "not-running", "denied", "rundir"]);

/** Prints why a command failed and returns its exit status. */
export function reportFailure(failure: Failure, json: boolean): ExitStatus {
  if (json) printJson(failure);
  else {
    const { code, message } = failure;
    for (const line of OF_ONE_LINE.has(code) ? [visibleLine(message)] : message.split("\n")) printError(line);
    for (const line of failure.lastLines ?? []) printForeign(`  | ${line}\n`);
  }
  return exitStatusOfCode(failure.code);
}

/** Prints an error and returns the exit status. */
export function reportError(error: unknown, json: boolean): ExitStatus {
  const failure = failureOf(error);
  if (!(error instanceof PacelineError)) return reportFailure(failure, json);
  const { output, isUndone } = error instanceof StartError ? error : { output: "", isUndone: false };
  if (json) printJson(failure);
  // The supervisor's own output explains more than the fact that it exited.
  else if (output !== "" && !isUndone) printForeign(output);
  else {
    printForeign(output);
    reportFailure(failure, false);
    if (isUndone) printError("nothing was left running");
  }
  return error.exitStatus as ExitStatus;
}

/** A system error needs no stack trace; a bug does. */
function describeUnexpected(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "syscall" in error ? error.message : (error.stack ?? error.message);
}
