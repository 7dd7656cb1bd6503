/** Why a request may be lost in the chaos soak: the rules of docs/operations.md, as checks of what happened during the request. */

/** How long an instance needs at most to be ready again after it was killed; nothing restarts it without a supervisor. */
const RESTART_MS = 20_000;

/**
 * Each rule says whether it explains a failure. It gets the failure, the marks of what happened while its connection was open, and all
 * marks.
 */
const RULES = [
  {
    reason: "on a connection of a balancer that was killed",
    explains: ({ kind }, during) =>
      kind === "lost" && during.some(({ what, role }) => what === "kill" && role === "balancer"),
  },
  {
    reason: "while supervisor and balancers were all dead, so that nobody held the listening sockets",
    explains: ({ kind }, during) =>
      (kind === "refused" || kind === "lost") && during.some(({ what }) => what === "without sockets"),
  },
  {
    reason: "while the supervisor was dead and its balancers had only just been started, so that connections waited",
    explains: ({ kind }, during) =>
      kind === "timeout" && during.some(({ what }) => what === "without a ready balancer"),
  },
  {
    reason: "a POST that may have started at an instance that was killed",
    explains: ({ kind, method, pool }, during) =>
      kind === 502 && method === "POST" && during.some((mark) => isKillOf(mark, pool)),
  },
  {
    reason: "after two processes with it were killed",
    explains: ({ kind, pool }, during) => kind === 502 && during.filter((mark) => isKillOf(mark, pool)).length > 1,
  },
  {
    reason: "while no instance could respond",
    explains: ({ kind, endedAt, pool }, _during, { marks, instances }) => {
      const down = marks.filter(
        (mark) =>
          mark.pool === pool &&
          (mark.what === "kill" || mark.what === "stop") &&
          (mark.until ?? mark.at) + RESTART_MS > endedAt,
      );
      return (kind === 503 || kind === 504) && new Set(down.map(({ slot }) => slot)).size >= (instances[pool] ?? 1);
    },
  },
];

function isKillOf({ what, role, pool: killed }, pool) {
  return what === "kill" && role === "instance" && killed === pool;
}

/**
 * Returns the reason of a lost request; undefined if no rule explains it. A waiting connection does not belong to the balancer that was
 * killed.
 */
export function reasonOf(failure, history) {
  const during = history.marks.filter(
    ({ at, until, group }) =>
      at <= failure.endedAt && (until ?? at) >= failure.connectedAt && (group === undefined || group !== failure.group),
  );
  return RULES.find(({ explains }) => explains(failure, during, history))?.reason;
}
