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

/** Tells why a command could not be done and gives the exit status for it. */
export function reportError(error: unknown, json: boolean): ExitStatus {
  if (!(error instanceof PacelineError)) {
    printError(describeUnforeseen(error));
    return exitStatusOfCode("internal");
  }
  const { code, message } = error;
  const problems = (error as { problems?: unknown }).problems;
  if (json) printJson({ ok: false, code, message, ...(problems === undefined ? {} : { problems }) });
  else for (const line of message.split("\n")) printError(line);
  return exitStatusOfCode(code);
}

/** What the system refused needs no stack; a fault of our own does. */
function describeUnforeseen(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "syscall" in error ? error.message : (error.stack ?? error.message);
}
