/** What is noted of a running process for the report of its death. */
import type { LostRequest, LostRequests } from "@paceline/wire";
import type { GroupKill } from "../core/control-groups.js";
import { type DeathKind, MAX_REQUESTS } from "../core/deaths.js";
import type { Frame } from "../core/stacks.js";
import { ProcessHistory } from "../stats/history.js";

const MAX_LOST_MESSAGES = 16;
/** Balancers notice an end before or after we do, but not longer. */
export const TOGETHER_MS = 2000;

export class DeathNotes {
  /** Why we ended it; null if we did not. */
  killedAs: DeathKind | null = null;
  /** What its output says of the cause of its exit; empty if nothing. */
  said = "";
  /** How the kernel ended a process of its control group: null if it did not, undefined without such a group. */
  kernelKill: GroupKill | null | undefined;
  /** Whether it is being replaced because of its memory. */
  isOverMemory = false;
  /** Where its code was when we ended it, the innermost frame first. */
  stack: string[] = [];
  /** The function of the app in that stack, such as `total (app.js:12)`. */
  place: string | undefined;
  /** The stack that a dump has shown since it was last heard of: Node shows none twice while it is blocked. */
  dumped: Frame[] = [];
  /** The number of its report, until an event has named it. */
  report: number | null = null;
  readonly history = new ProcessHistory();
  private readonly losses: { at: number; requests: LostRequest[]; omitted: number }[] = [];

  /** Records requests that a balancer has lost at it. A connection may break while the process goes on. */
  lose({ requests, omitted }: LostRequests, at: number): void {
    this.losses.push({ at, requests: requests.slice(0, MAX_REQUESTS), omitted });
    if (this.losses.length > MAX_LOST_MESSAGES) this.losses.shift();
  }

  /** Returns the requests lost at its end, which is at most TOGETHER_MS ago. */
  lostAtEnd(now: number): { requests: LostRequest[]; requestsOmitted: number } {
    const together = this.losses.filter(({ at }) => now - at <= 2 * TOGETHER_MS);
    return {
      requests: together.flatMap(({ requests }) => requests),
      requestsOmitted: together.reduce((sum, { omitted }) => sum + omitted, 0),
    };
  }

  /** Returns ` (paceline deaths show 17)` for the first event after the death. */
  takeReportText(): string {
    const text = this.report === null ? "" : ` (paceline deaths show ${this.report})`;
    this.report = null;
    return text;
  }
}
