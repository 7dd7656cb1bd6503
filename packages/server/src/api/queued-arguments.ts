/** The arguments with which one function is queued, so that an equal one is found without looking at each of them. */
import { isDeepStrictEqual } from "node:util";
import { Fifo } from "@paceline/wire/fifo";
import { argumentDigest } from "./argument-digest.js";

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
