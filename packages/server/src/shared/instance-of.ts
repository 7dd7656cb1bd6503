/** Makes a class that stands in the place of the platform's own take that one's objects for its own. */

type Class = abstract new (...args: never[]) => unknown;

/** `x instanceof ours` is what `x instanceof native` is; classes that extend ours judge for themselves. */
export function acceptAll(ours: Class, native: Class): void {
  Object.defineProperty(ours, Symbol.hasInstance, {
    configurable: true,
    value(this: Class, value: unknown): boolean {
      return Function.prototype[Symbol.hasInstance].call(this === ours ? native : this, value);
    },
  });
}
