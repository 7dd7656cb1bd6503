/** The messages of children on the control channel, and their parser. */
import {
  ChannelError,
  type Check,
  type Checks,
  fieldsOf,
  isAmount,
  isFlag,
  isList,
  isText,
  listOf,
  oneOf,
  optional,
  orNull,
  parseLine,
} from "./checks.js";
import type { UpstreamProtocol } from "./protocol.js";
import { areRecorded, areSpans, type RecordedRequests, type RecordedSpans } from "./recorded.js";
import { areStats, type Stats } from "./stats.js";

/** The role of a child: an instance of a pool, a template that forks instances, or a balancer. */
export type ChildRole = "instance" | "template" | "balancer";

/** The state of a child when it says hello. A child that reconnects may be past `starting`. */
export type ChildPhase = "starting" | "ready" | "draining";

/** The first line that a child sends on every connection of the control channel. */
export interface Hello {
  type: "hello";
  channelVersion: number;
  /** The secret of this spawn, which authenticates the process for its slot. */
  token: string;
  role: ChildRole;
  /** The pool's name; `balancer` for balancers. */
  pool: string;
  /** The slot, for example `web.3`. */
  name: string;
  attempt: number;
  generation: number;
  pid: number;
  /** The runtime and its version, for example `bun 1.4.5`. */
  runtime: string;
  /** The version of Paceline that started it. */
  version?: string;
  phase: ChildPhase;
  /** The socket that an instance serves; absent for a balancer. */
  socket?: string;
  /** The protocol of a ready instance's socket. */
  protocol?: UpstreamProtocol;
  /** The snapshot version that a balancer follows; 0 before its first. */
  snapshotVersion?: number;
}

/** The child accepts work from now on. */
interface Ready {
  type: "ready";
  /** The protocol of an instance's socket; absent for a balancer. */
  protocol?: UpstreamProtocol;
}

/**
 * A balancer's reply to a snapshot, also sent whenever `leaving`, `busy` or `listening` changes. The balancer follows `version`. On the
 * upstreams in `leaving`, which that version no longer contains, it still has requests or connections.
 */
export interface Applied {
  type: "applied";
  version: number;
  leaving: string[];
  /** The drained upstreams on which the balancer still has requests. Missing if there are none, and from balancers of earlier versions. */
  busy?: string[];
  /** The version of the certificates that the balancer uses. Missing without TLS. */
  certificates?: number;
  /** Whether the balancer's listening sockets are open. A draining balancer closes them after it has accepted the waiting clients. */
  listening: boolean;
}

/** Why a child is about to exit with a failure, if known; for example the error of an app that failed to load. */
export interface Fault {
  type: "fault";
  message: string;
  /** For a shim: the exit of its program, which is reported in place of the shim's own. */
  exit?: { code: number | null; signal: string | null };
}

/** From a template: the requested process was forked. */
interface Forked {
  type: "forked";
  /** For example `web.3#7`. */
  id: string;
  pid: number;
}

/** From a template: the requested process could not be forked. */
interface ForkFailed {
  type: "forkFailed";
  id: string;
  reason: string;
}

/** From a template: a forked process has exited. Code and signal are null if the template could not wait for it. */
export interface Ended {
  type: "ended";
  id: string;
  code: number | null;
  signal: string | null;
}

/** The reply to a ping: the event loop has turned since the ping arrived. */
interface Pong {
  type: "pong";
}

/** From a balancer: requests like this one crash processes, so for a minute the balancer sends them to no other process. */
export interface Poison {
  type: "poison";
  pool: string;
  /** Method and path, for example `GET /users/*`. */
  request: string;
  /** The processes, for example `web.3#7`. */
  processes: string[];
}

/** A request that was in flight at a process when its connection was lost. */
export interface LostRequest {
  /** The client's `X-Request-Id`. */
  id?: string;
  /** Method and path without the query, for example `GET /report`. */
  request: string;
  /** The time since its head arrived at the balancer. */
  ageMs: number;
  /** Whether its handler was called; `running`: the handler was running when the process exited. */
  state: "running" | "started" | "unknown" | "notStarted";
  /** Whether the balancer sent the request to another instance, responded with 502 or 503, or cut off the response. */
  outcome: "reassigned" | "failed" | "cut";
}

/** Requests that a balancer has lost at an upstream, which has probably exited. */
export interface LostRequests {
  /** The process, for example `web.3#7`. */
  upstream: string;
  requests: LostRequest[];
  /** The number of further requests. */
  omitted: number;
}

/** A request that an instance has not finished. */
export interface OpenRequest {
  /** The process, for example `web.3#7`. */
  upstream: string;
  /** Method and path without the query, for example `GET /report`. */
  request: string;
  /** The time since its head arrived at the balancer. */
  ageMs: number;
  /** The address of the connection's other end. */
  client: string;
}

/** A client of a balancer requests a name that has no certificate. The reply is a set of certificates, or `noCertificate`. */
interface WantCertificate {
  type: "wantCertificate";
  name: string;
}

/** The reply to `listOpen`: the oldest requests of each upstream. */
export interface OpenRequests {
  type: "open";
  id: number;
  requests: OpenRequest[];
}

interface Lost extends LostRequests {
  type: "lost";
}

/** A message for the operator: at most one a minute for the same subject, or a few for each run of a schedule. */
export interface Notice {
  type: "notice";
  message: string;
  /** Default: `warn`. */
  level?: "info" | "warn" | "error" | undefined;
  /**
   * The port that the app's own server asked for, 0 for none. The supervisor reports it once for all instances of a pool, with the
   * addresses where clients connect instead.
   */
  askedPort?: number | undefined;
  /** The kind of the event, for alerts; default: none. */
  kind?: "disk" | undefined;
}

