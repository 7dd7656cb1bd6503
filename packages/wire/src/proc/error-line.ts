/** Finds the line that states the reason in a failed program's last output, as opposed to the stack or a runtime's additions. Pure. */

const MAX_LENGTH = 300;
/** Lines that runtimes print after an error. */
const TRAILER = /^(?:Node\.js v\d|Bun v\d|\(Use `node --trace|exit status \d+$)/;
/** Lines of stacks, source code and an error's fields. */
const DUMP = /^(?:\s|\}|\]|\d+ \| |goroutine \d|stack backtrace|note: )/;
/** A last line that is not the program's own. */
const STACK = /^(?:\s+(?:at|from|in|File) |\t|\})/;
/** For example `TypeError: x`, `error: x`, `Error [CODE]: x`, `django.core.X.ImproperlyConfigured`, `panic: x`. */
const ERROR =
  /^(?:Uncaught |Unhandled |Exception in thread )?(?:[\w.$]*(?:Error|Exception|Exit|Interrupt)\b|(?:error|panic|fatal|fatal error)\b|FATAL\b)/i;

/** The line that every process of ours logs when its supervisor is gone. */
const OURS = /the control channel was closed; trying again$/;

/** A line of a log whose level says that it is no error, such as `info listening`, `[INFO] x` and `12:00:01 DEBUG x`. */
const ORDINARY = /^[\W\d]*(?:\dT\d[\d:.,]*Z?\W+)?(?:info|debug|trace)\b/i;

export function isOrdinaryLine(line: string): boolean {
  return ORDINARY.test(line);
}

/** Returns the error's own line, or the last meaningful line if there is none; at most 300 characters. */
export function errorLineOf(lines: readonly string[]): string {
  const said = withoutRequireStack(lines).filter(
    (line) => line.trim() !== "" && !TRAILER.test(line) && !OURS.test(line),
  );
  const last = said.at(-1);
  if (last === undefined) return "";
  const isDump = STACK.test(last) || lines.some((line) => TRAILER.test(line));
  return shorten(isDump ? (topError(said) ?? said.findLast((line) => !DUMP.test(line)) ?? last) : last);
}

/** Omits the modules that Node lists after a module that was not found. */
function withoutRequireStack(lines: readonly string[]): string[] {
  let isStack = false;
  return lines.filter((line) => {
    isStack = line === "Require stack:" || (isStack && line.startsWith("- "));
    return !isStack;
  });
}

/** Returns the error of the last dump. If that error has a cause, returns the outer error. */
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
