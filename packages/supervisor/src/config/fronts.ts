/** The keys for the programs in front of or beside the fleet: probes, the time before a drain, HAProxy's agent-check, metrics. */
import type { AdminConfig, FleetConfig, ListenAddress, ProbePaths } from "../core/model.js";
import { expected, fieldOf, flag, milliseconds, oneAddress, secret, table, text, texts } from "./fields.js";
import { parseListenAddress, plainListenAddress } from "./listen-address.js";

const MAX_PRE_DRAIN_MS = 600_000;
/** Without a query, which the request of a probe may have. */
const PATH = /^\/[!"$->@-~]*$/;
const DEFAULT_PATHS = { live: "/-/live", ready: "/-/ready" };

const probeFields = {
  live: text(
    'The path of the liveness probe, such as `"/-/live"`. The response is 200 as long as the balancer responds.',
  ),
  ready: text(
    'The path of the readiness probe, such as `"/-/ready"`. The response is 503 during a stop, while the fleet starts, and as long as no pool has a ready instance.',
  ),
};

/** The keys of `balancer`. */
export const frontFields = {
  proxyProtocol: texts(
    'The addresses of `listen`, and of `bind` of pools, on which each connection begins with a PROXY header (version 1 or 2), or `"all"`. The sender must be in `trustedProxies`; other connections are closed. See [security.md](security.md#the-proxy-protocol).',
    [],
  ),
  probes: fieldOf(
    [flag(false, "").unwrap(), table(probeFields, "").unwrap()],
    expected("must be true, false, or a table with `live` and `ready`"),
    {
      type: "true, false or table",
      default: false,
      description:
        'The paths of GET and HEAD requests that the balancer responds to itself, for every host: `true` means `/-/live` and `/-/ready`; a table such as `{ ready: "/healthz" }` sets other paths, or only one. Probes are neither counted nor logged. By default all paths belong to your app. See [scaling-out.md](scaling-out.md#probes).',
    },
  ),
  preDrainMs: milliseconds(
    0,
    "How long the fleet continues to accept and serve requests after a stop was requested, while the readiness probe and `agentCheck` report that it is not ready. Set this longer than your front takes to notice: its check interval times the number of failures that it waits for. Then no request finds a closed socket.",
    { min: 0, max: MAX_PRE_DRAIN_MS },
  ),
};

/** A key at the top level. */
export const agentCheck = oneAddress(
  'Where the supervisor responds to HAProxy\'s `agent-check`, such as `"10.0.0.5:9999"`: `drain` during a stop, `down` if no instance serves, otherwise `up` and a weight that depends on the load. Every client of this address can read the state. Default: none. See [scaling-out.md](scaling-out.md#agent-check).',
);

/** A key at the top level. */
export const adminFields = {
  listen: oneAddress(
    'A loopback address where the supervisor serves the [page](page.md) and [metrics](metrics.md) by HTTP, such as `"127.0.0.1:9090"`. Every user of the machine can read the metrics; the page needs a token. Default: none.',
  ),
  token: secret(
    "The token for the page, of at least 16 characters: `{ file: … }` or `{ credential: … }`, as for [secrets](security.md#secrets). The file is read at each request. Default: a token that the supervisor creates in the run directory; `paceline page` prints the address with the token.",
  ),
  write: flag(false, "Whether the page may restart, reload, scale, drain and roll back. Otherwise it is read-only."),
};

type Reporter = (path: string[], message: string) => void;

/** Converts `proxyProtocol` to positions in `listen`. */
export function resolveProxied(
  {
    proxyProtocol = [],
    trustedProxies = [],
  }: { proxyProtocol?: string[] | undefined; trustedProxies?: string[] | undefined },
  listen: readonly ListenAddress[],
  folder: string,
  report: Reporter,
): number[] {
  if (proxyProtocol.length > 0 && trustedProxies.length === 0)
    report([], "needs `balancer.trustedProxies`, the addresses of the proxies that send the PROXY header");
  const known = listen.map(plainListenAddress);
  const found = proxyProtocol.flatMap((text, at) => {
    if (text === "all") return listen.map((_, index) => index);
    const address = parseListenAddress(text, folder);
    const index = "problem" in address ? -1 : known.indexOf(plainListenAddress(address));
    if (index < 0)
      report([`${at}`], `must be "all" or one of the addresses in \`listen\`, not ${JSON.stringify(text)}`);
    return index;
  });
  return [...new Set(found)];
}

/** Resolves `probes`; null if there are none. */
export function resolveProbes(
  given: boolean | { live?: string | undefined; ready?: string | undefined } | undefined,
  report: Reporter,
): ProbePaths | null {
  if (given === undefined || given === false) return null;
  const { live, ready } = given === true ? DEFAULT_PATHS : given;
  for (const [key, path] of Object.entries({ live, ready })) {
    if (path !== undefined && !PATH.test(path))
      report([key], `must be a path that begins with /, without spaces, ? and #, not ${JSON.stringify(path)}`);
  }
  if (live !== undefined && live === ready) report(["ready"], "must differ from `live`");
  if (live === undefined && ready === undefined) return null;
  return { ...(live !== undefined && { live }), ...(ready !== undefined && { ready }) };
}

/** Resolves `agentCheck`; null if there is none. */
export function resolveAgentCheck(
  given: string | undefined,
  listen: readonly ListenAddress[],
  report: Reporter,
): FleetConfig["agentCheck"] {
  return resolveTcp(given, listen, report, "HAProxy's agent-check uses TCP");
}

/**
 * Resolves `admin`; null if there is none.
 * @param tokenFile the path of the file of `admin.token`, if there is one
 */
export function resolveAdmin(
  given: { listen?: string | undefined; write?: boolean | undefined } | undefined,
  tokenFile: string | null,
  listen: readonly ListenAddress[],
  report: Reporter,
): AdminConfig | null {
  const address = resolveTcp(given?.listen, listen, report, "the control socket has the page and the metrics, too");
  const isReachable = address !== null && !isLoopback(address.host);
  if (isReachable)
    report([], `must be a loopback address such as "127.0.0.1:${address.port}": it speaks without encryption`);
  if (given === undefined) return null;
  return { listen: isReachable ? null : address, tokenFile, mayWrite: given.write ?? false };
}

function isLoopback(host: string): boolean {
  return host.startsWith("127.") || host === "::1";
}

function resolveTcp(
  given: string | undefined,
  listen: readonly ListenAddress[],
  report: Reporter,
  whyTcp: string,
): { host: string; port: number } | null {
  if (given === undefined) return null;
  const address = parseListenAddress(given, "/");
  if ("problem" in address) {
    report([], address.problem);
    return null;
  }
  if (address.kind === "unix") {
    report([], `must be "HOST:PORT", not ${JSON.stringify(given)}: ${whyTcp}`);
    return null;
  }
  const text = plainListenAddress(address);
  if (listen.some((other) => plainListenAddress(other) === text)) report([], "is one of the addresses in `listen`");
  return { host: address.host, port: address.port };
}
