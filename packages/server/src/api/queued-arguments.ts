/** The arguments with which one function is queued, so that an equal one is found without looking at each of them: most that differ have another digest. */
import { isDeepStrictEqual, types } from "node:util";
import { Fifo } from "@paceline/wire/fifo";

/** Stands for -0, which a Map takes for 0 and `isDeepStrictEqual` does not. */
const NEGATIVE_ZERO = Symbol("-0");

/** They leave in the order in which they came. */
export class QueuedArguments {
  private count = 0;
  /** How often each is queued. */
  private readonly primitives = new Map<unknown, number>();
  /** Those that nobody asked about: an argument is not looked into before it has to be. */
  private readonly unread = new Fifo<object>();
  /** The rest of the objects, all older than those, by digest. */
  private readonly byDigest = new Map<number, Fifo<object>>();
  /** The digests of the objects in `byDigest`, in the order in which those came: they may have been changed since. */
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

  /** Whether one is queued that is deeply equal to this one. */
  has(argument: unknown): boolean {
    if (!isObject(argument)) return this.primitives.has(keyOf(argument));
    this.readAll();
    for (const queued of this.byDigest.get(argumentDigest(argument)) ?? []) {
      if (isDeepStrictEqual(queued, argument)) return true;
    }
    return false;
  }

  /** Takes out the oldest, which is `argument`. */
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

/** Functions are equal only to themselves, as primitives are. */
function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function keyOf(primitive: unknown): unknown {
  return Object.is(primitive, -0) ? NEGATIVE_ZERO : primitive;
}

/** So many values of an argument are read; what differs further in only costs a comparison. */
const MAX_VALUES = 64;
/** Of texts and bytes so many are read at each end. */
const MAX_ENDS = 32;
/** An object with more keys is told by their number alone: to read some of them all would have to be sorted. */
const MAX_KEYS = 1000;

let valuesLeft = 0;

/**
 * Two values that `isDeepStrictEqual` holds for equal have the same digest. What may lie in another order in the one than in
 * the other is therefore read in an order of its own.
 */
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

/** Entries may lie in any order: a sum does not mind. Objects in them are left out, since reading them would spend from the one budget. */
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
