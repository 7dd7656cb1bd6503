/** What can go wrong with an upstream: what the client is answered, and the line that is logged. */

export interface Fault {
  status: 400 | 501 | 502 | 503 | 504;
  /** For the log; the client is told nothing of the upstream. */
  reason: string;
}

/** The fault that an error of the connection to the upstream means. */
export function faultOf(error: NodeJS.ErrnoException): Fault {
  return { status: error.code === "ETIMEDOUT" ? 504 : 502, reason: error.message || String(error.code) };
}

/** An upstream that is down fails every request: of each reason one line a period says how many. */
const PERIOD_MS = 1000;
/** Reasons remembered at once; beyond them lines are left out until the period is over. */
const MAX_REASONS = 100;

export class FaultLog {
  private readonly counts = new Map<string, number>();
  private timer: NodeJS.Timeout | undefined;

  /** @param name of the upstream. */
  constructor(
    private readonly name: string,
    private readonly write: (line: string) => void = console.error,
  ) {}

  /** The query of a target stays out of the log: it may hold what nobody else is to know. */
  add(reason: string, method = "", target = ""): void {
    const count = this.counts.get(reason);
    if (count !== undefined) {
      this.counts.set(reason, count + 1);
      return;
    }
    if (this.counts.size >= MAX_REASONS) return;
    this.counts.set(reason, 0);
    this.write(`proxy ${this.name}: ${reason} (${method} ${target.split("?")[0]?.slice(0, 200)})`);
    this.timer ??= setTimeout(() => this.endPeriod(), PERIOD_MS).unref();
  }

  private endPeriod(): void {
    this.timer = undefined;
    for (const [reason, more] of this.counts)
      if (more > 0) this.write(`proxy ${this.name}: ${reason} (${more} more within ${PERIOD_MS} ms)`);
    this.counts.clear();
  }
}
