/** Which upstreams of a pool get no new requests although they are ready, and why: drained, ejected, or held back. Pure. */

/** Why an upstream is out of turn. Several reasons may apply, so each is a bit. A further one is a line here. */
export const OutOfTurn = {
  /** An operator has drained its slot: it gets no requests in any case. */
  DRAINED: 1,
  /** An operator has ejected its process. */
  EJECTED: 2,
  /** Passive health has ejected it. */
  UNHEALTHY: 4,
  /** It is a backup. */
  BACKUP: 8,
  /** Its health checks fail. */
  FAILS_CHECKS: 16,
} as const;

/** What decides whether an upstream is in turn. */
interface TurnTaker {
  /** A sum of reasons; 0: none. */
  readonly reasons: number;
  isOutOfTurn: boolean;
}

/** Those without a reason come first, then backups, then ejected ones. A pool all of whose upstreams are ejected still serves. */
function rankOf(reasons: number): number {
  if (reasons === 0) return 0;
  if (reasons === OutOfTurn.BACKUP) return 1;
  return (reasons & OutOfTurn.DRAINED) === 0 ? 2 : Number.POSITIVE_INFINITY;
}

/** Puts those of the best rank in turn and all others out of turn. Returns those in turn: the same list, if all are. */
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
