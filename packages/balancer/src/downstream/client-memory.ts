/** What is held in memory for one client: what it has not read, and what it sent ahead. All clients together have a bound. */
import type { BufferBudget } from "../exchange/buffer-budget.js";
import type { Connection } from "../transport/transport.js";
import type { Input } from "./input.js";

export class ClientMemory {
  /** Counted in the budget for what waits for the client. */
  private waitingBytes = 0;
  /** The same for what it sent ahead. */
  private aheadBytes = 0;

  constructor(
    private readonly budget: BufferBudget,
    private readonly connection: Connection,
    private readonly input: Input,
    /** Reads come whole: what one brings ahead up to this is not counted. */
    private readonly freeBytes: number,
  ) {}

  /** Whether what it sent ahead is to be counted anew after a read. */
  get isAheadCounted(): boolean {
    return this.aheadBytes > 0 || this.waitingBytes > 0 || this.input.heldBytes > this.freeBytes;
  }

  get hasAhead(): boolean {
    return this.aheadBytes > 0;
  }

  /** False: there is not so much left. */
  countAhead(): boolean {
    // Whoever does not read either has nothing free.
    const ahead = Math.max(0, this.input.heldBytes - (this.waitingBytes > 0 ? 0 : this.freeBytes));
    const more = ahead - this.aheadBytes;
    if (more > 0 && !this.budget.take(more)) return false;
    if (more < 0) this.budget.give(-more);
    this.aheadBytes = ahead;
    return true;
  }

  /** False: there is not so much left. */
  countWaiting(): boolean {
    const more = this.connection.waitingBytes - this.waitingBytes;
    if (more > 0 && !this.budget.take(more)) return false;
    this.waitingBytes += Math.max(0, more);
    return true;
  }

  /** The client has read what waited. */
  giveBackWaiting(): void {
    if (this.waitingBytes > 0) this.budget.give(this.waitingBytes);
    this.waitingBytes = 0;
  }
}
