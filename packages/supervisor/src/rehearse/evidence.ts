/** What a rehearsal has seen, as plain data, and the form of what is decided from it. Only types. */
import type { DeathReport } from "../core/deaths.js";
import type { PhaseName } from "./phases.js";

/** A pool that the rehearsal has sent requests to. */
interface PoolFacts {
  name: string;
  kind: string;
  instances: number;
}

/** A request without a complete response of the app. */
export interface LostAsk {
  request: string;
  /** Such as `reset` or `502`. */
  how: string;
  /** How long it took. */
  ms: number;
}

/** What happened to the requests that were sent during one phase. */
export interface PhaseEvidence {
  name: PhaseName;
  sent: number;
  lost: number;
  /** The first of them. */
  losses: readonly LostAsk[];
  /** How often a request was sent to a further instance. */
  repeated: number;
  /** Responses of 500 and above that the app gave, by request. */
  errors: Readonly<Record<string, number>>;
  /** In milliseconds; null without a response. */
  p50: number | null;
  p99: number | null;
  max: number | null;
  /** Why an operation of this phase failed; null if none did. */
  failure: { message: string; lastLines: readonly string[] } | null;
}

/** The end of a process that nobody wanted, or that a signal of the rehearsal has caused. */
export interface DeathFacts
  extends Pick<
    DeathReport,
    "process" | "pool" | "kind" | "code" | "signal" | "reason" | "state" | "requests" | "lastLines"
  > {
  phase: PhaseName;
  /** The signal that the rehearsal has sent to it; null if it has sent none. */
  sent: "SIGTERM" | "SIGKILL" | null;
}

/** A line of the fleet's log, with the phase in which it was written. */
export interface LoggedLine {
  phase: PhaseName;
  /** Such as `web.3`. */
  subject: string;
  text: string;
}

/** The memory of one process during the steady phase. */
export interface MemoryFacts {
  pool: string;
  instance: string;
  samples: readonly { ageMs: number; bytes: number }[];
  /** Requests that it had meanwhile, on average of its pool. */
  requests: number;
}

/** One request, sent again and again to all instances in turn, while no other is sent. */
export interface RepeatFacts {
  pool: string;
  request: string;
  instances: number;
  /** In the order of the requests. */
  bodies: readonly string[];
  /** The same a moment later, which shows whether a number begins again by itself. */
  later: readonly string[];
  /** The cookies that a response has set, and of each further request with them whether its response set it anew. */
  cookies: readonly { name: string; wasKnown: readonly boolean[] }[];
  /** The same as `bodies` and `later`, with these cookies; empty without any. */
  withCookies: { bodies: readonly string[]; later: readonly string[] };
}

/** An idle connection to an instance. */
export interface IdleFacts {
  pool: string;
  instance: string;
  /** After how long the instance closed it; null if it kept it as long as the rehearsal has waited. */
  closedAfterMs: number | null;
  /** Whether its last response had said so. */
  wasAnnounced: boolean;
}

/** One slow request, sent alone and more than once. */
export interface SlowFacts {
  pool: string;
  request: string;
  /** Of each time: how long it took, how long the event loop of an instance stood still, and how long a quick request waited behind it. */
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
  /** Processes that still ran when they should have ended after SIGTERM. */
  stayed: readonly { pool: string; process: string; afterMs: number }[];
}

/** Something that does not hold. */
export interface Finding {
  kind: string;
  /** One sentence that begins with the pool or the phase. */
  what: string;
  /** What was seen. */
  evidence: string[];
  todo: string;
  /** Phases whose lost requests this explains. */
  explains?: readonly PhaseName[];
}
