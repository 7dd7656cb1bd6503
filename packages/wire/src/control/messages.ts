/** The messages that the supervisor and its children exchange over channel.sock: one JSON object a line. */
import type { BalancerLimits, InstanceLimits } from "../limits.js";

/** The version of this protocol; a child and a supervisor that differ refuse each other with a clear line. */
export const CHANNEL_VERSION = 1;

/** The longest line either side accepts, in bytes; a longer one closes the control channel. */
export const MAX_CHANNEL_LINE_BYTES = 1 << 20;

/** What an instance speaks with its balancers: HTTP/1.1, the lane of docs/lane.md, or HTTP/1.1 with a lane for control. */
export type UpstreamProtocol = "http1" | "lane" | "http1+control";

/** Where an instance that serves HTTP/1.1 on a socket has its lane for control. */
export function controlLanePath(socket: string): string {
  // No longer than the socket's own, which was made to fit a socket address.
  return `${socket.replace(/\.sock$/, "")}.lane`;
}

/** A TCP address of this machine. */
export interface TcpAddress {
  /** An IP address. */
  host: string;
  port: number;
}

/** Where a process serves: the path of a unix socket, or a TCP address. */
export type SocketAddress = string | TcpAddress;

/** The file beside `channelSocket` whose time of change is the moment at which the children lost their supervisor. */
export function lostMarkPath(channelSocket: string): string {
  return `${channelSocket}.lost`;
}

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

/** A sparse latency histogram: bucket index, count, bucket index, count … since the last report. */
export type SparseHistogram = number[];

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

/** What the supervisor puts in the environment of every child of ours; the child removes it before it loads an app. */
export const CHANNEL_ENVIRONMENT = {
  /** The path of channel.sock. */
  channel: "PACELINE_CHANNEL",
  token: "PACELINE_TOKEN",
  attempt: "PACELINE_ATTEMPT",
  /** A ChildSpec as JSON. */
  spec: "PACELINE_SPEC",
} as const;

/**
 * Has Bun read modules on the main thread alone: the threads that it would start for that keep 0.15 MB in each process.
 * Set for our own processes, and taken out of their environment lest others inherit it.
 */
export const BUN_ONE_READER = "BUN_FEATURE_FLAG_DISABLE_ASYNC_TRANSPILER";

/**
 * Has Bun's last and dearest compiler (JavaScriptCore's FTL) take what is sixteen times as hot as usual: a loop that computes
 * still gets there within milliseconds, but many instances do not each compile for seconds what serves a few thousand requests. With
 * sixteen of them on two processors the first hundred thousand requests cost two thirds, and their p99 is a sixth.
 * Set for instances where the user has not set it, and taken out of their environment.
 */
export const BUN_LATE_FTL = { name: "BUN_JSC_thresholdForFTLOptimizeAfterWarmUp", value: "1000000" } as const;

/** A folder of files that an instance serves. */
export interface StaticSpec {
  /** An absolute path. */
  root: string;
  /** StaticOptions of @paceline/server. */
  options: object;
}

/** A program that a shim runs; all that its keys mean is in docs/commands.md. */
export interface CommandSpec {
  /** The absolute path of the program, and its arguments. */
  args: string[];
  /** Its working directory. */
  cwd: string;
  /** Laid over the shim's environment. */
  env: Record<string, string>;
  address: SocketAddress;
  readyPath?: string;
  healthPath?: string;
  healthIntervalMs: number;
  healthTimeoutMs: number;
  /** Failures in a row with which it counts as sick. */
  healthFailures: number;
  /** The Host field of these requests. */
  checkHost: string;
  stopSignal: string;
  /** From that signal to SIGKILL. */
  termTimeoutMs: number;
  /** When the supervisor gives up waiting for it. */
  readyTimeoutMs: number;
}

/** By this variable, whose value is unique to a spawn, the processes of a command are found wherever they have gone. */
export const SPAWN_MARK = "PACELINE_SPAWN";

/** A deleted file of that name is open here: a daemon that overwrites its environment, as nginx does, still has what it came with. */
export const MARK_FD = 3;

/** An upstream elsewhere that an instance is a proxy for. */
export interface ProxySpec {
  /** An http:// or https:// URL. */
  target: string;
  /** ProxyOptions of @paceline/server. */
  options: object;
}

/** What a child is to run; JSON in PACELINE_SPEC. */
export interface ChildSpec {
  orphanGraceMs: number;
  /** For an orphan that must end by itself, and for SIGTERM: how long a drain may take. */
  drainTimeoutMs: number;
  /** How often a process that has something to report does so; 1,000 unless told. */
  reportEveryMs?: number;
  /** Socket files of the supervisor; an orphan removes those on which nobody listens. */
  supervisorSockets?: string[];
  /** The app module's absolute path; for instances. */
  app?: string;
  /** A folder of its generation for what is translated from TypeScript; for apps on Node. */
  cache?: string;
  /** What the app's default export is to be taken for; unless told, its shape tells. */
  style?: "fetch" | "node";
  /** What `process.argv` has after its path. */
  args?: string[];
  /** The folder to serve in the place of an app; for instances. */
  static?: StaticSpec;
  /** The program to run in the place of an app; for shims. */
  command?: CommandSpec;
  /** The upstream to pass requests on to, in the place of an app; for instances. */
  proxy?: ProxySpec;
  /** What a fetch app is to speak with its balancers; `http1` unless told. */
  protocol?: UpstreamProtocol;
  limits?: InstanceLimits;
}
