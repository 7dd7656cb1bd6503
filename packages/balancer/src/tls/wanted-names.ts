/** Requested names without a certificate: the supervisor is asked once for each, and handshakes wait for its response. */

/** Beyond these, handshakes fail at once: clients choose the names. */
const MAX_NAMES = 64;
const MAX_WAITING = 512;

export class WantedNames {
  private readonly waiting = new Map<string, Set<() => void>>();
  private count = 0;

  /** @param ask asks the supervisor, after which `settle` is called if there will be no certificate */
  constructor(private readonly ask: (name: string) => void) {}

  /** Calls `resume` when it is known whether there is a certificate. Returns false if too many wait. */
  wait(name: string, resume: () => void): boolean {
    let waiting = this.waiting.get(name);
    if (this.count >= MAX_WAITING || (waiting === undefined && this.waiting.size >= MAX_NAMES)) return false;
    if (waiting === undefined) {
      waiting = new Set();
      this.waiting.set(name, waiting);
      this.ask(name);
    }
    waiting.add(resume);
    this.count++;
    return true;
  }

  /** The client has left, or its deadline has passed. */
  withdraw(name: string, resume: () => void): void {
    const waiting = this.waiting.get(name);
    if (waiting?.delete(resume) !== true) return;
    this.count--;
    if (waiting.size === 0) this.waiting.delete(name);
  }

  /** There is a certificate for the name, or there will be none. */
  settle(name: string): void {
    const waiting = this.waiting.get(name);
    if (waiting === undefined) return;
    this.waiting.delete(name);
    this.count -= waiting.size;
    for (const resume of waiting) resume();
  }

  /** A set of certificates is in use. */
  certified(has: (name: string) => boolean): void {
    for (const name of [...this.waiting.keys()]) if (has(name)) this.settle(name);
  }
}
