/** Decides which ready upstreams of a pool get no new requests, and why: drained, ejected, or backups. Pure. */

/** Why an upstream is out of turn. Several reasons may apply, so each reason is a bit. A new reason is one line here. */
export const OutOfTurn = {
  /** An operator has drained its slot: it never gets new requests. */
  DRAINED: 1,
  /** An operator has ejected its process. */
  EJECTED: 2,
  /** The passive health check has ejected it. */
  UNHEALTHY: 4,
  /** It is a backup. */
  BACKUP: 8,
  /** Its health checks fail. */
  FAILS_CHECKS: 16,
} as const;

/** The part of an upstream that decides whether it is in turn. */
interface TurnTaker {
  /** The sum of its reasons; 0: none. */
  readonly reasons: number;
  isOutOfTurn: boolean;
}

/** Upstreams without a reason rank first, then backups, then ejected ones, so that a pool whose upstreams are all ejected still serves. */
function rankOf(reasons: number): number {
  if (reasons === 0) return 0;
  if (reasons === OutOfTurn.BACKUP) return 1;
  return (reasons & OutOfTurn.DRAINED) === 0 ? 2 : Number.POSITIVE_INFINITY;
}

/**
 * Puts the upstreams of the best rank in turn and all others out of turn. Returns the upstreams in turn, which is the same list if all are.
 */
export function takeTurns<Candidate extends TurnTaker>(upstreams: readonly Candidate[]): readonly Candidate[] {
  let best = Number.POSITIVE_INFINITY;
  for (const { reasons } of upstreams) best = Math.min(best, rankOf(reasons));
  let out = 0;
  for (const upstream of upstreams) {
    const rank = rankOf(upstream.reasons);
    upstream.isOutOfTurn = rank > best || rank === Number.POSITIVE_INFINITY;
    if (upstream.isOutOfTurn) out++;
  }
  return out === 0 ? upstreams : upstreams.filter(({ isOutOfTurn }) => !isOutOfTurn);
}
