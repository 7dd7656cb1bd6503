/** What a child says on the control channel, and the parser that refuses what is not a message this version knows. */
import {
  areAmounts,
  areTexts,
  ChannelError,
  type Fields,
  isAmount,
  isFields,
  isList,
  isOptional,
  isText,
  parseLine,
} from "./checks.js";
import type { SparseHistogram, UpstreamProtocol } from "./protocol.js";

/** What a child is: an instance of a pool, a template that forks them, or a balancer. */
export type ChildRole = "instance" | "template" | "balancer";

/** Where a child stands when it says hello; a child that reconnects says more than `starting`. */
export type ChildPhase = "starting" | "ready" | "draining";

/** The first line a child writes on every connection to the control channel. */
export interface Hello {
  type: "hello";
  channelVersion: number;
  /** The secret of this spawn; only the process that was spawned with it may speak for its slot. */
  token: string;
  role: ChildRole;
  /** The pool's name; `balancer` for balancers. */
  pool: string;
  /** The slot, such as `web.3`. */
  name: string;
  attempt: number;
  generation: number;
  pid: number;
  /** The runtime and its version, such as `bun 1.4.5`. */
  runtime: string;
  phase: ChildPhase;
  /** The socket an instance serves on; absent for a balancer. */
  socket?: string;
  /** What an instance that is ready speaks on its socket. */
  protocol?: UpstreamProtocol;
  /** The snapshot a balancer follows; 0 before its first. */
  snapshotVersion?: number;
}

/** The child accepts work now. */
export interface Ready {
  type: "ready";
  /** What an instance speaks on its socket; absent for a balancer. */
  protocol?: UpstreamProtocol;
}

/** The jobs that an instance's app has deferred. */
export interface DeferredStats {
  /** Those that have not ended: the one under way, and those that wait. */
  jobs: number;
  /** How long ago the oldest of them was deferred, in milliseconds; 0 when there is none. */
  oldestMs: number;
}

/** What an instance reports: each second while something happens, rarely while nothing does, and before it exits. */
export interface InstanceStats {
  type: "stats";
  role: "instance";
  /** Requests whose handling ended, since the process started. */
  requestsTotal: number;
  /** Of those, responses with status 500 and above and handlers that threw. */
  errorsTotal: number;
  inFlight: number;
  /** Absent while the app has never deferred a job. */
  deferred?: DeferredStats;
  latency: SparseHistogram;
  /** The time in which what is new came, in milliseconds: a second even after a silence, which is not reported. */
  periodMs: number;
  /** The longest delay of the event loop since the last report, in milliseconds. */
  eventLoopLagMs: number;
  heapBytes: number;
}

/** What a balancer counts of one upstream. */
export interface UpstreamStats {
  /** The process, such as `web.3#7`. */
  id: string;
  inFlight: number;
  /** Requests sent to it, since the balancer process first knew it. */
  requestsTotal: number;
  /** Of a foreign one: its responses with status 500 and above, and how long they took from the request's head to their end. */
  errorsTotal?: number;
  latency?: SparseHistogram;
  /** Of one that is silent: the request that it is running, such as `GET /report`, where that is known. */
  running?: string;
  /** Of one that limits its concurrency: the request that has been running for longest after its client was refused or left. */
  overdue?: OverdueRequest;
}

/** A request that goes on although nobody waits for its response any more. */
export interface OverdueRequest {
  /** Such as `GET /report`. */
  request: string;
  /** Since the client's 504, or since when it would have had one, in milliseconds. */
  forMs: number;
}

/** What a balancer holds for slow clients of a pool whose instances take few requests at once. */
export interface HeldStats {
  pool: string;
  /** Requests whose body is awaited before an instance is asked. */
  receiving: number;
  /** Responses that wait on disk for their clients; their instances are done with them. */
  sending: number;
}

/** What a balancer reports, as often as an instance does. */
export interface BalancerStats {
  type: "stats";
  role: "balancer";
  /** Client connections open now. */
  connections: number;
  /** Client connections accepted since the process started. */
  connectionsTotal: number;
  /** Responses finished towards clients since the process started, whoever made them. */
  requestsTotal: number;
  /** Of those, responses with status 500 and above. */
  errorsTotal: number;
  /** Requests tried again on another upstream. */
  retriesTotal: number;
  inFlight: number;
  latency: SparseHistogram;
  periodMs: number;
  eventLoopLagMs: number;
  heapBytes: number;
  upstreams: UpstreamStats[];
  /** What large bodies of slow clients take of the disk; absent: nothing. */
  spoolBytes?: number;
  /** Pools that are not named have nothing held. */
  held?: HeldStats[];
}

export type Stats = InstanceStats | BalancerStats;

/**
 * A balancer's response to a snapshot, which it also sends whenever `leaving` or `listening` changes: it follows `version`,
 * and still has requests or connections on the upstreams in `leaving`, which that version no longer names.
 */
