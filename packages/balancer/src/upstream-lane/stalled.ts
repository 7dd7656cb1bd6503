/** Decides which requests of a stalled instance are reassigned, and how an ended one's requests were lost. Pure. */
import type { RunningWork } from "@paceline/wire/lane/scoreboard";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";

/** A request that was sent and for which no frame has arrived. */
interface UnansweredRequest {
  /** Its number among the requests of its lane. */
  readonly sequence: number;
  /** Whether STARTED is sent before its handler is called. */
  readonly isAnnounced: boolean;
}

type Decision =
  /** It is, or may be, the running request, which would stall the next instance, too. */
  | "stays"
  /** It is reassigned; the instance is running another request. */
  | "freed"
  /** It is reassigned, but may be the running request. */
  | "uncertain";

/**
 * Returns the decision for each request.
 *
 * @param unanswered in the order in which they were sent
 * @param work the instance's scoreboard; undefined if there is none
 * @param isAtWorkSaid whether the running request is known, and is none of these
 */
export function decideOnStalled(
  unanswered: readonly UnansweredRequest[],
  work: RunningWork | undefined,
  isAtWorkSaid: boolean,
): Decision[] {
  switch (work?.on) {
    case "ours":
      return unanswered.map(({ sequence }) => (sequence >>> 0 === work.request ? "stays" : "freed"));
    case "another":
      return unanswered.map(() => "freed");
    case "none":
      // Requests whose handler was called have started; they may continue after a promise, or respond at the end of the turn.
      return unanswered.map(({ sequence }) => (isUpTo(sequence, work.started) ? "stays" : "freed"));
    case undefined: {
      // The oldest one is called first.
      const atWork = isAtWorkSaid ? undefined : unanswered.find(({ isAnnounced }) => !isAnnounced);
      return unanswered.map((request) => (request === atWork ? "stays" : "uncertain"));
    }
  }
}

/** Compares sequence numbers that wrap around at 32 bits. */
function isUpTo(sequence: number, last: number): boolean {
  return ((last - sequence) | 0) >= 0;
}

/** A request of an ended instance. */
interface EndedRequest extends UnansweredRequest {
  /** Whether STARTED has arrived. */
  readonly hasStarted: boolean;
}

/** Returns how the end of its instance affects a request; `work` is the instance's last scoreboard. */
export function lossAtEnd(
  { sequence, isAnnounced, hasStarted }: EndedRequest,
  work: RunningWork | undefined,
): UpstreamLoss {
  // An announced request starts only after STARTED, and everything sent has been read.
  if (sequence === 0 || (isAnnounced && !hasStarted)) return "notStarted";
  if (work === undefined) return "lost";
  if (!hasStarted && !isUpTo(sequence, work.started)) return "notStarted";
  if (work.on === "none") return "lost";
  return work.on === "ours" && sequence >>> 0 === work.request ? "fatal" : "bystander";
}
