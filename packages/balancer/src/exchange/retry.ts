/** Decides whether a request that came to nothing at its upstream may be sent to another. */

import type { Upstream } from "../upstreams/upstream.js";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";
import { requestPattern } from "./poison.js";
import type { Relay } from "./relay.js";

/**
 * To how many upstreams a request goes at the most that may have started at each. It may be what ended the first: it must not
 * take every instance with it.
 */
const MAX_STARTS = 2;

/**
 * How often a request is sent anew that provably never started. It ends nobody, but while instances keep dying it must not
 * wait without end.
 */
export const MAX_SENDS = 20;

interface Attempted {
  /** How often the request was written to an upstream so far. */
  sends: number;
  /** At how many upstreams it may have started, this one included. */
  starts: number;
  /** Whether any of it was written to the upstream. */
  wasSent: boolean;
  /** RFC 9110 §9.2.2. */
  isIdempotent: boolean;
  /** Whether everything that the client has sent of its body is still held. */
  isBodyBuffered: boolean;
  /** Whether requests like it have ended more than one process lately. */
  isPoison: boolean;
}

/** Only if no byte of a response came, and what was perhaps done once may be done twice. */
export function mayTryElsewhere(loss: UpstreamLoss, attempted: Attempted): boolean {
  const { sends, starts, wasSent, isIdempotent, isBodyBuffered, isPoison } = attempted;
  if (!isBodyBuffered) return false;
  switch (loss) {
    case "broken":
      return false;
    case "refused":
      return true;
    case "notStarted":
    case "freed":
      return sends < MAX_SENDS;
    case "lost":
    case "fatal":
    case "bystander":
    case "stalled":
    case "stale":
      return !wasSent || (isIdempotent && starts < MAX_STARTS && !isPoison);
  }
}

/** Whether it may have started at the upstream, if it was sent there. */
export function mayHaveStarted(loss: UpstreamLoss): boolean {
  switch (loss) {
    case "refused":
    case "notStarted":
    case "freed":
      return false;
    case "broken":
    case "lost":
    case "fatal":
    case "bystander":
    case "stalled":
    case "stale":
      return true;
  }
}

/** Where one request was lost after it may have started there; keeps the book of those that end their processes. */
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
