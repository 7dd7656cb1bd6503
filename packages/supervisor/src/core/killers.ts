/** Which requests were running when processes died. Pure. */

/** A request that was running at this many deaths ends its processes. */
const KILLS = 2;

/** Returns the requests that were running at several deaths, the worst first, each with its deaths in the given order. */
export function killersOf<Death>(
  deaths: readonly Death[],
  runningAt: (death: Death) => Iterable<string>,
): { request: string; deaths: Death[] }[] {
  const byRequest = new Map<string, Death[]>();
  for (const death of deaths)
    for (const request of runningAt(death)) byRequest.set(request, [...(byRequest.get(request) ?? []), death]);
  return [...byRequest]
    .map(([request, all]) => ({ request, deaths: all }))
    .filter((each) => each.deaths.length >= KILLS)
    .sort((a, b) => b.deaths.length - a.deaths.length);
}
