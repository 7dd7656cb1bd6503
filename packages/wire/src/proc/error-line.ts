/** Finds the line that states the reason in a failed program's last output, as opposed to the stack or a runtime's additions. Pure. */

const MAX_LENGTH = 300;
/** Lines that runtimes print after an error. */
const TRAILER = /^(?:Node\.js v\d|Bun v\d|\(Use `node --trace|exit status \d+$)/;
/** Lines of stacks, source code and an error's fields. */
const DUMP = /^(?:\s|\}|\]|\d+ \| |goroutine \d|stack backtrace|note: )/;
/** The titles and frames of the stacks that Node prints when it aborts, after whatever the program has said. */
const ABORT_TITLE = /^(?:----- (?:Native|JavaScript) stack trace -----|<--- (?:Last few GCs|JS stacktrace) --->)$/;
const NATIVE_FRAME = /^ *\d+: 0x[0-9a-f]+ /;
const SCRIPT_FRAME = /^ *\d+: \S.*:\d+:\d+\)?$/s;
/** What V8 prints around the line that says which of its checks has failed. */
const V8_FAILURE = /^#(?:FailureMessage Object: .*)?$/;
/** A last line that is not the program's own. */
const STACK = /^(?:\s+(?:at|from|in|File) |\t|\})/;
/** For example `TypeError: x`, `error: x`, `Error [CODE]: x`, `django.core.X.ImproperlyConfigured`, `panic: x`. */
const ERROR =
  /^(?:Uncaught |Unhandled |Exception in thread )?(?:[\w.$]*(?:Error|Exception|Exit|Interrupt)\b|(?:error|panic|fatal|fatal error)\b|FATAL\b)/i;

/** The line that every process of ours logs when its supervisor is gone. */
const OURS = /the control channel was closed; trying again$/;

/** The level at the beginning of a line, as in `info listening`, `[ERROR] x` and `12:00:01 DEBUG x`. */
const LEVEL = /^[\W\d]*(?:\dT\d[\d:.,]*Z?\W+)?([a-z]+)\b/i;
/** The level of a line in JSON: a word, or a number as pino and bunyan write it. */
const JSON_LEVEL = /^\{.*?"(?:level|lvl|severity|log\.level)"\s*:\s*(?:"(\w+)"|(\d+))/is;
/** The level of a line such as `time=… level=INFO msg=x`. */
const PAIRS_LEVEL = /^(?:[\w.]+=\S* )*(?:level|lvl|severity)="?(\w+)/i;
const ORDINARY_LEVELS = /^(?:info|debug|trace)$/i;
const ERROR_LEVELS = /^(?:error|err|fatal|critical|crit|alert|emergency|emerg|panic)$/i;

/** Whether the level of a line shows that it is no error. */
export function isOrdinaryLine(line: string): boolean {
  return ORDINARY_LEVELS.test(levelOf(line));
}

/** Returns a word; empty if the line does not begin with one and has no level. */
function levelOf(line: string): string {
  const [, word, number] = JSON_LEVEL.exec(line) ?? PAIRS_LEVEL.exec(line) ?? LEVEL.exec(line) ?? [];
  if (number === undefined) return word ?? "";
  // The numbers of syslog, below 10, have another order.
  return Number(number) >= 50 ? "error" : Number(number) >= 10 && Number(number) < 40 ? "info" : "";
}

/**
 * Returns the error's own line, or the last meaningful line if there is none; at most 300 characters. For a line in JSON it returns the
 * message and the error.
 */
export function errorLineOf(lines: readonly string[]): string {
  const said = ownLines(lines);
  const last = said.at(-1);
  if (last === undefined) return "";
  const isDump = STACK.test(last) || lines.some((line) => TRAILER.test(line));
  if (isDump) return shorten(topError(said) ?? said.findLast((line) => !DUMP.test(line)) ?? last);
  return shorten(isOrdinaryLine(last) ? (earlierError(said) ?? last) : last);
}

/** Returns the line of the last error, for a program that may have exited without one; empty if there is none. */
export function errorLineIn(lines: readonly string[]): string {
  return shorten(earlierError(ownLines(lines)) ?? "");
}

function ownLines(lines: readonly string[]): string[] {
  return withoutAbortStacks(withoutRequireStack(lines)).filter(
    (line) => line.trim() !== "" && !TRAILER.test(line) && !OURS.test(line),
  );
}

/** Returns the last error, also of a program that logs something else before it exits. */
function earlierError(lines: readonly string[]): string | undefined {
  for (let at = lines.length - 1; at >= 0; at--) {
    const line = lines[at] as string;
    if (STACK.test(line)) return topError(lines.slice(0, at + 1));
    if (ERROR.test(line) || ERROR_LEVELS.test(levelOf(line))) return line;
  }
  return undefined;
}

/** Omits the modules that Node lists after a module that was not found. */
function withoutRequireStack(lines: readonly string[]): string[] {
  let isStack = false;
  return lines.filter((line) => {
    isStack = line === "Require stack:" || (isStack && line.startsWith("- "));
    return !isStack;
  });
}

function withoutAbortStacks(lines: readonly string[]): readonly string[] {
  let isStack = false;
  return lines.filter((line) => {
    const isTitle = ABORT_TITLE.test(line);
    isStack = isTitle || (isStack && (line.trim() === "" || SCRIPT_FRAME.test(line) || NATIVE_FRAME.test(line)));
    return !isStack && !NATIVE_FRAME.test(line) && !V8_FAILURE.test(line);
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
  // The level of an ordinary line must stay recognizable.
  const text = (isOrdinaryLine(line) ? line : (messageOf(line) ?? line)).trim();
  return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text;
}

/** Returns `message: error` of a line in JSON; undefined if it is not JSON, or has neither. */
function messageOf(line: string): string | undefined {
  if (!line.startsWith("{")) return undefined;
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(line);
  } catch {
    return undefined; // It only begins like JSON, or was cut.
  }
  const { msg, message, event, err, error, exception, stack } = fields;
  const said = [msg, message, event].find((value) => typeof value === "string" && value !== "") as string | undefined;
  const cause = [err, error, exception, stack].map(causeOf).find((text) => text !== undefined);
  if (said === undefined || cause?.endsWith(said)) return cause ?? said;
  return cause === undefined || said.includes(cause) ? said : `${said}: ${cause}`;
}

/** Returns the error in a field of a log line: a text, a stack, or an object that describes an error. */
function causeOf(value: unknown): string | undefined {
  if (typeof value === "string") return value === "" ? undefined : errorLineOf(value.split("\n"));
  if (typeof value !== "object" || value === null) return undefined;
  const { type, name, message } = value as Record<string, unknown>;
  if (typeof message !== "string") return undefined;
  const kind = [type, name].find((each) => typeof each === "string");
  return kind === undefined ? message : `${kind}: ${message}`;
}
