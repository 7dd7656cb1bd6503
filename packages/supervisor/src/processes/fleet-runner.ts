/** Holds the current fleet, applies events to it, and carries out the effects. */
import { EMPTY_FLEET, type Fleet } from "../core/fleet.js";
import { type FleetChange, type FleetContext, type FleetEffect, report } from "../core/fleet-changes.js";
import type { Report } from "../core/process.js";

export class FleetRunner {
  private present: Fleet = EMPTY_FLEET;
  private readonly queue: FleetEffect[] = [];
  private isPerforming = false;
  private readonly listeners = new Set<() => void>();
  /** The reports that arrive while the fleet is frozen. */
  private held: { pool: string; index: number; event: Report }[] | undefined;

  constructor(
    private readonly policyOf: FleetContext["policyOf"],
    private readonly perform: (effect: FleetEffect) => void,
  ) {}

  get fleet(): Fleet {
    return this.present;
  }

  /** Replaces the fleet by a value that needs no effects. */
  set(fleet: Fleet): void {
    this.change(() => ({ fleet, effects: [] }));
  }

  /** Changes the fleet, carries out the effects in order, and notifies the listeners. */
  change(by: (fleet: Fleet, context: FleetContext) => FleetChange): void {
    const context: FleetContext = { now: performance.now(), random: Math.random(), policyOf: this.policyOf };
    const { fleet, effects } = by(this.present, context);
    if (fleet === this.present && effects.length === 0) return;
    this.present = fleet;
    this.queue.push(...effects);
    // Effects of reports that arrive while effects are carried out come after the effects already decided.
    if (this.isPerforming) return;
    this.isPerforming = true;
    try {
      for (let effect = this.queue.shift(); effect !== undefined; effect = this.queue.shift()) this.perform(effect);
    } finally {
      this.isPerforming = false;
    }
    for (const listener of [...this.listeners]) listener();
  }

  /**
   * From now on the fleet does not change: either another supervisor takes over, or `thaw` continues with the reports that arrived in the
   * meantime.
   */
  freeze(): void {
    this.held ??= [];
  }

  thaw(): void {
    const { held = [] } = this;
    this.held = undefined;
    for (const { pool, index, event } of held) this.report(pool, index, event);
  }

  report(pool: string, index: number, event: Report): void {
    if (this.held !== undefined) {
      this.held.push({ pool, index, event });
      return;
    }
    this.change((fleet, context) => report(fleet, pool, index, event, context));
  }

  /** Calls `listener` after every change. Returns a function that removes the listener. */
  watch(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Calls `ask` now and after each change until it returns a value, and resolves with that value; with undefined after `timeoutMs`. */
  async until<T>(ask: (fleet: Fleet) => T | undefined, timeoutMs?: number): Promise<T | undefined> {
    const now = ask(this.present);
    if (now !== undefined) return now;
    let unwatch = () => {};
    const found = new Promise<T>((resolve) => {
      unwatch = this.watch(() => {
        const value = ask(this.present);
        if (value !== undefined) resolve(value);
      });
    });
    try {
      return await (timeoutMs === undefined ? found : within(found, timeoutMs));
    } finally {
      unwatch();
    }
  }
}

/** Resolves with the result of `promise`, or with `undefined` after `timeoutMs`. */
async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