export interface Applied {
  type: "applied";
  version: number;
  leaving: string[];
  /** Whether it has the listening sockets open; one that drains closes them once it has accepted what waits there. */
  listening: boolean;
}

/** Why a child is about to exit with a failure, when it knows: the error of the app that did not load, say. */
export interface Fault {
  type: "fault";
  message: string;
  /** How the program that it ran ended, in the place of how the child itself does. */
  exit?: { code: number | null; signal: string | null };
}

/** Of a template: the process that it was asked for is there. */
export interface Forked {
  type: "forked";
  /** Such as `web.3#7`. */
  id: string;
  pid: number;
}

/** Of a template: the process that it was asked for could not be forked. */
export interface ForkFailed {
  type: "forkFailed";
  id: string;
  reason: string;
}

/** Of a template: a process that it forked has ended; code and signal are null where nobody could wait for it. */
export interface Ended {
  type: "ended";
  id: string;
  code: number | null;
  signal: string | null;
}

/** The response to a ping: the event loop has turned since. */
export interface Pong {
  type: "pong";
}

/** A balancer found that requests like this one end the processes that run them: it sends them to no further one for a minute. */
export interface Poison {
  type: "poison";
  pool: string;
  /** Method and path, such as `GET /users/*`. */
  request: string;
  /** The processes, such as `web.3#7`. */
  processes: string[];
}

/** A process tells of something that whoever runs the fleet should know; at most once a minute of the same. */
export interface Notice {
  type: "notice";
  message: string;
}

/** What came of a probe. */
export interface Probed {
  type: "probed";
  id: number;
  /** What is wrong; absent when nothing is. */
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
  | Notice
  | Pong
  | Probed;

const INSTANCE_STATS = ["requestsTotal", "errorsTotal", "inFlight", "periodMs", "eventLoopLagMs", "heapBytes"];
const BALANCER_STATS = [...INSTANCE_STATS, "connections", "connectionsTotal", "retriesTotal"];

/** The message in one line. @throws ChannelError `bad-message` */
export function parseChildMessage(line: string): ChildMessage {
  const message = parseLine(line, (reason, cause) => new ChannelError("bad-message", `it is ${reason}`, { cause }));
  if (!isMessage(message)) {
    throw new ChannelError("bad-message", `unknown message: ${line.slice(0, 100)}`);
  }
  return message as unknown as ChildMessage;
}

function isMessage(message: Fields): boolean {
  switch (message.type as ChildMessage["type"]) {
    case "hello":
      return (
        areTexts(message, ["token", "role", "pool", "name", "runtime", "phase"]) &&
        areAmounts(message, ["channelVersion", "attempt", "generation", "pid"]) &&
        isProtocol(message.protocol)
      );
    case "ready":
      return isProtocol(message.protocol);
    case "stats":
      return (
        areAmounts(message, message.role === "balancer" ? BALANCER_STATS : INSTANCE_STATS) &&
        isList(message.latency) &&
        isOptional(message.deferred, (it) => isFields(it) && areAmounts(it, ["jobs", "oldestMs"])) &&
        (message.role !== "balancer" ||
          (isList(message.upstreams, isUpstream) &&
            isOptional(message.spoolBytes, isAmount) &&
            isOptional(message.held, (held) => isList(held, isHeld))))
      );
    case "applied":
      return areAmounts(message, ["version"]) && isList(message.leaving) && typeof message.listening === "boolean";
    case "pong":
      return true;
    case "probed":
      return isAmount(message.id) && isOptional(message.problem, isText);
    case "poison":
      return areTexts(message, ["pool", "request"]) && isList(message.processes, isText);
    case "notice":
      return areTexts(message, ["message"]);
    case "forked":
      return areTexts(message, ["id"]) && areAmounts(message, ["pid"]);
    case "forkFailed":
      return areTexts(message, ["id", "reason"]);
    case "ended":
      return areTexts(message, ["id"]) && isExit({ code: message.code, signal: message.signal });
    case "fault":
      return areTexts(message, ["message"]) && isOptional(message.exit, isExit);
    default:
      // What comes over the wire may be anything, whatever the type says.
      return false;
  }
}

function isProtocol(value: unknown): boolean {
  return value === undefined || value === "http1" || value === "lane" || value === "http1+control";
}

function isUpstream(value: unknown): boolean {
  return (
    isFields(value) &&
    isText(value.id) &&
    areAmounts(value, ["inFlight", "requestsTotal"]) &&
    isOptional(value.errorsTotal, isAmount) &&
    isOptional(value.running, isText) &&
    isOptional(value.overdue, (it) => isFields(it) && isText(it.request) && isAmount(it.forMs)) &&
    isOptional(value.latency, isList)
  );
}

function isHeld(value: unknown): boolean {
  return isFields(value) && isText(value.pool) && areAmounts(value, ["receiving", "sending"]);
}

function isExit(value: unknown): boolean {
  if (!isFields(value)) return false;
  const { code, signal } = value;
  return (code === null || Number.isInteger(code)) && (signal === null || isText(signal));
}
