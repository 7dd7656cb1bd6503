/** The preconditions of a request for a file (RFC 9110 §13), in the order of §13.2.2. Pure. */
import type { Validators } from "./validators.js";

/** A field's value by its lower-case name. */
export type FieldReader = (name: string) => string | null | undefined;

export type Verdict = "perform" | "notModified" | "failed";

/** Last-Modified is strong once it is this much older than the response's Date (§8.8.2.2). */
const STRONG_DATE_AGE_MS = 1000;

/** For GET and HEAD. */
export function judgeConditions(field: FieldReader, { etag, lastModifiedMs }: Validators): Verdict {
  const ifMatch = field("if-match");
  if (isGiven(ifMatch)) {
    if (!matches(ifMatch, etag, false)) return "failed";
  } else {
    const since = dateOf(field("if-unmodified-since"));
    if (since !== undefined && lastModifiedMs > since) return "failed";
  }
  const ifNoneMatch = field("if-none-match");
  if (isGiven(ifNoneMatch)) return matches(ifNoneMatch, etag, true) ? "notModified" : "perform";
  const since = dateOf(field("if-modified-since"));
  return since !== undefined && lastModifiedMs <= since ? "notModified" : "perform";
}

/** Whether a Range may be taken: what the client has a part of is what the rest would be of (§13.1.5). */
export function isRangeWanted(field: FieldReader, validators: Validators, nowMs: number): boolean {
  const ifRange = field("if-range");
  if (!isGiven(ifRange)) return true;
  if (ifRange.includes('"')) return !ifRange.startsWith("W/") && ifRange.trim() === validators.etag;
  const isStrongDate = nowMs - validators.lastModifiedMs >= STRONG_DATE_AGE_MS;
  return isStrongDate && dateOf(ifRange) === validators.lastModifiedMs;
}

function isGiven(value: string | null | undefined): value is string {
  return value !== null && value !== undefined;
}

const TAG = /\s*(?:,\s*)*((?:W\/)?"[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)/y;

/** Whether a list of entity tags, or `*`, has this one; what stands behind a fault in the list is not read. */
function matches(list: string, etag: string, isWeak: boolean): boolean {
  if (list.trim() === "*") return true;
  if (!isWeak && etag.startsWith("W/")) return false;
  TAG.lastIndex = 0;
  for (let found = TAG.exec(list); found !== null; found = TAG.exec(list)) {
    const tag = found[1] as string;
    if (isWeak ? opaqueOf(tag) === opaqueOf(etag) : tag === etag) return true;
  }
  return false;
}

function opaqueOf(tag: string): string {
  return tag.startsWith("W/") ? tag.slice(2) : tag;
}

const IMF_FIXDATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;
const RFC_850 = /^[A-Z][a-z]{5,8}, (\d{2})-([A-Z][a-z]{2})-(\d{2}) (\d{2}:\d{2}:\d{2}) GMT$/;
const ASCTIME = /^[A-Z][a-z]{2} ([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d{2}:\d{2}:\d{2}) (\d{4})$/;

/** The three forms of an HTTP date (§5.6.7), in milliseconds; undefined for anything else, which is ignored. */
export function dateOf(value: string | null | undefined): number | undefined {
  if (!isGiven(value)) return undefined;
  const text = value.trim();
  if (IMF_FIXDATE.test(text)) return parsed(text);
  const old = RFC_850.exec(text);
  if (old !== null) {
    const [, day, month, short, time] = old;
    const year = Number(short) + (Number(short) < 70 ? 2000 : 1900);
    return parsed(`${day} ${month} ${year} ${time} GMT`);
  }
  const asctime = ASCTIME.exec(text);
  if (asctime === null) return undefined;
  const [, month, day, time, year] = asctime;
  return parsed(`${day} ${month} ${year} ${time} GMT`);
}

function parsed(text: string): number | undefined {
  const time = Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
}
