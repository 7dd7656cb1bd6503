/** Why a request may be lost in the chaos soak: the rules of docs/operations.md, as checks of what happened meanwhile. */

/** How long an instance needs to be ready again after it was killed, generously; nothing restarts it without a supervisor. */
const RESTART_MS = 20_000;

/**
 * Each rule says whether it explains a failure, from the failure, the marks of what happened between the opening of its connection
 * and its end, and all marks.
 */
const RULES = [
  {
    reason: "on a connection of a balancer that was killed",
    explains: ({ kind }, during) =>
      kind === "lost" && during.some(({ what, role }) => what === "kill" && role === "balancer"),
  },
  {
    reason: "while supervisor and balancers were all dead, so that nobody held the listening sockets",
    explains: ({ kind }, _during, { withoutSockets }) => (kind === "refused" || kind === "lost") && withoutSockets,
  },
  {
    reason: "after two processes with it were killed",
    explains: ({ kind }, during) =>
      kind === 502 && during.filter(({ what, role }) => what === "kill" && role === "instance").length > 1,
  },
  {
    reason: "while no instance could respond",
    explains: ({ kind, endedAt }, _during, { marks, instances }) => {
      const down = marks.filter(
        ({ role, what, at, until }) =>
          role === "instance" && (what === "kill" || what === "stop") && (until ?? at) + RESTART_MS > endedAt,
      );
      return (kind === 503 || kind === 504) && new Set(down.map(({ name }) => name)).size >= instances;
    },
  },
];

/** Returns the reason of a lost request; undefined if no rule explains it. */
export function reasonOf(failure, history) {
  const during = history.marks.filter(({ at, until }) => at <= failure.endedAt && (until ?? at) >= failure.connectedAt);
  return RULES.find(({ explains }) => explains(failure, during, history))?.reason;
}
