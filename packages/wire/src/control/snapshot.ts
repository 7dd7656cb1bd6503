/** A snapshot of the fleet for balancers: its pools, their upstreams and their rules, and the check of a received one. */
import type { AccessLogRule } from "../access-log.js";
import { BALANCER_LIMITS, type BalancerLimits, badLimit } from "../limits.js";
import {
  type Fields,
  fieldsOf,
  isAmount,
  isCount,
  isFields,
  isFlag,
  isText,
  listOf,
  oneOf,
  optional,
  problemIn,
} from "./checks.js";
import type { TcpAddress, UpstreamProtocol } from "./protocol.js";

/** One upstream of a pool in a snapshot. */
export interface SnapshotUpstream {
  /** The process, such as `web.3#7`. */
  id: string;
  /** The slot, such as `web.3`. */
  name: string;
  /** The path of its unix socket. */
  socket?: string;
  /** Its address instead of a unix socket. */
  tcp?: TcpAddress;
  /** Default: `http1`. */
  protocol?: UpstreamProtocol;
  /**
   * Whether it is not a server of ours. It may close idle connections, so requests that must not be sent twice get a new one, and
   * the balancer counts its responses.
   */
  foreign?: boolean;
  /** Whether a connection may carry the requests of only one client, so that leftover bytes reach nobody else. */
  perClient?: boolean;
  /** The most requests that this balancer may send at once; in tcp mode the most connections. Default: only its own limits apply. */
  maxInFlight?: number;
  /** The version of the PROXY header that begins each connection to it. Default: there is none. */
  sendProxy?: ProxyVersion;
  /** Whether its health checks fail, so that it gets no new requests, unless too many others are out of turn. */
  failsChecks?: boolean;
  /** The value of the cookie that its clients get, in a pool whose clients are recognized by one. */
  cookie?: string;
  /** Another value by which its clients are recognized. */
  alsoCookie?: string;
  /** Its share of the turns, beside the other weights of the pool: a whole number of at least 1. Default: 1. */
  weight?: number;
  /** Whether a deploy tries it: sticky clients of its slot stay with the slot's other process. */
  canary?: boolean;
  /** An operator's weight for its slot, beside `FULL_SHARE`: a whole number from 1 to `MAX_SHARE`. Default: `FULL_SHARE`. */
  share?: number;
  /** An operator's reason why it gets no new requests: none at all, or only if all others are ejected too. Default: it gets some. */
  outOfTurn?: "drained" | "ejected";
  /** How often an operator has readmitted its slot: each time ends what health has ejected. Default: 0. */
  readmits?: number;
  /** Whether it gets requests only while no other one is in turn. */
  backup?: boolean;
}

/** The versions of the PROXY protocol (HAProxy's proxy-protocol.txt). */
export const PROXY_VERSIONS = ["v1", "v2"] as const;

export type ProxyVersion = (typeof PROXY_VERSIONS)[number];

/** The weight of a slot whose weight was not set, and the highest one. */
export const FULL_SHARE = 100;
const MAX_SHARE = 1000;

/** By what a pool finds the slot of a request: a cookie of ours, or a hash of the address, the path, or a field or cookie of that name. */
export interface StickyRule {
  by: "cookie" | "address" | "header" | "path" | "cookie-value";
  name?: string;
  /** Whether a request goes to another slot rather than wait for its own. Default: it waits. */
  isLoose?: boolean;
}

/** How a pool picks an upstream. A further one is also a line in the registry of packages/balancer. */
export const POLICY_NAMES = ["round-robin", "exact", "least-busy", "random-two"] as const;

export type PolicyName = (typeof POLICY_NAMES)[number];

