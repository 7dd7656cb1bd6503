/** Decides which requests of a stalled instance go elsewhere, and what those of one that ended were; see docs/lane.md. Pure. */
import type { RunningWork } from "@paceline/wire/lane/scoreboard";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";

/** A request that was sent, and of which nothing was heard. */
interface UnansweredRequest {
  /** Its number among the requests of its lane. */
  readonly sequence: number;
  /** Its beginning is said before its handler is called. */
  readonly isAnnounced: boolean;
}

type Fate =
  /** It is, or may be, the one that the instance is at work on: it would stall the next one too. */
  | "stays"
  /** It goes elsewhere; the instance is at work on another one. */
  | "freed"
  /** It goes elsewhere, and may be the one that the instance is at work on. */
  | "suspect";

/**
 * What becomes of each.
 *
 * @param unanswered in the order in which they were sent.
 * @param work what the instance has in its scoreboard; undefined where that is not known.
 * @param isAtWorkSaid it has said which one it is at work on: none of these.
 */
export function fatesOf(
  unanswered: readonly UnansweredRequest[],
  work: RunningWork | undefined,
  isAtWorkSaid: boolean,
): Fate[] {
  switch (work?.on) {
    case "ours":
      return unanswered.map(({ sequence }) => (sequence >>> 0 === work.request ? "stays" : "freed"));
    case "another":
      return unanswered.map(() => "freed");
    case "none":
      // What it called may go on after a promise, or be answered with the end of the turn: that has begun.
      return unanswered.map(({ sequence }) => (isUpTo(sequence, work.started) ? "stays" : "freed"));
    case undefined: {
      // The oldest is called first.
      const atWork = isAtWorkSaid ? undefined : unanswered.find(({ isAnnounced }) => !isAnnounced);
      return unanswered.map((request) => (request === atWork ? "stays" : "suspect"));
    }
  }
}

/** Numbers wrap around at 32 bits. */
function isUpTo(sequence: number, last: number): boolean {
  return ((last - sequence) | 0) >= 0;
}

/** A request of an instance that has ended. */
interface EndedRequest extends UnansweredRequest {
  /** That it started was heard. */
  readonly hasBegun: boolean;
}

/** What the end of its instance means for a request; `work` is what the instance has left in its scoreboard. */
export function lossAtEnd(
  { sequence, isAnnounced, hasBegun }: EndedRequest,
  work: RunningWork | undefined,
): UpstreamLoss {
  // What is announced starts only after that was said, and all that was said has been read.
  if (sequence === 0 || (isAnnounced && !hasBegun)) return "notStarted";
  if (work === undefined) return "lost";
  if (!hasBegun && !isUpTo(sequence, work.started)) return "notStarted";
  if (work.on === "none") return "lost";
  return work.on === "ours" && sequence >>> 0 === work.request ? "fatal" : "bystander";
}
