/** Decides whether a request that came to nothing at its upstream may be sent to another. */
import type { UpstreamLoss } from "../upstream-link/link.js";

export interface Attempted {
  /** Whether any of it was written to the upstream. */
  wasSent: boolean;
  /** RFC 9110 §9.2.2. */
  isIdempotent: boolean;
  /** Whether everything that the client has sent of its body is still held. */
  isBodyHeld: boolean;
}

/** Only if no byte of an answer came, and what was perhaps done once may be done twice. */
export function mayTryElsewhere(loss: UpstreamLoss, { wasSent, isIdempotent, isBodyHeld }: Attempted): boolean {
  switch (loss) {
    case "broken":
      return false;
    case "refused":
      return isBodyHeld;
    case "lost":
      return isBodyHeld && (isIdempotent || !wasSent);
  }
}
