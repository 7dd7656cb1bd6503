/** The queued arguments of one function. Finds an equal one by digest, without comparing all. */
import { isDeepStrictEqual, types } from "node:util";
import { Fifo } from "@paceline/wire/fifo";

/** Represents -0, which a Map treats as 0 and `isDeepStrictEqual` does not. */
const NEGATIVE_ZERO = Symbol("-0");

/** A first-in, first-out set. */
export class QueuedArguments {
  private count = 0;
  /** The number of times that each occurs. */
  private readonly primitives = new Map<unknown, number>();
  /** Objects without a digest yet; it is computed on the first search. */
  private readonly unread = new Fifo<object>();
  /** The other objects, all older, by digest. */
  private readonly byDigest = new Map<number, Fifo<object>>();
  /** The digests of the objects in `byDigest`, in order. They are stored because the objects may have changed since. */
  private readonly digests = new Fifo<number>();

  get size(): number {
    return this.count;
  }

  add(argument: unknown): void {
    this.count++;
    if (isObject(argument)) {
      this.unread.push(argument);
      return;
    }
    const key = keyOf(argument);
    this.primitives.set(key, (this.primitives.get(key) ?? 0) + 1);
  }

  /** Returns whether a deeply equal argument is queued. */
  has(argument: unknown): boolean {
    if (!isObject(argument)) return this.primitives.has(keyOf(argument));
    this.readAll();
    for (const queued of this.byDigest.get(argumentDigest(argument)) ?? []) {
      if (isDeepStrictEqual(queued, argument)) return true;
    }
    return false;
  }

  /** Removes the oldest, which is `argument`. */
  removeOldest(argument: unknown): void {
    this.count--;
    if (isObject(argument)) {
      this.removeOldestObject();
      return;
    }
    const key = keyOf(argument);
    const left = (this.primitives.get(key) ?? 0) - 1;
    if (left > 0) this.primitives.set(key, left);
    else this.primitives.delete(key);
  }

  private removeOldestObject(): void {
    const digest = this.digests.shift();
    if (digest === undefined) {
      this.unread.shift();
      return;
    }
    const alike = this.byDigest.get(digest);
    alike?.shift();
    if (alike?.length === 0) this.byDigest.delete(digest);
  }

  private readAll(): void {
    for (let argument = this.unread.shift(); argument !== undefined; argument = this.unread.shift()) {
      const digest = argumentDigest(argument);
      const alike = this.byDigest.get(digest);
      if (alike === undefined) this.byDigest.set(digest, Fifo.of(argument));
      else alike.push(argument);
      this.digests.push(digest);
    }
  }
}

/** Functions equal only themselves, like primitives. */
function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function keyOf(primitive: unknown): unknown {
  return Object.is(primitive, -0) ? NEGATIVE_ZERO : primitive;
}

/** The maximum number of values read per argument. Arguments that differ only beyond it share a digest and have to be compared. */
const MAX_VALUES = 64;
/** The number of characters or bytes read at each end. */
const MAX_ENDS = 32;
/** If there are more keys than this, only their number is used: reading some of them would require sorting all. */
const MAX_KEYS = 1000;

let valuesLeft = 0;

/** Values that are equal for `isDeepStrictEqual` have the same digest. So anything without a fixed order is read in a canonical order. */
export function argumentDigest(argument: object): number {
  valuesLeft = MAX_VALUES;
  return digest(argument);
}

function digest(value: unknown): number {
  if (valuesLeft-- <= 0) return 0;
  if (typeof value !== "object" || value === null) return primitiveDigest(value);
  if (Array.isArray(value)) return arrayDigest(value);
  if (types.isMap(value)) return mapDigest(value);
  if (types.isSet(value)) return setDigest(value);
  if (types.isDate(value)) return textDigest(String(value.getTime()));
  if (types.isUint8Array(value)) return bytesDigest(value);
  if (ArrayBuffer.isView(value)) return value.byteLength;
  return objectDigest(value as Record<string, unknown>);
}

function primitiveDigest(value: unknown): number {
  switch (typeof value) {
    case "string":
      return textDigest(value);
    case "function":
    case "symbol":
    case "object":
      return 1;
    default:
      return textDigest(String(value));
  }
}

function arrayDigest(values: readonly unknown[]): number {
  let result = values.length;
  for (let at = 0; at < values.length && valuesLeft > 0; at++) result = mix(result, digest(values[at]));
  return result;
}

function objectDigest(value: Record<string, unknown>): number {
  const keys = Object.keys(value);
  let result = keys.length;
  if (keys.length > MAX_KEYS) return result;
  for (const key of keys.sort()) {
    if (valuesLeft <= 0) break;
    result = mix(mix(result, textDigest(key)), digest(value[key]));
  }
  return result;
}

/** A sum does not depend on the order of entries. Skips objects, because they would use the shared budget. */
function mapDigest(map: ReadonlyMap<unknown, unknown>): number {
  let result = map.size;
  if (map.size > MAX_VALUES) return result;
  for (const [key, value] of map) result = (result + mix(elementDigest(key), elementDigest(value))) | 0;
  return result;
}

function setDigest(set: ReadonlySet<unknown>): number {
  let result = set.size;
  if (set.size > MAX_VALUES) return result;
  for (const value of set) result = (result + elementDigest(value)) | 0;
  return result;
}

function elementDigest(value: unknown): number {
  return typeof value === "object" ? 1 : primitiveDigest(value);
}

function textDigest(text: string): number {
  let result = text.length;
  const fromEnd = Math.max(MAX_ENDS, text.length - MAX_ENDS);
  for (let at = 0; at < text.length && at < MAX_ENDS; at++) result = mix(result, text.charCodeAt(at));
  for (let at = fromEnd; at < text.length; at++) result = mix(result, text.charCodeAt(at));
  return result;
}

function bytesDigest(bytes: Uint8Array): number {
  let result = bytes.length;
  const fromEnd = Math.max(MAX_ENDS, bytes.length - MAX_ENDS);
  for (let at = 0; at < bytes.length && at < MAX_ENDS; at++) result = mix(result, bytes[at] as number);
  for (let at = fromEnd; at < bytes.length; at++) result = mix(result, bytes[at] as number);
  return result;
}

function mix(a: number, b: number): number {
  return Math.imul(a ^ b, 16_777_619) ^ (a >>> 15);
}
