/** Recordings of requests: a file with a line of JSON for each, without anything secret. Pure. */
import type { Ask } from "./exchange.js";

/** The first line. */
const HEAD = { paceline: "recording", version: 1 } as const;

/** A request as it is recorded: no body, no fields, no values of its query. */
export interface Recorded {
  /** Since the begin of the recording. */
  atMs: number;
  method: string;
  path: string;
  status: number;
  /** Of the response's body. */
  bytes: number;
  ms: number;
}

/** What stands for a part of a path that may be a key or a token. */
const MASK = "*";
/** Parts that are at least this long, such as tokens of links, are not recorded, unless they are words with dashes. */
const LONGEST_PART = 32;
const WORDS = /^[A-Z]?[a-z]{0,19}(?:-[A-Z]?[a-z]{0,19})+(?:\.[a-z]{1,5})?$/;
const MAX_PATH = 1024;

/** Returns a request's target as it may be recorded: the names of its query stay, their values do not. */
export function withoutSecrets(target: string): string {
  const [path = "", query] =
    target
      .slice(0, MAX_PATH)
      .split("#", 1)[0]
      ?.split(/\?(.*)/s) ?? [];
  const masked = path.split("/").map(maskedPart).join("/");
  if (query === undefined) return masked;
  const names = query.split("&").map((pair) => {
    const [name = "", value] = pair.split(/=(.*)/s);
    // Text without a sign may be a value.
    if (value === undefined) return "";
    return `${name.length >= LONGEST_PART ? MASK : name}=`;
  });
  return `${masked}?${names.filter((name) => name !== "").join("&")}`;
}

/** Its parameters, such as `;jsessionid=`, keep their names. */
function maskedPart(part: string): string {
  const [name = "", ...parameters] = part.split(/;|%3b/i);
  const isSecret = name.length >= LONGEST_PART && !WORDS.test(name);
  const names = parameters.flatMap((parameter) => {
    const [key = "", value] = parameter.split(/(?:=|%3d)(.*)/is);
    return value === undefined || key.length >= LONGEST_PART ? [] : [`;${key}=`];
  });
  return `${isSecret ? MASK : name}${names.join("")}`;
}

export function headLine(startedAt: number): string {
  return `${JSON.stringify({ ...HEAD, startedAt })}\n`;
}

export function recordedLine(recorded: Recorded): string {
  return `${JSON.stringify(recorded)}\n`;
}

/** What is sent again of a recording. */
export interface Replayed {
  entries: readonly { atMs: number; ask: Ask }[];
  /** From the first request to the last, and the mean pause. */
  lengthMs: number;
  /** Requests that cannot be sent again: they had a body, or their path was not recorded. */
  skipped: number;
}

/** Methods of requests without a body, which change nothing. */
const REPLAYED_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);
export const MAX_RECORDED = 1_000_000;

/** Reads a recording. @returns what is wrong with it, with the number of the line */
export function readRecording(text: string, host: string): Replayed | { problem: string } {
  const lines = text.split("\n");
  const head = parse(lines[0] ?? "") as Partial<typeof HEAD> | undefined;
  if (head?.paceline !== HEAD.paceline) return { problem: "is no recording of paceline record" };
  if (head.version !== HEAD.version) return { problem: "is a recording of another version of Paceline" };
  const entries: { atMs: number; ask: Ask }[] = [];
  let skipped = 0;
  for (const [at, line] of lines.entries()) {
    if (at === 0 || line === "") continue;
    const { atMs, method, path } = (parse(line) ?? {}) as Partial<Recorded>;
    // The last line may be cut off, as on a full disk.
    if (at === lines.length - 1 && atMs === undefined) break;
    if (!isTime(atMs) || typeof method !== "string" || typeof path !== "string")
      return { problem: `line ${at + 1} is no recorded request` };
    if (entries.length >= MAX_RECORDED) return { problem: `has more than ${MAX_RECORDED} requests` };
    if (!REPLAYED_METHODS.has(method) || !/^\/[!-~]*$/.test(path) || path.split(/[/?]/).includes(MASK)) skipped++;
    else entries.push({ atMs, ask: { method, path, host } });
  }
  if (entries.length === 0) return { problem: "has no GET, HEAD or OPTIONS request that can be sent again" };
  entries.sort((a, b) => a.atMs - b.atMs);
  const first = (entries[0] as { atMs: number }).atMs;
  const shifted = entries.map(({ atMs, ask }) => ({ atMs: atMs - first, ask }));
  const span = (shifted.at(-1) as { atMs: number }).atMs;
  return { entries: shifted, lengthMs: Math.max(1, span + span / shifted.length), skipped };
}

function isTime(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value < 1e10;
}

function parse(line: string): object | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
