/** The wording of exits, durations, names and lost lines, and the escaping of foreign text. */
import type { ExitStatus } from "./model.js";

/**
 * Returns `exited with code 1`, `was killed by SIGKILL`, or `ended with an unknown exit status` for a process that was not a child of the
 * supervisor.
 */
export function exitReason(status: ExitStatus): string {
  if (status.signal !== null) return `was killed by ${status.signal}`;
  return status.code === null ? "ended with an unknown exit status" : `exited with code ${status.code}`;
}

let second = -1;
let shown = "";

/** Formats a time as local date and time in milliseconds, so that lines sort by text. */
export function dateAndTime(at: number): string {
  // Cached, because many lines fall into the same second.
  if (Math.floor(at / 1000) !== second) {
    second = Math.floor(at / 1000);
    const date = new Date(at);
    const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map(twoDigits).join("-");
    shown = `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(":")}`;
  }
  return `${shown}.${String(at % 1000).padStart(3, "0")}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, "0");
}

/**
 * Returns when a process ended that no supervisor watched: `between 10:31:05 and 10:31:09 while no supervisor was running`.
 * @param from the last sign of life, in Unix time
 * @param to when the end was found
 */
export function unseenText(from: number, to: number): string {
  return `${spanText(from, to)} while no supervisor was running`;
}

/** Returns `between 10:31:05 and 10:31:09`, or `at 10:31:05`. */
export function spanText(from: number, to: number): string {
  const [begin, end] = [from, to].map((at) => dateAndTime(at).slice(0, -".000".length)) as [string, string];
  const dateLength = begin.indexOf(" ") + 1;
  const isSameDay = begin.slice(0, dateLength) === end.slice(0, dateLength);
  const [first, last] = isSameDay ? [begin.slice(dateLength), end.slice(dateLength)] : [begin, end];
  return first === last ? `at ${first}` : `between ${first} and ${last}`;
}

/** The beginning of a message about a process that was not ready in time. */
export const NOT_READY = "was not ready within";

/** Returns a word quoted for a POSIX shell. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Formats a duration: `0.2 s`, `30 s`. */
export function seconds(ms: number): string {
  return `${Math.round(ms / 100) / 10} s`;
}

/** Returns the two largest units: `4 s`, `12 min`, `3 h 5 min`, `2 d 4 h`. */
export function formatDuration(seconds: number): string {
  const units = [
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
    ["s", 1],
  ] as const;
  let rest = Math.floor(seconds);
  const parts: string[] = [];
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0 || (unit === "s" && parts.length === 0)) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
  }
  return parts.slice(0, 2).join(" ");
}

/**
 * Whether `subject` matches the filter: undefined (all), a slot (`web.3` and `web.3 (replacement)`), a pool (`web`), or
 * `paceline`.
 */
export function isAbout(subject: string, name: string | undefined): boolean {
  return name === undefined || subject === name || subject.startsWith(`${name}.`) || subject.startsWith(`${name} `);
}

/** Whether a log line matches the filter: written by that name, or about it. */
export function isLineOf(line: { name: string; subject?: string }, name: string | undefined): boolean {
  return isAbout(line.name, name) || (line.subject !== undefined && isAbout(line.subject, name));
}

/** Returns the limits of an autoscaled pool as ` (1–8)`; empty if its size is fixed. */
export function boundsText({ scaling }: { scaling?: { min: number; max: number } | null }): string {
  // The supervisor of an earlier version does not report them.
  return scaling == null ? "" : ` (${scaling.min}–${scaling.max})`;
}

/**
 * Returns the state of a process for display. A ready process that gets no new requests is `drained` or `ejected`; one that should get none
 * is `failing`.
 */
export function stateWord({ state, outOfTurn = null }: { state: string; outOfTurn?: string | null }): string {
  return state === "ready" && outOfTurn !== null ? outOfTurn : state;
}

/** The name of the series of all balancers and pools in direct mode together. No pool can have it. */
export const ALL_CLIENTS = "all clients";

/** Whether a process is in trouble. */
export function isFailing({ state, stalledMs }: { state: string; stalledMs: number | null }): boolean {
  return state === "backoff" || state === "failed" || stalledMs !== null;
}

/** How many events, and how many log lines, a running fleet keeps in memory at most. The log files have older ones. */
export const KEPT_EVENTS = 1000;
export const KEPT_LINES = 5000;

/**
 * Returns the error message for an unknown name.
 * @param names the known names. If the name of an instance is among them, a pool was expected
 */
export function unknownName(name: string, names: readonly string[]): string {
  const [pool] = name.split(".");
  if (names.includes(name)) return `${name} is an instance: name its pool, ${pool}; restart and drain take an instance`;
  // Keeps the list short: only the instances of the named pool, or only the pools.
  const ofPool = names.filter((each) => each.startsWith(`${pool}.`));
  const known = name.includes(".") && ofPool.length > 0 ? ofPool : names.filter((each) => !each.includes("."));
  return `no pool or instance named ${JSON.stringify(name)} (known: ${known.join(", ")})`;
}

/** Returns the marker for lost lines: `[7 lines lost: they were written faster than they could be read]`. */
export function lostText(count: number, why: string): string {
  return `[${count === 1 ? "1 line" : `${count} lines`} lost: ${why}]`;
}

/**
 * Control characters are escaped, so that foreign text cannot move the cursor, reorder or hide a part of a line, or control the terminal.
 * Joiners between characters outside ASCII are kept, because emoji and several scripts need them.
 */
const CONTROL =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the expression is meant to match control characters
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f\u200c\u200d])/g;

/**
 * Returns `text` with control characters as `\x1b`, and direction marks, characters without a width and non-ASCII line breaks as `\u202e`.
 * Tabs and line feeds are kept.
 */
export function visible(text: string): string {
  return text.replace(CONTROL, (character) => {
    if (character === "\r") return "\\r";
    const code = character.charCodeAt(0);
    // JSON never contains characters of the first kind unescaped, and its parsers understand the escapes of the second kind.
    return code < 0x20 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** Like `visible`, but also escapes line breaks and tabs: for a name or path within a line. */
export function visibleLine(text: string): string {
  return visible(text).replaceAll("\n", "\\n").replaceAll("\t", "\\t");
}

/** The supervisor's last event after a normal stop. */
export const HAS_STOPPED = "has stopped";

/** Whether a fleet whose connection is lost has stopped, by its last event. */
export function hasStopped(events: readonly { subject: string; message: string }[]): boolean {
  return events.at(-1)?.message === HAS_STOPPED;
}

/** Returns why there is no connection to a server, by the system's code; undefined if the code does not show that. */
export function unreachableText(code: string | undefined): string | undefined {
  switch (code) {
    case "ECONNREFUSED":
    case "ConnectionRefused":
      return "the connection was refused";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "the name of the host was not found";
    default:
      return undefined;
  }
}

/** Returns what to do about a pool of this workload that was not ready in time; empty if the reason already shows it. */
export function remedyFor(workload: Record<string, unknown> | undefined): string {
  if (workload === undefined) return "";
  if ("command" in workload)
    return "; let it listen on $PORT, or on {port} or {socket} in its arguments, or start it with --worker if it serves nothing";
  return "app" in workload ? "; start it with --worker if it serves nothing" : "";
}
