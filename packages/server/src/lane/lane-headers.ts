/** The Headers of a request from the lane: a look-up reads the head's text; anything more makes the platform's own. */

import type { LaneRequestHead } from "@paceline/wire/lane/request-head";
import { lazyWrapper } from "./lazy-wrapper.js";

const NativeHeaders = globalThis.Headers;

/** A name that the text can be searched for as it is; any other the platform judges. */
const PLAIN_NAME = /^[a-z0-9-]+$/;

function isPlain(name: unknown): name is string {
  // The platform joins cookies otherwise than fields, and each in its own way.
  return typeof name === "string" && PLAIN_NAME.test(name) && name !== "cookie";
}

/** Is a Headers to `instanceof` and to everything that iterates it. */
export class LaneHeaders {
  private made: Headers | undefined = undefined;

  constructor(private readonly head: LaneRequestHead) {}

  get(name: string): string | null {
    if (this.made === undefined && isPlain(name)) return this.head.get(name);
    return this.native().get(name);
  }

  has(name: string): boolean {
    if (this.made === undefined && isPlain(name)) return this.head.get(name) !== null;
    return this.native().has(name);
  }

  /** The platform's own object; from then on it is the headers. */
  native(): Headers {
    this.made ??= new NativeHeaders(this.head.pairs());
    return this.made;
  }

  /** Called once, before the first is made. */
  static setUp(): void {
    lazyWrapper(LaneHeaders.prototype, NativeHeaders.prototype, (self) => self.native());
    Object.assign(LaneHeaders.prototype, { constructor: NativeHeaders });
  }
}
