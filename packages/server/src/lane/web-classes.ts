/** Makes the platform's Request and fetch take a request from the lane, which is none of the platform's own objects. */

/** The method by which a lazy wrapper gives the platform's own object. */
export const NATIVE = Symbol("native");

let native: typeof Request | undefined;

/** The platform's own class. Not looked at before it is needed: on Node a look loads 5 MB, which a (req, res) app does without. */
export function nativeRequest(): typeof Request {
  native ??= globalThis.Request;
  return native;
}

function unwrapped(args: unknown[]): unknown[] {
  const [first] = args;
  if (typeof first === "object" && first !== null && NATIVE in first) args[0] = (first[NATIVE] as () => Request)();
  return args;
}

/** Called once, before the app is loaded. */
export function adoptRequests(): void {
  // A proxy keeps the prototype: `instanceof`, subclasses and statics are as they were.
  globalThis.Request = new Proxy(nativeRequest(), {
    construct: (target, args, newTarget) => Reflect.construct(target, unwrapped(args), newTarget),
  });
  globalThis.fetch = new Proxy(globalThis.fetch, {
    apply: (target, self, args) => Reflect.apply(target, self, unwrapped(args) as never),
  });
}
