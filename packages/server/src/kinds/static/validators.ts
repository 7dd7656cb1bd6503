/** A file's ETag and Last-Modified (RFC 9110 §8.8), and a request's preconditions in the order of §13.2.2. Pure. */

/** The result of one `fstat`. */
export interface FileFacts {
  size: number;
  mtimeMs: number;
  ctimeMs: number;
  ino: number;
  dev: number;
}

interface Validators {
  /** With quotes, and `W/` in front if it is weak. */
  etag: string;
  isStrong: boolean;
  /** Whole seconds, as in HTTP. */
  lastModifiedMs: number;
  lastModified: string;
}

/** Most file systems use the kernel's clock, which ticks every 1 to 10 ms. */
const FINE_TICK_MS = 50;
/** Some file systems store times in whole seconds, or only even ones. */
const COARSE_TICK_MS = 2500;

/**
 * Returns a file's validators. The tag contains inode, size and ctime. Unlike mtime in whole seconds, which nginx uses, ctime changes with
 * every write and no program can set it. So equal tags mean equal bytes (§8.8.1), even in images whose files share one date. A second
 * change within one clock tick is invisible; so the tag is weak until a tick has passed. It is hashed to hide the inode.
 */
export function validatorsOf(facts: FileFacts, nowMs: number, coding = ""): Validators {
  const { size, mtimeMs, ctimeMs, ino } = facts;
  const isStrong = isSettled(facts, nowMs);
  const opaque = opaqueTag([ino, size, Math.round(ctimeMs * 1000)]);
  const lastModifiedMs = Math.floor(Math.min(mtimeMs, nowMs) / 1000) * 1000;
  return {
    etag: `${isStrong ? "" : "W/"}"${opaque}${coding === "" ? "" : `-${coding}`}"`,
    isStrong,
    lastModifiedMs,
    lastModified: new Date(lastModifiedMs).toUTCString(),
  };
}

/** Returns whether a further change would have another ctime. */
function isSettled({ ctimeMs }: FileFacts, nowMs: number): boolean {
  const tickMs = ctimeMs % 1000 === 0 ? COARSE_TICK_MS : FINE_TICK_MS;
  return nowMs - ctimeMs > tickMs;
}

/** Returns whether the bytes are the same, if the first facts were settled when they were read. */
export function isSameFile(before: FileFacts, now: FileFacts): boolean {
  return (
    before.ctimeMs === now.ctimeMs &&
    before.size === now.size &&
    before.ino === now.ino &&
    before.mtimeMs === now.mtimeMs &&
    before.dev === now.dev
  );
}

/** node:crypto would cost an instance 1 MB. This hash only hides an inode, and nobody can choose its input. */
const SEEDS = [0x9e3779b9, 0x85ebca6b, 0xc2b2ae35, 0x27d4eb2f] as const;
const ROUNDS = 4;
const TWO_32 = 2 ** 32;

/** Returns 28 letters and digits that hide the numbers; the same in every process. */
function opaqueTag(numbers: readonly number[]): string {
  let [a, b, c, d] = SEEDS as readonly number[] as [number, number, number, number];
  const mix = (word: number) => {
    a = mixed(a ^ word, 0x85ebca6b) + d;
    b = mixed(b ^ a, 0xc2b2ae35) + (word | 0);
    c = mixed(c ^ b, 0x27d4eb2f) + a;
    d = mixed(d ^ c, 0x165667b1) + b;
  };
  for (const number of numbers) {
    mix(number % TWO_32);
    mix(Math.floor(number / TWO_32));
  }
  for (let round = 0; round < ROUNDS; round++) mix(round);
  return [a, b, c, d].map((word) => (word >>> 0).toString(36).padStart(7, "0")).join("");
}

function mixed(word: number, factor: number): number {
  let mixed = Math.imul(word ^ (word >>> 16), factor);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae3d);
  return mixed ^ (mixed >>> 16);
}

/** Returns a field's value by its lower-case name. */
export type FieldReader = (name: string) => string | null | undefined;

type Verdict = "perform" | "notModified" | "failed";

/** Last-Modified is strong if it is this much older than the response's Date (§8.8.2.2). */
const STRONG_DATE_AGE_MS = 1000;

/** Evaluates the conditions of a GET or HEAD. */
export function evaluateConditions(field: FieldReader, { etag, lastModifiedMs }: Validators): Verdict {
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

/** Returns whether to follow Range: the client's part must come from the same content (§13.1.5). */
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

/** Returns whether a list of entity tags, or `*`, contains this tag. Anything after a syntax error is ignored. */
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

/** Parses the three forms of an HTTP date (§5.6.7) to milliseconds; undefined for anything else, which is ignored. */
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