/** When balancers eject an upstream that is worse than the others of its pool; see docs/balancing.md. 0 turns a rule off. */
export interface EjectionRule {
  /** After so many failures in a row. */
  failures: number;
  /** From this share of failures on, in percent. */
  failurePercent: number;
  /** A share counts from this many requests on. */
  minRequests: number;
  /** The time over which requests are remembered. */
  windowMs: number;
  /** For how long it is ejected at first; each further ejection lasts twice as long, up to `maxEjectMs`. */
  ejectMs: number;
  maxEjectMs: number;
  /** The most upstreams of the pool that are out of turn together, in percent. */
  maxEjectedPercent: number;
}

/** How many requests that may have started are sent again: a share of a pool's requests, and a number that is always allowed. */
export interface RetryBudgetRule {
  percent: number;
  minPerSecond: number;
}

/** How often clients may send requests: a bucket of `burst` tokens for each of them, of which `requests` come back in `periodMs`. */
export interface RateLimitRule {
  /** What has a bucket: a client's address, a value of the field `name`, or one of `routes`. */
  by: "address" | "header" | "route";
  /** In lower case. */
  name?: string;
  requests: number;
  periodMs: number;
  burst: number;
  /** The requests that it applies to. Default: all. */
  routes?: string[];
}

/** Which responses of a pool the balancer compresses. */
export interface CompressRule {
  /** Names of content codings. Absent: those of the runtime. */
  codings?: string[];
  /** Media types such as `text/html`, `text/*` and `*+json`. Absent: the usual ones. */
  types?: string[];
  minBytes: number;
  /** How many bodies are compressed at once. */
  maxStreams: number;
  /** Whether those that may contain secrets are compressed, too. */
  secrets: boolean;
}

/** One pool in a snapshot. */
export interface SnapshotPool {
  name: string;
  /** `tcp`: it gets whole connections of the addresses that name it, and no requests. Default: `http`. */
  mode?: "tcp";
  /** `/`, `/api/`, `example.com/`: an optional host and a path prefix, matched by segment; the longest match is used. */
  routes: string[];
  /** Whether its upstreams see paths without the prefix of the matching route. */
  stripPrefix?: boolean;
  /** Set for internal pools, which no client can reach: the folders (absolute paths) of files named in responses. */
  internalRoots?: string[];
  /** Whether the pool also gets TRACE, and proxy targets unchanged. */
  takesAllRequests?: boolean;
  /** Whether its responses may name such files (X-Accel-Redirect, X-Sendfile). */
  sendsFiles?: boolean;
  /** Default: `round-robin`. */
  policy?: PolicyName;
  /** How long its upstreams may go without sending response data, if shorter than the balancer's limit. */
  requestTimeoutMs?: number;
  /** The files of its error pages (absolute paths). `changedAt` differs when a file has changed. */
  errorPages?: { status: number; path: string; changedAt: number }[];
  /** Absent: none of its responses is compressed. */
  compress?: CompressRule;
  /** How long a request may wait in the queue; absent: `limits.upstreamConnectTimeoutMs`, and it is no overload. */
  queueTimeoutMs?: number;
  /** The routes whose requests leave the queue before the others, and after them. */
  priority?: { high: string[]; low: string[] };
  /** Absent: each request goes to the next upstream in turn. */
  sticky?: StickyRule;
  /** It has no upstream that may get requests, but one is expected soon: requests wait in the queue. */
  awaited?: boolean;
  /** Absent: the balancer ejects none of its upstreams. */
  ejection?: EjectionRule;
  /** How long the share of an upstream grows after it is ready or readmitted. */
  slowStartMs?: number;
  /** Absent: every request that may be sent again is. */
  retryBudget?: RetryBudgetRule;
  /** Whether a GET or HEAD that is late at its upstream is sent to a second one, too. */
  hedge?: boolean;
  /** A new generation is being compared with the one in service: the responses of each upstream are counted by route class. */
  judged?: boolean;
  /** In slot order, which is the order of turns. */
  upstreams: SnapshotUpstream[];
}

