/** Decides whether a request that came to nothing at its upstream may be sent to another. */
import type { UpstreamLoss } from "../upstream-link/link.js";

/**
 * How often a request is written to an upstream at the most. A request that kills whoever reads it must not take every
 * instance with it.
 */
export const MAX_SENDS = 3;

/**
 * How often a request is sent anew that provably never began. It kills nobody, but while instances keep dying it must not
 * wait without end.
 */
export const MAX_UNBEGUN_SENDS = 20;

export interface Attempted {
  /** How often the request was written to an upstream so far. */
  sends: number;
  /** Whether any of it was written to the upstream. */
  wasSent: boolean;
  /** RFC 9110 §9.2.2. */
  isIdempotent: boolean;
  /** Whether everything that the client has sent of its body is still held. */
  isBodyHeld: boolean;
}

/** Only if no byte of an answer came, and what was perhaps done once may be done twice. */
export function mayTryElsewhere(loss: UpstreamLoss, { sends, wasSent, isIdempotent, isBodyHeld }: Attempted): boolean {
  switch (loss) {
    case "broken":
      return false;
    case "refused":
      return isBodyHeld;
    case "unbegun":
      return isBodyHeld && sends < MAX_UNBEGUN_SENDS;
    case "stale":
      return isBodyHeld && isIdempotent && sends < MAX_UNBEGUN_SENDS;
    case "lost":
    case "stalled":
    case "freed":
      return isBodyHeld && (isIdempotent || !wasSent) && sends < MAX_SENDS;
  }
}
