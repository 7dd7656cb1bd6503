/** A snapshot of the fleet for balancers: its pools, their upstreams and their rules; and the check of a received one. */
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
  /** The process, for example `web.3#7`. */
  id: string;
  /** The slot, for example `web.3`. */
  name: string;
  /** The path of its unix socket. */
  socket?: string;
  /** Its address, if that is not a unix socket. */
  tcp?: TcpAddress;
  /** Default: `http1`. */
  protocol?: UpstreamProtocol;
  /**
   * Whether it is a program that is not one of our servers. Such a program may close idle connections, so requests that must not be sent
   * twice get a new connection, and the balancer counts its responses.
   */
  foreign?: boolean;
  /** Whether a connection may carry the requests of only one client, so that leftover bytes never reach another client. */
  perClient?: boolean;
  /**
   * The maximum number of requests, in tcp mode of connections, that this balancer may have there at once. Default: only the upstream's own
   * limits apply.
   */
  maxInFlight?: number;
  /** The version of the PROXY header at the start of each connection to it. Default: no header. */
  sendProxy?: ProxyVersion;
  /** Whether its health checks fail. It then gets no new requests, unless too many other upstreams are out of turn. */
  failsChecks?: boolean;
  /** The cookie value that its clients get, in a pool that recognizes clients by a cookie. */
  cookie?: string;
  /** Another cookie value by which its clients are recognized. */
  alsoCookie?: string;
  /** Its share of the turns, relative to the other weights of the pool: a whole number of at least 1. Default: 1. */
  weight?: number;
  /** Whether it is a canary of a deploy: sticky clients of its slot stay with the slot's other process. */
  canary?: boolean;
  /** An operator's weight for its slot, relative to `FULL_SHARE`: a whole number from 1 to `MAX_SHARE`. Default: `FULL_SHARE`. */
  share?: number;
  /**
   * An operator's reason why it gets no new requests. With `drained` it gets none at all; with `ejected`, only if all others are ejected
   * too. Default: it gets requests.
   */
  outOfTurn?: "drained" | "ejected";
  /** How often an operator has readmitted its slot. Each time ends an ejection for bad health. Default: 0. */
  readmits?: number;
  /** Whether it gets requests only while no other one is in turn. */
  backup?: boolean;
}

/** The versions of the PROXY protocol (HAProxy's proxy-protocol.txt). */
export const PROXY_VERSIONS = ["v1", "v2"] as const;

export type ProxyVersion = (typeof PROXY_VERSIONS)[number];

/** The weight of a slot whose weight was not set, and the maximum weight. */
export const FULL_SHARE = 100;
const MAX_SHARE = 1000;

/**
 * How a pool finds the slot of a request: by a cookie of the balancer, or by a hash of the address, the path, or a named field or cookie.
 */
export interface StickyRule {
  by: "cookie" | "address" | "header" | "path" | "cookie-value";
  name?: string;
  /** Whether a request goes to another slot instead of waiting for its own. Default: it waits. */
  isLoose?: boolean;
}

/** How a pool picks an upstream. A new policy is also a line in the registry of packages/balancer. */
export const POLICY_NAMES = ["round-robin", "exact", "least-busy", "random-two"] as const;

export type PolicyName = (typeof POLICY_NAMES)[number];

/** When balancers eject an upstream that is worse than the others of its pool; see docs/balancing.md. 0 turns a rule off. */
export interface EjectionRule {
  /** The number of consecutive failures. */
  failures: number;
  /** The failure rate, in percent. */
  failurePercent: number;
  /** The failure rate is judged only from this number of requests on. */
  minRequests: number;
  /** How long requests are remembered, in milliseconds. */
  windowMs: number;
  /** How long an upstream is ejected at first, in milliseconds. Each further ejection lasts twice as long, up to `maxEjectMs`. */
  ejectMs: number;
  maxEjectMs: number;
  /** The maximum share of the pool's upstreams that are out of turn at the same time, in percent. */
  maxEjectedPercent: number;
}

/** Limits how many requests that may have started are sent again: a share of a pool's requests, and a number that is always allowed. */
export interface RetryBudgetRule {
  percent: number;
  minPerSecond: number;
}

/** How often clients may send requests. Each client has a bucket of `burst` tokens, of which `requests` return in `periodMs`. */
export interface RateLimitRule {
  /** Which values get separate buckets: the client's address, the field `name`, or the `routes`. */
  by: "address" | "header" | "route";
  /** In lower case. */
  name?: string;
  requests: number;
  periodMs: number;
  burst: number;
  /** The routes to which the rule applies. Default: all requests. */
  routes?: string[];
}

/** Which responses of a pool the balancer compresses. */
export interface CompressRule {
  /** Names of content codings. Absent: those of the runtime. */
  codings?: string[];
  /** Media types, for example `text/html`, `text/*` and `*+json`. Absent: the usual ones. */
  types?: string[];
  minBytes: number;
  /** The maximum number of bodies that are compressed at once. */
  maxStreams: number;
  /** Whether responses that may contain secrets are also compressed. */
  secrets: boolean;
}

