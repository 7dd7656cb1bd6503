/**
 * Decides which peers with unread bytes are reset to free memory for others, and in which order. One table covers responses over HTTP/1.1
 * and HTTP/2, WebSockets and connections in tcp mode. Pure.
 */

/** If a distant peer reads at SLOWEST_READ, its kernel reports progress within this time, in milliseconds. */
const REPORT_MS = 8000;
/**
 * Until this time after it has fallen behind, a peer is only reset far beyond the limit, because the acknowledgement of a distant peer
 * takes some time. In milliseconds.
 */
export const YOUNG_MS = 100;
/** A peer that was seen to read is late if it is this far behind: on Node, progress is known once a second. In milliseconds. */
const LATE_MS = 2000;
/** From this multiple of the limit on, peers get YOUNG_MS rather than REPORT_MS. */
const BEYOND = 1.25;
/** Above this multiple of the limit, peers are reset at once. */
export const FAR_BEYOND = 1.5;

/** The facts about a peer with unread bytes. */
export interface Waiting {
  /** When it fell behind for the first time, shifted by the time in which it had read everything. In milliseconds. */
  readonly firstBlockedAt: number;
  /** The time up to which it has read enough: each byte pays for its time at SLOWEST_READ. In milliseconds. */
  readonly paidUntil: number;
  /** If this long has passed after `paidUntil`, the peer certainly reads more slowly than SLOWEST_READ. In milliseconds. */
  readonly patienceMs: number;
  /** Whether it was seen to read. */
  readonly hasRead: boolean;
  /** Whether the peer has proved that it reads at SLOWEST_READ, and has not stopped since. */
  readonly isProvenReader: boolean;
}

export type Standing = "stopped" | "unseen" | "late" | "seen" | "reader";

export function standingOf({ paidUntil, patienceMs, hasRead, isProvenReader }: Waiting, now: number): Standing {
  if (isProvenReader) return "reader";
  if (now - paidUntil >= patienceMs) return "stopped";
  if (!hasRead) return "unseen";
  return now - paidUntil >= LATE_MS ? "late" : "seen";
}

interface Rule {
  readonly standing: Standing;
  /** Peers are reset while more than this multiple of the limit is used. */
  readonly above: number;
  /** Peers with the lowest rank are reset first. */
  readonly rank: (peer: Waiting) => number;
}

const longestBehind = ({ paidUntil }: Waiting) => paidUntil;
/** The last peers go first. So newcomers, however many, do not take away the time in which earlier peers prove that they read. */
const newest = ({ firstBlockedAt }: Waiting) => -firstBlockedAt;

/**
 * The order of resets. A kernel or a window may hide that a peer reads. But no peer that was seen to read is reset while another peer was
 * not.
 */
const RULES: readonly Rule[] = [
  { standing: "stopped", above: 0.5, rank: longestBehind },
  { standing: "unseen", above: 1, rank: newest },
  { standing: "late", above: 1, rank: longestBehind },
  { standing: "seen", above: FAR_BEYOND, rank: newest },
  { standing: "reader", above: FAR_BEYOND, rank: longestBehind },
];

/** The memory to free, and how. */
export interface Shortage<Peer> {
  readonly now: number;
  /** Since when more than the limit is used, in milliseconds. */
  readonly beyondSince: number;
  /** Returns the memory in use at the moment of the call, as a multiple of the limit. */
  used(): number;
  /** Whether enough is known about a peer that may be reading. */
  isKnown(peer: Peer): boolean;
  /** Resets a peer, unless its latest progress shows that it need not be reset. Returns whether it was reset. */
  reset(peer: Peer): boolean;
}

/**
 * How long a peer that may be reading must be behind before it is reset, in milliseconds. As much time must have passed since the limit was
 * exceeded, so that the time of the last peers, which are reset first, is over, too.
 * @param used the memory in use, as a multiple of the limit
 */
export function graceMs(used: number): number {
  return Math.max(YOUNG_MS, REPORT_MS * (1 - (used - 1) / (BEYOND - 1)));
}

/** Whether a peer is to be reset when it is the first in the order. */
export function givesWay(
  peer: Waiting,
  { now, beyondSince, used }: Pick<Shortage<never>, "now" | "beyondSince" | "used">,
): boolean {
  const standing = standingOf(peer, now);
  const { above } = RULES.find((rule) => rule.standing === standing) as Rule;
  const share = used();
  if (share <= above) return false;
  if (standing !== "late" && (standing !== "unseen" || share > FAR_BEYOND)) return true;
  return now - Math.max(peer.paidUntil, beyondSince) >= graceMs(share);
}

/**
 * Resets peers, one after another, as long as too much memory is used. While one of them is spared for a moment, those that come after it
 * in the order are not reset.
 */
export function giveWay<Peer extends Waiting>(waiting: Iterable<Peer>, shortage: Shortage<Peer>): void {
  const groups: Record<Standing, Peer[]> = { stopped: [], unseen: [], late: [], seen: [], reader: [] };
  for (const peer of waiting) groups[standingOf(peer, shortage.now)].push(peer);
  let isOneSpared = false;
  for (const { standing, above, rank } of RULES) {
    // A stopped peer that must be checked first does not protect those that were never seen to read.
    if (shortage.used() <= above || (isOneSpared && standing !== "unseen")) return;
    for (const peer of groups[standing].sort((one, other) => rank(one) - rank(other))) {
      if (shortage.used() <= above || (isOneSpared && isEarlier(peer, shortage))) return;
      const isCandidate = standing === "seen" || standing === "reader" || shortage.isKnown(peer);
      if (!isCandidate || !givesWay(peer, shortage) || !shortage.reset(peer)) isOneSpared = true;
    }
  }
}

/** Whether a peer came before those that have exceeded the limit. If so, it is not reset while they have time. */
function isEarlier<Peer extends Waiting>({ firstBlockedAt }: Peer, { beyondSince, used }: Shortage<Peer>): boolean {
  return firstBlockedAt < beyondSince - YOUNG_MS && used() <= FAR_BEYOND;
}