/** From the shim of a worker with a schedule: its state, sent on each change. Times are Unix times in milliseconds. */
export interface ScheduleReport {
  type: "schedule";
  /** When the next run is due; null if no further run is. */
  next: number | null;
  /** When the current run started; null if none is in progress. */
  running: number | null;
  /** The last run that has ended; null if there was none in this process. */
  last: ScheduledRun | null;
  /** Counts since the shim started: runs that have ended, failed runs, and due times that were skipped because a run had not ended. */
  runs: number;
  failures: number;
  skipped: number;
}

/** A run that has ended. */
export interface ScheduledRun {
  due: number;
  started: number;
  durationMs: number;
  code: number | null;
  signal: string | null;
  /** Why the run failed; null if it exited with 0. */
  failure: string | null;
}

/** From a balancer: whether it has started the next supervisor. */
interface SupervisorSpawned {
  type: "supervisorSpawned";
  pid: number | null;
  /** The reason if there is no pid. */
  problem?: string;
}

/** The result of a probe. */
export interface Probed {
  type: "probed";
  /** 0 for the checks that a shim makes by itself. */
  id: number;
  /** The problem; absent if the instance is healthy. */
  problem?: string;
}

/** The reply to a `dump`: the file is written. */
export interface Dumped {
  type: "dumped";
  id: number;
  /** Why there is no file. */
  problem?: string;
}

export type ChildMessage =
  | Hello
  | Ready
  | Stats
  | Applied
  | Fault
  | Forked
  | ForkFailed
  | Ended
  | Poison
  | Lost
  | OpenRequests
  | WantCertificate
  | RecordedRequests
  | RecordedSpans
  | Notice
  | ScheduleReport
  | Pong
  | SupervisorSpawned
  | Dumped
  | Probed;

const isProtocol = oneOf(undefined, "http1", "lane", "http1+control");

const EXIT: Checks<Ended> = { code: orNull(Number.isInteger), signal: orNull(isText) };

const isRun = fieldsOf<ScheduledRun>({
  ...{ due: isAmount, started: isAmount, durationMs: isAmount },
  ...EXIT,
  failure: orNull(isText),
});

const isLost = fieldsOf<LostRequest>({
  id: optional(isText),
  request: isText,
  ageMs: isAmount,
  state: isText,
  outcome: isText,
});

const isOpen = fieldsOf<OpenRequest>({ upstream: isText, request: isText, ageMs: isAmount, client: isText });

const CHECKS: { readonly [Type in ChildMessage["type"]]: Check } = {
  hello: fieldsOf<Hello>({
    ...{ token: isText, role: isText, pool: isText, name: isText, runtime: isText, phase: isText },
    ...{ channelVersion: isAmount, attempt: isAmount, generation: isAmount, pid: isAmount },
    version: optional(isText),
    protocol: isProtocol,
  }),
  ready: fieldsOf<Ready>({ protocol: isProtocol }),
  stats: areStats,
  applied: fieldsOf<Applied>({
    version: isAmount,
    leaving: isList,
    busy: optional(isList),
    certificates: optional(isAmount),
    listening: isFlag,
  }),
  pong: () => true,
  supervisorSpawned: fieldsOf<SupervisorSpawned>({ pid: orNull(isAmount), problem: optional(isText) }),
  dumped: fieldsOf<Dumped>({ id: isAmount, problem: optional(isText) }),
  probed: fieldsOf<Probed>({ id: isAmount, problem: optional(isText) }),
  poison: fieldsOf<Poison>({ pool: isText, request: isText, processes: listOf(isText) }),
  lost: fieldsOf<Lost>({ upstream: isText, requests: listOf(isLost), omitted: isAmount }),
  wantCertificate: fieldsOf<WantCertificate>({ name: isText }),
  open: fieldsOf<OpenRequests>({ id: isAmount, requests: listOf(isOpen) }),
  recorded: fieldsOf<RecordedRequests>({ requests: areRecorded, lost: isAmount }),
  spans: fieldsOf<RecordedSpans>({ spans: areSpans, lost: isAmount }),
  notice: fieldsOf<Notice>({
    message: isText,
    level: oneOf(undefined, "info", "warn", "error"),
    askedPort: optional(isAmount),
    kind: oneOf(undefined, "disk"),
  }),
  schedule: fieldsOf<ScheduleReport>({
    ...{ runs: isAmount, failures: isAmount, skipped: isAmount },
    ...{ next: orNull(isAmount), running: orNull(isAmount), last: orNull(isRun) },
  }),
  forked: fieldsOf<Forked>({ id: isText, pid: isAmount }),
  forkFailed: fieldsOf<ForkFailed>({ id: isText, reason: isText }),
  ended: fieldsOf<Ended>({ id: isText, ...EXIT }),
  fault: fieldsOf<Fault>({ message: isText, exit: optional(fieldsOf<Ended>(EXIT)) }),
};

/**
 * Parses one line. Returns undefined for a type of another version, which is ignored.
 * @throws ChannelError `bad-message`
 */
export function parseChildMessage(line: string): ChildMessage | undefined {
  const message = parseLine(line, (reason, cause) => new ChannelError("bad-message", `it is ${reason}`, { cause }));
  const { type } = message;
  if (isText(type) && !Object.hasOwn(CHECKS, type)) return undefined;
  if (!isText(type) || !CHECKS[type as ChildMessage["type"]](message))
    throw new ChannelError("bad-message", `invalid message: its type is ${type}`);
  return message as unknown as ChildMessage;
}
