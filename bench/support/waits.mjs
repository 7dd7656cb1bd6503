/** What latencies requests would have with an ideal queue, and which of them have waited behind a busy instance in vain. Pure. */

/**
 * Returns the latency of each request if one queue, in order, feeds servers that handle one request at a time.
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
 * Returns the requests that could have run for at least `leastMs` in total while their instance computed for others and another instance
 * had no request.
 * @param requests all of a run: `instance`, its number; `there`, from the call of its handler to its response; `computed`, from when until
 * when the handler computed; `ready`, the periods in which the request waited for nothing but its instance; all in milliseconds
 */
export function waitedInVain(requests, instances, leastMs) {
  const numbers = Array.from({ length: instances }, (_, at) => at + 1);
  const periodsOf = (key) =>
    numbers.map((number) => joined(requests.filter(({ instance }) => instance === number).map((each) => each[key])));
  const [computing, occupied] = [periodsOf("computed"), periodsOf("there")];
  return requests.filter(({ instance, ready }) => {
    // Most requests have not waited.
    if (lengthOf(ready) < leastMs) return false;
    const others = occupied.filter((_, at) => at !== instance - 1);
    const behind = ready.flatMap((period) => within(computing[instance - 1], period));
    return lengthOf(behind) - lengthOf(behind.flatMap((period) => allOccupied(others, period))) >= leastMs;
  });
}

/** Returns these periods in order; overlapping ones are joined. */
function joined(periods) {
  const result = [];
  for (const [from, to] of periods.sort((a, b) => a[0] - b[0])) {
    const last = result.at(-1);
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else result.push([from, to]);
  }
  return result;
}

/** Returns the parts of these periods that lie within another one. */
function within(periods, [from, to]) {
  return periods.flatMap(([start, end]) =>
    start < to && end > from ? [[Math.max(start, from), Math.min(end, to)]] : [],
  );
}

/** Returns the parts of a period in which all of these instances have requests. */
const allOccupied = (instances, period) =>
  instances.reduce((parts, occupied) => parts.flatMap((part) => within(occupied, part)), [period]);

const lengthOf = (periods) => periods.reduce((sum, [from, to]) => sum + to - from, 0);
