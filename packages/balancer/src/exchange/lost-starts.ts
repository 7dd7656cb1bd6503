/** Where one request was lost after it may have started there; keeps the book of those that end their processes. */
import type { Upstream } from "../upstreams/upstream.js";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";
import { requestPattern } from "./poison.js";
import type { Relay } from "./relay.js";

export class LostStarts {
  /** At how many upstreams. */
  count = 0;
  /** The process that ended with it last, if it may be what ended it. */
  private endedProcess: string | undefined;

  constructor(private readonly relay: Relay) {}

  reset(): void {
    this.count = 0;
    this.endedProcess = undefined;
  }

  /** Whether requests like it have ended more than one process lately. */
  isPoison(pool: string, described: string): boolean {
    const { poison, deadlines } = this.relay;
    return poison.has(pool, requestPattern(described), deadlines.now);
  }

  /**
   * It was lost at one more.
   * @param isOnlyLoss no other request was lost there
   * @param described the request, such as `GET /users/17`
   */
  note(loss: UpstreamLoss, upstream: Upstream, isOnlyLoss: boolean, pool: string, described: string): void {
    this.count++;
    if (loss === "bystander" || loss === "stalled" || loss === "broken") return;
    const { poison, deadlines } = this.relay;
    // One that drains ends at its deadline, whatever it still runs.
    if (upstream.isDraining(deadlines.now) && loss !== "fatal") return;
    const { endedProcess } = this;
    this.endedProcess = upstream.id;
    // A server that closes idle connections loses a request on one now and then; only the second loss is no chance.
    if (loss === "stale" && endedProcess === undefined) return;
    const isSure = loss === "fatal" || isOnlyLoss || endedProcess !== undefined;
    // Of several that were lost together one did it: the one that does it again, or is known to.
    if (!isSure && !this.isPoison(pool, described)) return;
    const request = requestPattern(described);
    if (endedProcess !== undefined) poison.record(pool, request, endedProcess, deadlines.now);
    poison.record(pool, request, upstream.id, deadlines.now);
  }
}