/** Which ids and traces the balancer makes for requests. */
export interface IdentityRules {
  /** Whether requests get an X-Request-Id, unless a trusted proxy has sent one. */
  ids: boolean;
  /** Whether clients get it with the response. */
  inResponse: boolean;
  /** Absent: traceparent passes unchanged, and none is made. */
  trace?: {
    /** Whose traceparent is kept: that of trusted proxies, or that of all clients. */
    keep: "trusted" | "always";
    /** The share of the traces made here that are marked as sampled. */
    sampled: number;
  };
}

/** The complete, versioned state that a balancer follows. Replaces the previous one and refers to nothing else. */
export interface Snapshot {
  type: "snapshot";
  version: number;
  /**
   * The inherited listening sockets. `proxied`: each connection begins with a PROXY header of a trusted proxy. `pool`: the pool in tcp
   * mode that gets its connections. `tls`: clients speak TLS. `redirect`: requests are redirected to https on that port.
   */
  listen: { fd: number; address: string; proxied?: boolean; pool?: string; tls?: boolean; redirect?: number }[];
  pools: SnapshotPool[];
  /** Trusted proxies: CIDR blocks, and `unix` for all clients of unix sockets. */
  trustedProxies: string[];
  /** The absolute path of the folder for bodies that are too large for memory; absent: none are stored. */
  spoolDir?: string;
  /** Whether requests are logged. */
  accessLog?: boolean;
  /** How; absent: each in the combined format to its output. */
  accessLogRule?: AccessLogRule;
  /** Which ids and traces requests get; absent: none. */
  identity?: IdentityRules;
  /** Whether sampled requests are reported, to be exported as spans. */
  spans?: boolean;
  /** Whether each request is reported, without anything secret, for `paceline record`. */
  recorded?: boolean;
  /** The paths of requests that the balancer responds to itself: whether it runs, and whether the fleet can take requests. */
  probes?: { live?: string; ready?: string };
  /** Absent: clients may send as many requests as they like. */
  rateLimits?: RateLimitRule[];
  /** The value of Strict-Transport-Security in responses over TLS. Absent: they have none of the balancer's. */
  hsts?: string;
  /** How many balancers share the upstreams. Default: 1. */
  balancers?: number;
  /** The fleet stops soon: it is not ready, and serves until the drain. */
  stopping?: boolean;
  limits: BalancerLimits;
}

const isTexts = listOf(isText);
const isPositive = (value: unknown) => isAmount(value) && value > 0;
const isFraction = (value: unknown) => isAmount(value) && value <= 1;
const isShare = (value: unknown) => isCount(value) && (value as number) <= MAX_SHARE;

const isListening = fieldsOf<Snapshot["listen"][number]>({
  ...{ fd: isAmount, address: isText, proxied: optional(isFlag), pool: optional(isText) },
  ...{ tls: optional(isFlag), redirect: optional(isAmount) },
});

const hasUpstreamFields = fieldsOf<SnapshotUpstream>({
  ...{ id: isText, name: isText },
  ...{ cookie: optional(isText), alsoCookie: optional(isText) },
  ...{ failsChecks: optional(isFlag), canary: optional(isFlag), backup: optional(isFlag) },
  ...{ weight: optional(isCount), share: optional(isShare), readmits: optional(isAmount) },
  ...{ sendProxy: oneOf(undefined, ...PROXY_VERSIONS), outOfTurn: oneOf(undefined, "drained", "ejected") },
});

const isTcpAddress = fieldsOf<TcpAddress>({ host: isText, port: isAmount });

function isUpstream(value: unknown): boolean {
  if (!hasUpstreamFields(value)) return false;
  const { tcp, socket } = value as Fields;
  return tcp === undefined ? isText(socket) : isTcpAddress(tcp);
}

/** A rule that goes by the value of something needs its name. */
function isNamed(value: unknown, ...named: readonly string[]): boolean {
  const { by, name } = value as Fields;
  return !named.includes(by as string) || isText(name);
}

