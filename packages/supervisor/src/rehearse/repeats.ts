/** Detects from the same request to all instances in turn whether instances differ in the state that they keep. Pure. */
import type { RepeatFacts } from "./evidence.js";

/** Each instance gets the request at least this many times. */
export const ROUNDS = 4;

/**
 * Whether some instances know a cookie and others do not, in the same order in each round. If a cookie changes with every response, no
 * instance knows it; if it is signed, or stored for all instances, every instance knows it.
 */
export function isKnownToSome(wasKnown: readonly boolean[], instances: number): boolean {
  if (instances < 2 || wasKnown.length < ROUNDS * instances) return false;
  const known = wasKnown.filter(Boolean).length;
  if (known === 0 || known === wasKnown.length) return false;
  return wasKnown.every((each, at) => at < instances || each === wasKnown[at - instances]);
}

/**
 * Returns the numbers at one place in the responses, if each instance counts separately. Such a number grows by one with every request to
 * an instance. Since all instances get requests in turn, each number is then one more than that of the previous round. A count shared by
 * all instances would grow by the number of instances, and a clock by no regular amount. A count that starts again by itself is not state.
 */
export function countsAlone({
  bodies,
  later,
  instances,
}: Pick<RepeatFacts, "bodies" | "later" | "instances">): number[] | undefined {
  if (instances < 2 || bodies.length < ROUNDS * instances || later.length < instances) return undefined;
  const texts = [...bodies, ...later].map((body) => body.split(NUMBER));
  const numbers = [...bodies, ...later].map((body) => body.match(NUMBER) ?? []);
  const [pattern] = texts.map((parts) => parts.join("#"));
  if (texts.some((parts) => parts.join("#") !== pattern)) return undefined;
  const places = numbers[0]?.length ?? 0;
  for (let place = 0; place < Math.min(places, MAX_PLACES); place++) {
    const series = numbers.map((found) => Number(found[place]));
    const inTurn = series.slice(0, bodies.length);
    const growsByOne = inTurn.every((value, at) => at < instances || value === (inTurn[at - instances] as number) + 1);
    const after = series.slice(bodies.length, bodies.length + instances);
    const goesOn = after.every((value, at) => value > (inTurn[inTurn.length - instances + at] as number));
    if (growsByOne && goesOn) return inTurn.slice(0, 2 * instances);
  }
  return undefined;
}

/**
 * Whether instances respond differently to the same cookie, each in the same way every time, although they respond alike without the
 * cookie. A page that shows which instance it comes from also differs without the cookie.
 */
export function differsWithCookie({ bodies, withCookies, instances }: RepeatFacts): boolean {
  return isOfInstance(withCookies.bodies, instances) && !isOfInstance(bodies, instances);
}

function isOfInstance(bodies: readonly string[], instances: number): boolean {
  if (instances < 2 || bodies.length < ROUNDS * instances || new Set(bodies).size === 1) return false;
  return bodies.every((body, at) => at < instances || body === bodies[at - instances]);
}

/** Longer numbers are not counts. */
const NUMBER = /\d{1,12}/g;
/** On a page with more numbers, a count is among the first ones. */
const MAX_PLACES = 64;
