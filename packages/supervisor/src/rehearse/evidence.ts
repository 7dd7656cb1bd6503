/** What a rehearsal has observed, as plain data, and the form of the findings. Only types. */
import type { DeathReport } from "../core/deaths.js";
import type { PhaseName } from "./phases.js";

/** A pool that the rehearsal has sent requests to. */
interface PoolFacts {
  name: string;
  kind: string;
  instances: number;
}

/** A request without a complete response from the app. */
export interface LostAsk {
  request: string;
  /** For example `reset` or `502`. */
  how: string;
  /** How long it took, in milliseconds. */
  ms: number;
}

/** What happened to the requests that were sent during one phase. */
export interface PhaseEvidence {
  name: PhaseName;
  sent: number;
  lost: number;
  /** The first lost requests. */
  losses: readonly LostAsk[];
  /** How often a request was sent to another instance. */
  repeated: number;
  /** The number of responses of the app with a status of 500 or above, by request. */
  errors: Readonly<Record<string, number>>;
  /** In milliseconds; null if there was no response. */
  p50: number | null;
  p99: number | null;
  max: number | null;
  /** Why an operation of this phase failed; null if none failed. */
  failure: { message: string; lastLines: readonly string[] } | null;
}

/** The death of a process that was unexpected, or that a signal of the rehearsal caused. */
export interface DeathFacts
  extends Pick<
    DeathReport,
    "process" | "pool" | "kind" | "code" | "signal" | "reason" | "state" | "requests" | "lastLines"
  > {
  phase: PhaseName;
  /** The signal that the rehearsal has sent to the process; null if it has sent no signal. */
  sent: "SIGTERM" | "SIGKILL" | null;
}

/** A line of the fleet's log, with the phase in which it was written. */
export interface LoggedLine {
  phase: PhaseName;
  /** For example `web.3`. */
  subject: string;
  text: string;
}

/** The memory of one process during the steady phase. */
export interface MemoryFacts {
  pool: string;
  instance: string;
  samples: readonly { ageMs: number; bytes: number }[];
  /** The requests that the process had during that time: the average of its pool. */
  requests: number;
}

/** One request that is sent to all instances in turn, several times, while no other request is sent. */
export interface RepeatFacts {
  pool: string;
  request: string;
  instances: number;
  /** In the order of the requests. */
  bodies: readonly string[];
  /** The bodies of a second series, a moment later. It shows whether a number starts again by itself. */
  later: readonly string[];
  /**
   * The cookies that a response has set. `wasKnown`: for each further request that sends the cookie, whether the response left it
   * unchanged.
   */
  cookies: readonly { name: string; wasKnown: readonly boolean[] }[];
  /** Like `bodies` and `later`, for requests with these cookies; empty if there are none. */
  withCookies: { bodies: readonly string[]; later: readonly string[] };
}

/** An idle connection to an instance. */
export interface IdleFacts {
  pool: string;
  instance: string;
  /** After how long the instance closed the connection; null if it did not while the rehearsal waited. */
  closedAfterMs: number | null;
  /** Whether the last response on the connection had announced that the connection would be closed. */
  wasAnnounced: boolean;
}

/** One slow request, sent more than once while no other request of the load is sent. */
export interface SlowFacts {
  pool: string;
  request: string;
  /**
   * For each time, in milliseconds: how long the request took, how long the event loop of an instance was blocked, and how long a quick
   * request had to wait behind it.
   */
  times: readonly { durationMs: number; lagMs: number; behindMs: number }[];
}

export interface Evidence {
  pools: readonly PoolFacts[];
  phases: readonly PhaseEvidence[];
  deaths: readonly DeathFacts[];
  lines: readonly LoggedLine[];
  memory: readonly MemoryFacts[];
  repeats: readonly RepeatFacts[];
  idle: readonly IdleFacts[];
  slow: readonly SlowFacts[];
  /** Processes that were still running when they should have exited after SIGTERM. */
  stayed: readonly { pool: string; process: string; afterMs: number }[];
}

/** A promise that does not hold. */
export interface Finding {
  kind: string;
  /** One sentence that begins with the pool or the phase. */
  what: string;
  /** What was observed. */
  evidence: string[];
  todo: string;
  /** Phases whose lost requests this finding explains. */
  explains?: readonly PhaseName[];
}
