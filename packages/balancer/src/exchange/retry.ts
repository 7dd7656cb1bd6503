/** Decides whether a request that came to nothing at its upstream may be sent to another. */
import type { UpstreamLoss } from "../upstreams/upstream-client.js";

/**
 * To how many upstreams a request goes at the most that may have started at each. It may be what ended the first: it must not
 * take every instance with it.
 */
export const MAX_STARTS = 2;

/**
 * How often a request is sent anew that provably never started. It ends nobody, but while instances keep dying it must not
 * wait without end.
 */
export const MAX_SENDS = 20;

export interface Attempted {
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
