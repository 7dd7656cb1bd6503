/** What a supervisor says on the control channel, and the parser that refuses what is not a message this version knows. */
import { BALANCER_LIMITS, type BalancerLimits, badLimit } from "../limits.js";
import { ChannelError, type Fields, isAmount, isFields, isList, isOptional, isText, parseLine } from "./checks.js";
import type { TcpAddress, UpstreamProtocol } from "./protocol.js";

/** The supervisor took the hello. */
export interface Welcome {
  type: "welcome";
}

/** The supervisor does not know this child; it says why and closes. The child drains and exits. */
export interface Refused {
  type: "refused";
  reason: string;
}

/** No new work: finish the rest, answer `Connection: close`, exit 0; at the deadline, exit all the same. */
export interface Drain {
  type: "drain";
  /** Milliseconds from receipt until the drain must have ended. */
  deadlineMs: number;
}

/**
 * To a draining instance: no balancer has a connection to it any more, so nothing can be under way that it has not
 * read. It exits as soon as nothing is in flight.
 */
export interface Released {
  type: "released";
}

/** To an instance, when the fleet stops: it serves on, and a drain follows once the balancers have done with it. */
export interface Draining {
  type: "draining";
}

/** To an instance on the lane: calls its app with a GET of this path, whose response says whether it is well. */
export interface ProbeRequest {
  type: "probe";
  id: number;
  path: string;
  host: string;
}

/** To a child that the supervisor has not heard of for a while: it responds with a pong at once. */
export interface Ping {
  type: "ping";
}

/** To a template that is ready: it forks a process, which becomes the instance that its environment says. */
export interface Fork {
  type: "fork";
  /** Such as `web.3#7`. */
  id: string;
  /** What of its environment is its own. */
  environment: Record<string, string>;
  /** The file that its stdout and stderr are appended to. */
  output: string;
}

/** To a Python process with several requests, which is killed a moment later since one has overrun: it writes that one's traceback, where it can. */
export interface DescribeOverdue {
  type: "describeOverdue";
}

/** One upstream of a pool in a snapshot. */
export interface SnapshotUpstream {
  /** The process, such as `web.3#7`. */
  id: string;
  /** The slot, such as `web.3`. */
  name: string;
  /** The path of its unix socket. */
  socket?: string;
  /** Where it is reached in the place of a unix socket. */
  tcp?: TcpAddress;
  /** `http1` unless told. */
  protocol?: UpstreamProtocol;
  /**
   * It is no server of ours. It may close an idle connection of its own accord, so that what must not be sent twice gets a new
   * one; and its responses are counted by the balancer.
   */
  foreign?: boolean;
  /** Each of its connections may carry the requests of one client alone: what a response leaves behind reaches nobody else. */
  perClient?: boolean;
  /** Requests that this balancer may have under way there at once; unless told, as many as its limits allow. */
  maxInFlight?: number;
}

/** One pool in a snapshot. */
export interface SnapshotPool {
  name: string;
  /** `/`, `/api/`, `example.com/`: an optional host and a path prefix, matched on segment boundaries; the longest wins. */
  routes: string[];
  /** Whether its upstreams see paths without the prefix of the route that chose the pool. */
  stripPrefix?: boolean;
  /** No client reaches it: responses that name a file lead to it, which may lie in these folders (absolute paths). */
  internalRoots?: string[];
  /** Whether TRACE goes to it too, and the target of a request to a proxy as it came. */
  takesAllRequests?: boolean;
  /** Whether its responses may name such files (X-Accel-Redirect, X-Sendfile). */
  sendsFiles?: boolean;
  /** How long its upstreams may send nothing of a response that they owe, where that is less than the balancer's limit. */
  requestTimeoutMs?: number;
  /** It has no upstream, and one is expected soon: requests wait for that in the queue. */
  awaited?: boolean;
  /** In slot order; each turn goes through them in this order. */
  upstreams: SnapshotUpstream[];
}

