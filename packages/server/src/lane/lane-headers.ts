/** The Headers of a request from the lane: a look-up reads the head's text; anything more makes the platform's own. */
import type { LaneRequestHead } from "./request-head.js";

const NativeHeaders = globalThis.Headers;

/** A name that the text can be searched for as it is; any other the platform judges. */
const PLAIN_NAME = /^[a-z0-9-]+$/;

const ownMethods = {
  get(this: LaneHeaders, name: string): string | null {
    const { made } = this;
    if (made !== undefined) return made.get(name);
    return isPlain(name) ? this.head.get(name) : this.native().get(name);
  },
  has(this: LaneHeaders, name: string): boolean {
    const { made } = this;
    if (made !== undefined) return made.has(name);
    return isPlain(name) ? this.head.get(name) !== null : this.native().has(name);
  },
};

function isPlain(name: unknown): name is string {
  // The platform joins cookies otherwise than fields, and each in its own way.
  return typeof name === "string" && PLAIN_NAME.test(name) && name !== "cookie";
}

/** Is a Headers to `instanceof` and to everything that iterates it. */
export class LaneHeaders {
  made: Headers | undefined = undefined;

  constructor(readonly head: LaneRequestHead) {}

  native(): Headers {
    this.made ??= new NativeHeaders(this.head.pairs());
    return this.made;
  }
}

/** Every other member of the platform's class works on the platform's own object. Called once, before the first is made. */
export function delegateHeaders(): void {
  const own = LaneHeaders.prototype as unknown as Record<PropertyKey, unknown>;
  for (const [key, descriptor] of ownDescriptors(NativeHeaders.prototype)) {
    if (key === "constructor") continue;
    const { get, value } = descriptor;
    if (get !== undefined) {
      Object.defineProperty(own, key, {
        configurable: true,
        get(this: LaneHeaders) {
          return get.call(this.native());
        },
      });
    } else if (typeof value === "function") {
      own[key] = function (this: LaneHeaders, ...args: unknown[]) {
        return value.apply(this.native(), args);
      };
    }
  }
  Object.assign(own, ownMethods);
  Object.setPrototypeOf(own, NativeHeaders.prototype);
}

export function ownDescriptors(prototype: object): [PropertyKey, PropertyDescriptor][] {
  return Reflect.ownKeys(prototype).map((key) => [
    key,
    Object.getOwnPropertyDescriptor(prototype, key) as PropertyDescriptor,
  ]);
}
