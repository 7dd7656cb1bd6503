/** The phases of a rehearsal, in order, and what Paceline promises in each. */

interface Phase {
  /** What the phase does, for display. */
  does: string;
  /** The promise in docs/operations.md about the requests of this phase. */
  promise: string;
  /** Whether a request may be sent to a second instance. */
  maySendAgain: boolean;
  /** Whether requests may take much longer than without the act. */
  mayBeSlow: boolean;
}

/** @param limits what differs from the default: a request may be sent again, and may take much longer */
const phase = (does: string, promise: string, limits: Partial<Phase> = {}): Phase => {
  return { does, promise, maySendAgain: true, mayBeSlow: true, ...limits };
};

const PHASES = {
  steady: phase("nothing happens", "every request gets its response, at the first try", { maySendAgain: false }),
  reload: phase("all instances are replaced by new code", "no request is lost", { mayBeSlow: false }),
  restart: phase("all instances are restarted", "no request is lost", { mayBeSlow: false }),
  balancer: phase("the balancers are replaced", "no request is lost, no connection refused", { mayBeSlow: false }),
  scale: phase("an instance more, then one fewer", "no request is lost", { mayBeSlow: false }),
  pause: phase("an instance is paused (SIGSTOP)", "its requests wait or go to other instances, none is lost"),
  term: phase("an instance gets SIGTERM while it runs requests", "it finishes its requests, then exits"),
  kill: phase("an instance is killed (SIGKILL)", "idempotent requests are repeated once, none is lost"),
  state: phase("the same request goes to all instances in turn", "all instances know the same"),
  stop: phase("the fleet is stopped in a burst of requests", "requests that are under way are finished"),
};

export type PhaseName = keyof typeof PHASES;

export const PHASE_NAMES = Object.keys(PHASES) as PhaseName[];

export function phaseOf(name: PhaseName): Phase {
  return PHASES[name];
}
