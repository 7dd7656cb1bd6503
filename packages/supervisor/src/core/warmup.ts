/** When the warm-up of a new instance is over: the rule for the time of its rounds. Pure. */

/** A round that is this much faster than the best one before, by share and by time, shows that it still warms up. */
const LEAST_GAIN_SHARE = 0.1;
const LEAST_GAIN_MS = 0.5;
/** So many rounds in a row without such a gain end it. */
const STEADY_ROUNDS = 3;
/** A round that is always faster than the last ends it at some time, too. */
const MAX_ROUNDS = 50;

/** @param rounds the time of each round so far, in milliseconds, the first one first */
export function hasSettled(rounds: readonly number[]): boolean {
  if (rounds.length >= MAX_ROUNDS) return true;
  if (rounds.length <= STEADY_ROUNDS) return false;
  const best = Math.min(...rounds.slice(0, -STEADY_ROUNDS));
  const enough = Math.min((1 - LEAST_GAIN_SHARE) * best, best - LEAST_GAIN_MS);
  return rounds.slice(-STEADY_ROUNDS).every((ms) => ms > enough);
}
