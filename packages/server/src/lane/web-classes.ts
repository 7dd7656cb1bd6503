/** Lets requests of the lane, which are none of the platform's own objects, pass for the platform's Request. */

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

/**
 * Gives `own` every member of `native` that it has not got itself; each works on the platform's object that `nativeOf`
 * makes for it. `own` inherits from `native`, so that `instanceof` holds. Called once, before the first is made.
 */
export function lazyWrapper<Own extends object>(own: Own, native: object, nativeOf: (self: Own) => unknown): void {
  for (const key of Reflect.ownKeys(native)) {
    if (Object.hasOwn(own, key)) continue;
    const { get, value } = Object.getOwnPropertyDescriptor(native, key) as PropertyDescriptor;
    if (get !== undefined) {
      Object.defineProperty(own, key, {
        configurable: true,
        get(this: Own) {
          return get.call(nativeOf(this));
        },
      });
    } else if (typeof value === "function") {
      Object.defineProperty(own, key, {
        configurable: true,
        writable: true,
        value(this: Own, ...args: unknown[]) {
          return value.apply(nativeOf(this), args);
        },
      });
    }
  }
  Object.setPrototypeOf(own, native);
}