const hasStickyFields = fieldsOf<StickyRule>({
  by: oneOf("address", "path", "cookie", "header", "cookie-value"),
  isLoose: optional(isFlag),
});
const isStickyRule = (value: unknown) => hasStickyFields(value) && isNamed(value, "cookie", "header", "cookie-value");

const hasRateFields = fieldsOf<RateLimitRule>({
  by: oneOf("address", "route", "header"),
  ...{ requests: isPositive, periodMs: isPositive, burst: isPositive },
  routes: optional(isTexts),
});
const isRateLimitRule = (value: unknown) => hasRateFields(value) && isNamed(value, "header");

const isErrorPage = fieldsOf<NonNullable<SnapshotPool["errorPages"]>[number]>({
  ...{ status: isAmount, path: isText, changedAt: isAmount },
});

const isCompressRule = fieldsOf<CompressRule>({
  ...{ codings: optional(isTexts), types: optional(isTexts) },
  ...{ minBytes: isAmount, maxStreams: isAmount, secrets: isFlag },
});

const isEjectionRule = fieldsOf<EjectionRule>({
  ...{ failures: isAmount, failurePercent: isAmount, minRequests: isAmount, windowMs: isAmount },
  ...{ ejectMs: isAmount, maxEjectMs: isAmount, maxEjectedPercent: isAmount },
});

const isPool = fieldsOf<SnapshotPool>({
  ...{ name: isText, mode: oneOf(undefined, "tcp"), routes: isTexts, internalRoots: optional(isTexts) },
  ...{ stripPrefix: optional(isFlag), takesAllRequests: optional(isFlag), sendsFiles: optional(isFlag) },
  ...{ awaited: optional(isFlag), judged: optional(isFlag), hedge: optional(isFlag) },
  ...{ requestTimeoutMs: optional(isAmount), queueTimeoutMs: optional(isAmount), slowStartMs: optional(isAmount) },
  policy: oneOf(undefined, ...POLICY_NAMES),
  errorPages: optional(listOf(isErrorPage)),
  compress: optional(isCompressRule),
  priority: optional(fieldsOf<NonNullable<SnapshotPool["priority"]>>({ high: isTexts, low: isTexts })),
  sticky: optional(isStickyRule),
  ejection: optional(isEjectionRule),
  retryBudget: optional(fieldsOf<RetryBudgetRule>({ percent: isAmount, minPerSecond: isAmount })),
  upstreams: listOf(isUpstream),
});

const isIdentityRules = fieldsOf<IdentityRules>({
  ...{ ids: isFlag, inResponse: isFlag },
  trace: optional(
    fieldsOf<NonNullable<IdentityRules["trace"]>>({ keep: oneOf("always", "trusted"), sampled: isFraction }),
  ),
});

/** Returns what is wrong with a received snapshot; undefined if nothing is. Adds the limits that an earlier version does not send. */
export function snapshotProblem(message: Fields): string | undefined {
  const problem = problemIn<Snapshot>(message, {
    version: isCount,
    listen: listOf(isListening),
    pools: listOf(isPool),
    trustedProxies: isTexts,
    ...{ accessLog: optional(isFlag), recorded: optional(isFlag), spans: optional(isFlag), stopping: optional(isFlag) },
    accessLogRule: optional(fieldsOf<AccessLogRule>({ format: isText, file: optional(isText), sample: isFraction })),
    identity: optional(isIdentityRules),
    probes: optional(fieldsOf<NonNullable<Snapshot["probes"]>>({ live: optional(isText), ready: optional(isText) })),
    rateLimits: optional(listOf(isRateLimitRule)),
    balancers: optional(isCount),
    ...{ spoolDir: optional(isText), hsts: optional(isText) },
    limits: isFields,
  });
  if (problem !== undefined) return problem;
  // An earlier version does not send all of them.
  message.limits = { ...BALANCER_LIMITS, ...(message.limits as object) };
  const bad = badLimit(BALANCER_LIMITS, message.limits as object);
  return bad === undefined ? undefined : `no good limits.${bad}`;
}
