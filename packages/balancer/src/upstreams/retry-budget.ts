/**
 * Limits how many requests that may have started are sent again: a share of a pool's requests, and a number that is always allowed. So
 * failing instances do not get twice their load. Pure.
 */
import type { RetryBudgetRule } from "@paceline/wire";

/** Unused budget is kept for about this time, in seconds. */
const WINDOW_S = 10;

export class RetryBudget {
  private rule: RetryBudgetRule | undefined;
  private tokens = 0;
  /** The requests of the last WINDOW_S seconds, as a decaying sum. */
  private recent = 0;
  private refused = 0;

  /** @param rule undefined: there is no limit */
  follow(rule: RetryBudgetRule | undefined): void {
    const isNew = this.rule === undefined;
    this.rule = rule;
    this.tokens = isNew ? this.most : Math.min(this.tokens, this.most);
  }

  private get most(): number {
    const { percent = 0, minPerSecond = 0 } = this.rule ?? {};
    return WINDOW_S * minPerSecond + (this.recent * percent) / 100;
  }

  /** @param requests how many were sent to the pool in these `seconds` */
  earn(requests: number, seconds: number): void {
    if (this.rule === undefined) return;
    const { percent, minPerSecond } = this.rule;
    this.recent = this.recent * Math.exp(-seconds / WINDOW_S) + requests;
    this.tokens = Math.min(this.most, this.tokens + (requests * percent) / 100 + seconds * minPerSecond);
  }

  /** Whether a request may be sent again. */
  get isLeft(): boolean {
    return this.rule === undefined || this.tokens >= 1;
  }

  /** Takes one request from the budget. Returns false if the budget is spent. */
  take(): boolean {
    const { isLeft } = this;
    if (isLeft) this.tokens--;
    else this.refused++;
    return isLeft;
  }

  /** Returns the number of requests since the last call that were refused by the budget. */
  takeRefused(): number {
    const { refused } = this;
    this.refused = 0;
    return refused;
  }
}
