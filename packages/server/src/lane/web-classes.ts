/** Makes the platform's Request and fetch take a request from the lane, which is none of the platform's own objects. */
import { LaneRequest, NativeRequest } from "./lane-request.js";

function unwrapped(args: unknown[]): unknown[] {
  if (args[0] instanceof LaneRequest) args[0] = args[0].native();
  return args;
}

/** Called once, before the app is loaded. */
export function adoptRequests(): void {
  const NativeFetch = globalThis.fetch;
  // A proxy keeps the prototype: `instanceof`, subclasses and statics are as they were.
  const request = new Proxy(NativeRequest, {
    construct: (target, args, newTarget) => Reflect.construct(target, unwrapped(args), newTarget),
  });
  globalThis.Request = request;
  globalThis.fetch = new Proxy(NativeFetch, {
    apply: (target, self, args) => Reflect.apply(target, self, unwrapped(args) as never),
  });
  Object.defineProperty(LaneRequest.prototype, "constructor", { value: request, configurable: true, writable: true });
}
