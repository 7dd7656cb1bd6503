/** Collects the requests that were lost at each upstream, for the report of its process's exit. It costs nothing without a loss. */
import type { LostRequest, LostRequests } from "@paceline/wire";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";

/** Requests that are lost within this time are reported together. */
const TOGETHER_MS = 50;
const MAX_REQUESTS = 32;
const MAX_UPSTREAMS = 1024;

/** The state of a request, derived from its loss; undefined if the loss does not show that a process has exited. */
const STATES: Record<UpstreamLoss, LostRequest["state"] | undefined> = {
  fatal: "running",
  bystander: "started",
  broken: "started",
  closed: "unknown",
  behindAbandoned: "unknown",
  notStarted: "notStarted",
  refused: undefined,
  staleConnection: undefined,
  stalled: undefined,
  behindStalled: undefined,
};

/** Whether the loss shows that a process or its connection failed, and not only that the request had to go elsewhere. */
export function concernsProcess(loss: UpstreamLoss): boolean {
  return STATES[loss] !== undefined;
}

export class Losses {
  private readonly byUpstream = new Map<string, LostRequests>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly report: (lost: LostRequests) => void) {}

  /** @param describe is called only for requests that are reported */
  add(upstream: string, loss: UpstreamLoss, describe: () => Omit<LostRequest, "state">): void {
    const state = STATES[loss];
    if (state === undefined) return;
    let lost = this.byUpstream.get(upstream);
    if (lost === undefined) {
      if (this.byUpstream.size >= MAX_UPSTREAMS) return;
      lost = { upstream, requests: [], omitted: 0 };
      this.byUpstream.set(upstream, lost);
      this.timer ??= setTimeout(() => this.flush(), TOGETHER_MS);
    }
    if (lost.requests.length < MAX_REQUESTS) lost.requests.push({ ...describe(), state });
    else lost.omitted++;
  }

  /** Reports the collected requests. */
  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const all = [...this.byUpstream.values()];
    this.byUpstream.clear();
    for (const lost of all) this.report(lost);
  }
}
