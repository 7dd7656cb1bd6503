/** What a policy is: it picks an upstream, and knows nothing of health, fullness or retries. */

/** Picks among candidates; `Candidate` needs no more than a name that outlives a change of membership. */
export interface Policy<Candidate extends { readonly name: string }> {
  /** The membership changed; called off the request path. */
  rebuild(candidates: readonly Candidate[]): void;
  /** The next candidate that may be picked, or undefined when none may. */
  pick(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined;
}
