/** The phases of a rehearsal, in order, and what Paceline promises in each. */

interface Phase {
  /** What is done, for people. */
  does: string;
  /** The promise of docs/operations.md about the requests of this phase. */
  promise: string;
  /** Whether a request may be sent to a second instance. */
  mayRepeat: boolean;
  /** Whether requests may take much longer than without it. */
  mayBeSlow: boolean;
}

export const PHASES = {
  steady: {
    does: "nothing happens",
    promise: "every request gets its response, at the first try",
    ...{ mayRepeat: false, mayBeSlow: true },
  },
  reload: {
    does: "all instances are replaced by new code",
    promise: "no request is lost",
    ...{ mayRepeat: true, mayBeSlow: false },
  },
  restart: {
    does: "all instances are restarted",
    promise: "no request is lost",
    ...{ mayRepeat: true, mayBeSlow: false },
  },
  balancer: {
    does: "the balancers are replaced",
    promise: "no request is lost, no connection refused",
    ...{ mayRepeat: true, mayBeSlow: false },
  },
  scale: {
    does: "an instance more, then one fewer",
    promise: "no request is lost",
    ...{ mayRepeat: true, mayBeSlow: false },
  },
  pause: {
    does: "an instance stands still for a while (SIGSTOP)",
    promise: "its requests wait or go elsewhere, none is lost",
    ...{ mayRepeat: true, mayBeSlow: true },
  },
  term: {
    does: "an instance gets SIGTERM while it runs requests",
    promise: "it finishes its requests, then exits",
    ...{ mayRepeat: true, mayBeSlow: true },
  },
  kill: {
    does: "an instance is killed (SIGKILL)",
    promise: "idempotent requests are repeated once, none is lost",
    ...{ mayRepeat: true, mayBeSlow: true },
  },
  state: {
    does: "the same request goes to all instances in turn",
    promise: "all instances know the same",
    ...{ mayRepeat: true, mayBeSlow: true },
  },
  stop: {
    does: "the fleet is stopped in a burst of requests",
    promise: "requests that are under way are finished",
    ...{ mayRepeat: true, mayBeSlow: true },
  },
} as const satisfies Record<string, Phase>;

export type PhaseName = keyof typeof PHASES;

export const PHASE_NAMES = Object.keys(PHASES) as PhaseName[];

export function phaseOf(name: PhaseName): Phase {
  return PHASES[name];
}
