/** Waits for a condition on something observed; checks again after each change. */
export class Changes {
  private readonly listeners = new Set<() => void>();

  /** Called after a change: the conditions are checked again. */
  tell(): void {
    for (const listener of [...this.listeners]) listener();
  }

  /** Resolves once `holds`; rejects with `failure` at the timeout. */
  async until(holds: () => boolean, failure: () => string, timeoutMs = 60_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!holds()) {
      if (Date.now() > deadline) throw new Error(failure());
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          this.listeners.delete(done);
          resolve();
        };
        const timer = setTimeout(done, Math.max(1, deadline - Date.now()));
        this.listeners.add(done);
      });
    }
  }
}
