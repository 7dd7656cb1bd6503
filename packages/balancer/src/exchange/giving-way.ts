/**
 * Which peers with unread bytes are reset for the memory of others, and in which order: one table for responses over HTTP/1.1 and HTTP/2,
 * WebSockets and connections in tcp mode. Pure.
 */

/** A peer that reads at this rate is not reset, in bytes per millisecond. */
export const SLOWEST_READ = 1;
/** Within this time the kernel of a distant peer that reads at that rate reports it, in milliseconds. */
const REPORT_MS = 8000;
/** The acknowledgement of a distant peer takes a while, so one that fell behind later is judged only far beyond the limit. */
export const YOUNG_MS = 100;
/** From this multiple of the limit on, peers get YOUNG_MS rather than REPORT_MS. */
const BEYOND = 1.25;
export const FAR_BEYOND = 1.5;

/** What is known of a peer that has unread bytes. */
export interface Waiting {
  /** Up to when it has read enough: each byte pays for its time at SLOWEST_READ. In milliseconds. */
  readonly paidUntil: number;
  /** So long after that it certainly reads less than SLOWEST_READ, in milliseconds. */
  readonly patienceMs: number;
  /** Whether it was seen to read since it fell behind. */
  readonly hasRead: boolean;
  /** Whether it has proved that it reads at SLOWEST_READ, and has not stopped since. */
  readonly isReader: boolean;
}

export type Standing = "stopped" | "unseen" | "seen" | "young" | "reader";

export function standingOf({ paidUntil, patienceMs, hasRead, isReader }: Waiting, now: number): Standing {
  if (isReader) return "reader";
  if (now - paidUntil >= patienceMs) return "stopped";
  if (now - paidUntil < YOUNG_MS) return "young";
  return hasRead ? "seen" : "unseen";
}

interface Rule {
  readonly standing: Standing;
  /** They give way while more than this multiple of the limit is used. */
  readonly above: number;
  /** Whether those that have fallen behind last are first; otherwise those that are behind for longest. */
  readonly isNewestFirst: boolean;
}

/**
 * In this order. Of those whose reading may be hidden by a kernel or a window, newcomers give way: whoever came before has its time to
 * prove that it reads, and newcomers in any number cannot take it away.
 */
const RULES: readonly Rule[] = [
  { standing: "stopped", above: 0.5, isNewestFirst: false },
  { standing: "unseen", above: 1, isNewestFirst: true },
  { standing: "seen", above: 1, isNewestFirst: false },
  { standing: "young", above: FAR_BEYOND, isNewestFirst: false },
  { standing: "reader", above: FAR_BEYOND, isNewestFirst: false },
];

/** How long a peer that may be reading must be behind to give way. @param used as a multiple of the limit */
export function graceMs(used: number): number {
  return Math.max(YOUNG_MS, REPORT_MS * (1 - (used - 1) / (BEYOND - 1)));
}

/** Whether a peer gives way that was chosen before the last progress of it was known. @param used as a multiple of the limit */
export function givesWay(peer: Waiting, now: number, used: number): boolean {
  const standing = standingOf(peer, now);
  const { above } = RULES.find((rule) => rule.standing === standing) as Rule;
  return used > above && isBehind(peer, standing, now, used);
}

function isBehind({ paidUntil }: Waiting, standing: Standing, now: number, used: number): boolean {
  const mayBeReading = standing === "unseen" || standing === "seen";
  return !mayBeReading || now - paidUntil >= graceMs(used);
}

/**
 * Yields the peers that give way, one after another, as long as too much is used.
 * @param used what is used at the moment, as a multiple of the limit
 */
export function* givingWay<Peer extends Waiting>(
  waiting: Iterable<Peer>,
  now: number,
  used: () => number,
): Generator<Peer> {
  const groups: Record<Standing, Peer[]> = { stopped: [], unseen: [], seen: [], young: [], reader: [] };
  for (const peer of waiting) groups[standingOf(peer, now)].push(peer);
  for (const { standing, above, isNewestFirst } of RULES) {
    const group = groups[standing].sort((one, other) => one.paidUntil - other.paidUntil);
    if (isNewestFirst) group.reverse();
    for (const peer of group) {
      if (used() <= above) break;
      if (isBehind(peer, standing, now, used())) yield peer;
    }
  }
}
