/** Makes the lane's requests usable as the platform's Request. */

/** The method of a lazy wrapper that returns the platform's object. */
export const NATIVE = Symbol("native");

/** The method that console.log calls. */
export const INSPECT = Symbol.for("nodejs.util.inspect.custom");

let native: typeof Request | undefined;

/** Returns the platform's own class, lazily: on Node the first access loads 5 MB, which a (req, res) app does not need. */
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
  // A proxy keeps the prototype, so `instanceof`, subclasses and statics still work.
  globalThis.Request = new Proxy(nativeRequest(), {
    construct: (target, args, newTarget) => Reflect.construct(target, unwrapped(args), newTarget),
  });
  globalThis.fetch = new Proxy(globalThis.fetch, {
    apply: (target, self, args) => Reflect.apply(target, self, unwrapped(args) as never),
  });
}

/**
 * Gives `own` every member of `native` that it lacks; each works on the platform's object from `nativeOf`. `own` inherits from
 * `native`, so that `instanceof` holds. Called once, before the first instance.
 */
export function lazyWrapper<Own extends object>(own: Own, native: object, nativeOf: (self: Own) => unknown): void {
  for (const key of Reflect.ownKeys(native)) {
    const { get, value, enumerable = false } = Object.getOwnPropertyDescriptor(native, key) as PropertyDescriptor;
    if (Object.hasOwn(own, key)) {
      Object.defineProperty(own, key, { enumerable });
      continue;
    }
    if (get !== undefined) {
      Object.defineProperty(own, key, {
        configurable: true,
        enumerable,
        get(this: Own) {
          return get.call(nativeOf(this));
        },
      });
    } else if (typeof value === "function") {
      Object.defineProperty(own, key, {
        configurable: true,
        enumerable,
        writable: true,
        value(this: Own, ...args: unknown[]) {
          return value.apply(nativeOf(this), args);
        },
      });
    }
  }
  Object.setPrototypeOf(own, native);
}