/** One pool in a snapshot. */
export interface SnapshotPool {
  name: string;
  /** With `tcp`, the pool gets whole connections of the addresses that name it, instead of requests. Default: `http`. */
  mode?: "tcp";
  /** For example `/`, `/api/`, `example.com/`: an optional host and a path prefix, matched by segment. The longest match is used. */
  routes: string[];
  /** Whether its upstreams see paths without the prefix of the matching route. */
  stripPrefix?: boolean;
  /** Set for internal pools, which no client can reach: the folders (absolute paths) of files that responses may name. */
  internalRoots?: string[];
  /** Whether the pool also gets TRACE, and absolute targets unchanged. */
  takesAllRequests?: boolean;
  /** Whether its responses may name files of internal pools (X-Accel-Redirect, X-Sendfile). */
  sendsFiles?: boolean;
  /** Default: `round-robin`. */
  policy?: PolicyName;
  /** How long its upstreams may go without sending response data, if that is shorter than the balancer's limit. In milliseconds. */
  requestTimeoutMs?: number;
  /** The files of its error pages (absolute paths). `changedAt` differs when a file has changed. */
  errorPages?: { status: number; path: string; changedAt: number }[];
  /** Absent: no response of the pool is compressed. */
  compress?: CompressRule;
  /** How long a request may wait in the queue, in milliseconds. Absent: `limits.upstreamConnectTimeoutMs`, and no overload protection. */
  queueTimeoutMs?: number;
  /** The routes whose requests leave the queue before the others, and the routes whose requests leave it after them. */
  priority?: { high: string[]; low: string[] };
  /** Absent: each request goes to the next upstream in turn. */
  sticky?: StickyRule;
  /** Whether it has no upstream that may get requests, but expects one soon. Meanwhile, requests wait in the queue. */
  awaited?: boolean;
  /** Absent: the balancer ejects no upstream of the pool. */
  ejection?: EjectionRule;
  /** How long the share of an upstream grows after it became ready or was readmitted, in milliseconds. */
  slowStartMs?: number;
  /** Absent: there is no limit on requests that are sent again. */
  retryBudget?: RetryBudgetRule;
  /** Whether a GET or HEAD that is late at its upstream is also sent to a second one. */
  hedge?: boolean;
  /**
   * Whether a new generation is being compared with the one in service. If so, the responses of each upstream are counted by route class.
   */
  judged?: boolean;
  /** In slot order, which is the order of turns. */
  upstreams: SnapshotUpstream[];
}

/** Which ids and traces the balancer creates for requests. */
export interface IdentityRules {
  /** Whether requests get an X-Request-Id, unless a trusted proxy has sent one. */
  ids: boolean;
  /** Whether clients get the id with the response. */
  inResponse: boolean;
  /** Absent: traceparent passes unchanged, and none is created. */
  trace?: {
    /** Whose traceparent is kept: only that of trusted proxies, or that of all clients. */
    keep: "trusted" | "always";
    /** The share of the created traces that are marked as sampled. */
    sampled: number;
  };
}

/** The complete, versioned state that a balancer follows. It replaces the previous one and refers to nothing outside itself. */
export interface Snapshot {
  type: "snapshot";
  version: number;
  /**
   * The inherited listening sockets. `proxied`: each connection starts with a PROXY header of a trusted proxy. `pool`: the pool in tcp mode
   * that gets its connections. `tls`: clients speak TLS. `redirect`: requests are redirected to https on that port.
   */
  listen: { fd: number; address: string; proxied?: boolean; pool?: string; tls?: boolean; redirect?: number }[];
  pools: SnapshotPool[];
  /** Trusted proxies: CIDR blocks, and `unix` for all clients of unix sockets. */
  trustedProxies: string[];
  /** The absolute path of the folder for bodies that are too large for memory. If absent, no body is stored. */
  spoolDir?: string;
  /** Whether requests are logged. */
  accessLog?: boolean;
  /** How requests are logged. Absent: all of them in the combined format, to the balancer's output. */
  accessLogRule?: AccessLogRule;
  /** Which ids and traces requests get; absent: none. */
  identity?: IdentityRules;
  /** Whether sampled requests are reported, so that they can be exported as spans. */
  spans?: boolean;
  /** Whether each request is reported for `paceline record`, without any secrets. */
  recorded?: boolean;
  /** The paths of requests to which the balancer itself responds: whether it runs, and whether the fleet can take requests. */
  probes?: { live?: string; ready?: string };
  /** Absent: the rate of requests is not limited. */
  rateLimits?: RateLimitRule[];
  /** The value of Strict-Transport-Security in responses over TLS. Absent: the balancer adds none. */
  hsts?: string;
  /** How many balancers share the upstreams. Default: 1. */
  balancers?: number;
  /** Whether the fleet stops soon: it is not ready, and serves until the drain. */
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

/** Whether a rule has a name, if its kind needs one as `cookie` and `header` do. */
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

/** Returns what is wrong with a received snapshot; undefined if it is valid. Adds the limits that an earlier version does not send. */
export function snapshotProblem(message: Fields): string | undefined {
  const problem = problemIn<Snapshot>(message, {
    version: isCount,
    listen: listOf(isListening),
    pools: listOf(isPool),
    trustedProxies: isTexts,
    ...{ accessLog: optional(isFlag), recorded: optional(isFlag), spans: optional(isFlag), stopping: optional(isFlag) },
    accessLogRule: optional(
      fieldsOf<AccessLogRule>({
        ...{ format: isText, file: optional(isText), sample: isFraction, except: optional(isTexts) },
      }),
    ),
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
