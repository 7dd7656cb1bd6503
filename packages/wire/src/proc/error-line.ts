/** Finds the line in which a program that failed says why, in the last that it wrote: not the stack, nor what a runtime adds. Pure. */

const MAX_LENGTH = 300;
/** What runtimes write below an error. */
const TRAILER = /^(?:Node\.js v\d|Bun v\d|\(Use `node --trace|exit status \d+$)/;
/** Stacks, source lines and fields of an error. */
const DUMP = /^(?:\s|\}|\]|\d+ \| |goroutine \d|stack backtrace|note: )/;
/** A last line that is none of the program's own. */
const STACK = /^(?:\s+(?:at|from|in|File) |\t|\})/;
/** Such as `TypeError: x`, `error: x`, `Error [CODE]: x`, `django.core.X.ImproperlyConfigured`, `panic: x`. */
const ERROR =
  /^(?:Uncaught |Unhandled |Exception in thread )?(?:[\w.$]*(?:Error|Exception|Exit|Interrupt)\b|(?:error|panic|fatal|fatal error)\b|FATAL\b)/i;

/** The error's own line; where there is none that looks like one, the last line that says something; at most 300 characters. */
export function errorLineOf(lines: readonly string[]): string {
  const said = lines.filter((line) => line.trim() !== "" && !TRAILER.test(line));
  const last = said.at(-1);
  if (last === undefined) return "";
  const isDump = STACK.test(last) || lines.some((line) => TRAILER.test(line));
  return shorten(isDump ? (topError(said) ?? said.findLast((line) => !DUMP.test(line)) ?? last) : last);
}

/** The error of the dump at the end; of one that has another as its cause, the outer. */
function topError(lines: readonly string[]): string | undefined {
  let found: string | undefined;
  for (let at = lines.length - 1; at >= 0; at--) {
    const line = lines[at] as string;
    if (ERROR.test(line)) found = line;
    else if (found !== undefined && !DUMP.test(line)) break;
  }
  return found;
}

function shorten(line: string): string {
  const text = line.trim();
  return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text;
}
