/** What requests would meet at an ideal queue, and which of them have waited behind a busy instance in vain. Pure. */

/**
 * Returns the latency of each request if one queue, in order, feeds servers that take one request at a time.
 * @param dueTimes in order, in milliseconds
 * @param serviceTimes how long a server takes for each, in milliseconds
 */
export function idealLatencies(dueTimes, serviceTimes, servers) {
  const freeAt = new Array(servers).fill(0);
  return Array.from(dueTimes, (dueAt, at) => {
    const first = freeAt.indexOf(Math.min(...freeAt));
    freeAt[first] = Math.max(freeAt[first], dueAt) + serviceTimes[at];
    return freeAt[first] - dueAt;
  });
}

/**
 * Returns the requests that could have run for at least `leastMs` in all, while their instance computed for others and another
 * instance computed nothing.
 * @param requests all of a run: `instance`, its number; `computed`, from when until when it computed for the request; `ready`, the
 * periods in which the request waited for nothing but its instance, all as pairs of milliseconds
 */
export function waitedInVain(requests, instances, leastMs) {
  const busy = Array.from({ length: instances }, () => []);
  for (const { instance, computed } of requests) busy[instance - 1].push(computed);
  return requests.filter(({ instance, ready }) => {
    // Most have not waited.
    if (lengthOf(ready) < leastMs) return false;
    const others = busy.filter((_, at) => at !== instance - 1);
    const behind = ready.flatMap((period) => within(busy[instance - 1], period));
    return lengthOf(behind) - lengthOf(behind.flatMap((period) => allBusy(others, period))) >= leastMs;
  });
}

/** Returns the parts of these periods that lie in another one. */
function within(periods, [from, to]) {
  return periods.flatMap(([start, end]) =>
    start < to && end > from ? [[Math.max(start, from), Math.min(end, to)]] : [],
  );
}

/** Returns the parts of a period in which all of these instances are busy. */
const allBusy = (instances, period) =>
  instances.reduce((parts, busy) => parts.flatMap((part) => within(busy, part)), [period]);

const lengthOf = (periods) => periods.reduce((sum, [from, to]) => sum + to - from, 0);
