/** Lets a class of ours stand in for one of the platform's, whose members work on the platform's own objects alone. */

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
