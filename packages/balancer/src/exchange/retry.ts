/** Decides whether a request that failed at its upstream may be sent to another. */

import type { Upstream } from "../upstreams/upstream.js";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";
import { requestPattern } from "./poison.js";
import type { Relay } from "./relay.js";

/**
 * The maximum number of upstreams at which a request may start. The request may have crashed the first one, and must not crash every
 * instance.
 */
const MAX_STARTS = 2;

/**
 * How often a request is sent again if it provably never started. Sending it again is harmless, but the request must not wait forever while
 * instances keep crashing.
 */
export const MAX_SENDS = 20;

interface Attempted {
  /** How often the request was sent to an upstream so far. */
  sends: number;
  /** At how many upstreams the request may have started, including this one. */
  starts: number;
  /** Whether any of it was sent to the upstream. */
  wasSent: boolean;
  /** As defined in RFC 9110 §9.2.2. */
  isIdempotent: boolean;
  /** Whether all bytes that the client has sent of the request's body are still kept. */
  isBodyBuffered: boolean;
  /** Whether similar requests have crashed more than one process recently. */
  isPoison: boolean;
}

/**
 * Returns whether the request may go to another upstream: only if no byte of a response arrived, and running it twice would be harmless.
 */
export function mayTryElsewhere(loss: UpstreamLoss, attempted: Attempted): boolean {
  const { sends, starts, wasSent, isIdempotent, isBodyBuffered, isPoison } = attempted;
  if (!isBodyBuffered) return false;
  switch (loss) {
    case "broken":
      return false;
    case "refused":
      return true;
    case "notStarted":
    case "behindStalled":
      return sends < MAX_SENDS;
    case "closed":
    case "fatal":
    case "bystander":
    case "behindAbandoned":
    case "stalled":
    case "staleConnection":
      return !wasSent || (mayStartAgain(isIdempotent, starts) && !isPoison);
  }
}

/**
 * Whether a request that may have started may start at another upstream.
 * @param starts at how many upstreams it may have started
 */
export function mayStartAgain(isIdempotent: boolean, starts: number): boolean {
  return isIdempotent && starts < MAX_STARTS;
}

/** Whether the request may have started at the upstream, if it was sent there. */
export function mayHaveStarted(loss: UpstreamLoss): boolean {
  switch (loss) {
    case "refused":
    case "notStarted":
    case "behindStalled":
      return false;
    case "broken":
    case "closed":
    case "fatal":
    case "bystander":
    case "behindAbandoned":
    case "stalled":
    case "staleConnection":
      return true;
  }
}

/** Whether similar requests have crashed more than one process recently. */
export function isPoison({ poison, deadlines }: Relay, pool: string, described: string): boolean {
  return poison.has(pool, requestPattern(described), deadlines.now);
}

/** Counts the upstreams where one request was lost after it may have started, and records requests that crash their processes. */
export class LostStarts {
  /** The number of upstreams. */
  count = 0;
  /** The last process that exited while it ran this request, and may have crashed because of it. */
  private endedProcess: string | undefined;

  constructor(private readonly relay: Relay) {}

  /**
   * Records another loss.
   * @param isOnlyLoss whether no other request was lost there
   * @param described the request, such as `GET /users/17`
   */
  note(loss: UpstreamLoss, upstream: Upstream, isOnlyLoss: boolean, pool: string, described: string): void {
    this.count++;
    if (loss === "bystander" || loss === "behindAbandoned" || loss === "stalled" || loss === "broken") return;
    const { poison, deadlines } = this.relay;
    // A draining process exits at its deadline, whatever it is still running.
    if (upstream.isDraining(deadlines.now) && loss !== "fatal") return;
    const { endedProcess } = this;
    this.endedProcess = upstream.id;
    // A canary's release is rolled back. A request that crashes it may be harmless to the version in service.
    if (upstream.isCanary) return;
    // A server that closes idle connections may lose a request by chance. Only a second loss is evidence.
    if (loss === "staleConnection" && endedProcess === undefined) return;
    const isSure = loss === "fatal" || isOnlyLoss || endedProcess !== undefined;
    // If several requests were lost together, only one of them was the cause. That is a request that is lost again, or that is already
    // known.
    if (!isSure && !isPoison(this.relay, pool, described)) return;
    const request = requestPattern(described);
    if (endedProcess !== undefined) poison.record(pool, request, endedProcess, deadlines.now);
    poison.record(pool, request, upstream.id, deadlines.now);
  }
}