/** The whole of what a balancer follows. It is versioned, replaces the one before it, and refers to nothing outside itself. */
export interface Snapshot {
  type: "snapshot";
  version: number;
  /** The inherited listening sockets. */
  listen: { fd: number; address: string }[];
  pools: SnapshotPool[];
  /** Peers that may say who asks: CIDR blocks, and `unix` for all clients of unix sockets. */
  trustedProxies: string[];
  /** The absolute path of the folder for bodies that are too large for memory; absent: they are not kept. */
  spoolDir?: string;
  /** Whether each request is written to its output as a line of an access log. */
  accessLog?: boolean;
  limits: BalancerLimits;
}

export type SupervisorMessage =
  | Welcome
  | Refused
  | Drain
  | Released
  | Draining
  | ProbeRequest
  | Ping
  | DescribeOverdue
  | Fork
  | Snapshot;

/** The message in one line. @throws ChannelError `bad-message` */
export function parseSupervisorMessage(line: string): SupervisorMessage {
  const message = parseLine(line, (reason, cause) => new ChannelError("bad-message", reason, { cause }));
  const problem = problemOf(message);
  if (problem !== undefined) throw new ChannelError("bad-message", `${String(message.type)}: ${problem}`);
  return message as unknown as SupervisorMessage;
}

function problemOf(message: Fields): string | undefined {
  switch (message.type as SupervisorMessage["type"]) {
    case "welcome":
    case "released":
    case "draining":
    case "ping":
    case "describeOverdue":
      return undefined;
    case "probe":
      return isAmount(message.id) && isText(message.path) && isText(message.host)
        ? undefined
        : "no good id, path or host";
    case "fork":
      return isText(message.id) && isText(message.output) && isFields(message.environment)
        ? undefined
        : "no good id, output or environment";
    case "refused":
      return typeof message.reason === "string" ? undefined : "no reason";
    case "drain":
      return isAmount(message.deadlineMs) ? undefined : "no good deadlineMs";
    case "snapshot":
      return snapshotProblem(message);
    default:
      // What comes over the wire may be anything, whatever the type says.
      return "unknown type";
  }
}

function snapshotProblem(message: Fields): string | undefined {
  if (!Number.isSafeInteger(message.version) || (message.version as number) < 1) return "no good version";
  if (!isList(message.listen, (item) => isFields(item) && isAmount(item.fd) && isText(item.address))) {
    return "no good listen";
  }
  if (!isList(message.pools, isPool)) return "no good pools";
  if (!isList(message.trustedProxies, isText)) return "no good trustedProxies";
  if (!isOptional(message.accessLog, isFlag)) return "no good accessLog";
  if (!isOptional(message.spoolDir, isText)) return "no good spoolDir";
  const limits = message.limits;
  if (!isFields(limits)) return "no limits";
  const bad = badLimit(BALANCER_LIMITS, limits);
  return bad === undefined ? undefined : `no good limits.${bad}`;
}

function isPool(value: unknown): boolean {
  return (
    isFields(value) &&
    isText(value.name) &&
    isList(value.routes, isText) &&
    isOptional(value.stripPrefix, isFlag) &&
    isOptional(value.internalRoots, (roots) => isList(roots, isText)) &&
    isOptional(value.takesAllRequests, isFlag) &&
    isOptional(value.sendsFiles, isFlag) &&
    isOptional(value.awaited, isFlag) &&
    isOptional(value.requestTimeoutMs, isAmount) &&
    isList(value.upstreams, isUpstream)
  );
}

function isUpstream(value: unknown): boolean {
  if (!isFields(value) || !isText(value.id) || !isText(value.name)) return false;
  return value.tcp === undefined ? isText(value.socket) : isTcpAddress(value.tcp);
}

function isTcpAddress(value: unknown): boolean {
  return isFields(value) && isText(value.host) && isAmount(value.port);
}

function isFlag(value: unknown): boolean {
  return typeof value === "boolean";
}
