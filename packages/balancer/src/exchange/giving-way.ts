/**
 * Decides which peers with unread bytes are reset to free memory for others, and in which order. One table covers responses over HTTP/1.1
 * and HTTP/2, WebSockets and connections in tcp mode. Pure.
 */

/** A peer that reads at this rate is not reset, in bytes per millisecond. */
export const SLOWEST_READ = 1;
/** The time within which the kernel of a distant peer that reads at SLOWEST_READ reports that, in milliseconds. */
const REPORT_MS = 8000;
/**
 * A peer that has fallen behind more recently is only reset far beyond the limit, because the acknowledgement of a distant peer takes some
 * time. In milliseconds.
 */
export const YOUNG_MS = 100;
/** From this multiple of the limit on, peers get YOUNG_MS rather than REPORT_MS. */
const BEYOND = 1.25;
export const FAR_BEYOND = 1.5;

/** The facts about a peer with unread bytes. */
export interface Waiting {
  /** The time up to which it has read enough: each byte pays for its time at SLOWEST_READ. In milliseconds. */
  readonly paidUntil: number;
  /** If this long has passed after `paidUntil`, the peer certainly reads less than SLOWEST_READ. In milliseconds. */
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
  /** Peers are reset while more than this multiple of the limit is used. */
  readonly above: number;
  /** Whether those that have fallen behind most recently are reset first; otherwise those that have been behind longest. */
  readonly isNewestFirst: boolean;
}

/**
 * The order of resets. A kernel or a window may hide that a peer reads. Among such peers, newcomers are reset first: earlier peers have
 * time to prove that they read, and newcomers in any number cannot take that time away.
 */
const RULES: readonly Rule[] = [
  { standing: "stopped", above: 0.5, isNewestFirst: false },
  { standing: "unseen", above: 1, isNewestFirst: true },
  { standing: "seen", above: 1, isNewestFirst: false },
  { standing: "young", above: FAR_BEYOND, isNewestFirst: false },
  { standing: "reader", above: FAR_BEYOND, isNewestFirst: false },
];

/**
 * How long a peer that may be reading must be behind before it is reset, in milliseconds.
 * @param used the memory in use, as a multiple of the limit
 */
export function graceMs(used: number): number {
  return Math.max(YOUNG_MS, REPORT_MS * (1 - (used - 1) / (BEYOND - 1)));
}

/**
 * Whether a chosen peer is still to be reset when its latest progress is known.
 * @param used the memory in use, as a multiple of the limit
 */
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
 * Yields the peers to reset, one after another, as long as too much memory is used.
 * @param used returns the memory in use at that moment, as a multiple of the limit
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
