/** The keys for how a pool gets its clients: by requests, by connections, or without a balancer. */
import type { ListenAddress, PoolConfig } from "../core/model.js";
import { canShareAddresses } from "../core/serving.js";
import type { Runtimes } from "../runtime/runtimes.js";
import { addresses, word } from "./fields.js";

type PoolMode = "http" | "tcp" | "direct";

export const modeFields = {
  mode: word(
    ["http", "tcp", "direct"],
    'How clients reach the instances. `"http"`: the balancer picks an instance for each request. `"tcp"`: the balancer picks an instance for each connection and passes on all bytes, for any protocol, such as that of a database; only for `command` pools. `"direct"`: without a balancer; the instances share the addresses, and the kernel assigns each connection to one of them; only for `app`, `static` and `wsgi` pools. See [modes.md](modes.md). Default: `"http"`.',
  ),
  bind: addresses(
    'Where a pool with `mode: "tcp"` or `"direct"` listens, such as `"127.0.0.1:6379"` or `"unix:/run/cache.sock"`. The forms are those of `listen`; as with `listen`, a change needs a stop and a start. Default: `listen`, if no other pool gets requests.',
  ),
};

interface ModeInput {
  mode?: PoolMode | undefined;
  bind?: string[] | undefined;
  sticky?: string | undefined;
  policy?: string | undefined;
  healthIntervalMs?: number | undefined;
}

/** The keys about requests, which do not apply to connections. */
const ABOUT_REQUESTS = [
  ...["routes", "stripPrefix", "readyPath", "healthPath", "checkHost", "warmup", "warmupTimeoutMs", "priority"],
  ...[
    "queueTimeoutMs",
    "retryBudget",
    "hedge",
    "requestTimeoutMs",
    "maxRequests",
    "errorPages",
    "compress",
    "limits",
    "protocol",
  ],
] as const;

type Report = (path: (string | number)[], message: string) => void;

/** Checks the keys of a pool against its mode. Returns the changes that the mode requires in its configuration. */
export function resolveMode(
  pool: ModeInput & object,
  kind: string,
  { preferred }: Pick<Runtimes, "preferred">,
  report: Report,
): Pick<PoolConfig, "mode"> {
  const { mode = "http", bind, sticky, policy } = pool;
  if (mode === "http") {
    if (bind !== undefined)
      report(["bind"], 'is only valid with `mode: "tcp"` or `"direct"`; requests come from the addresses in `listen`');
    return {};
  }
  if (mode === "direct") {
    checkDirect(pool, kind, report);
    if (preferred !== "bun" && !canShareAddresses(process.versions))
      report(["mode"], `"direct" needs Bun, or Node from 22.12 on; this is Node ${process.versions.node}`);
    return { mode };
  }
  if (kind !== "command" && kind !== "")
    report(
      ["mode"],
      `"tcp" is only valid in \`command\` pools: instances of \`${kind}\` pools rely on the balancer to check requests`,
    );
  for (const key of ABOUT_REQUESTS)
    if ((pool as Record<string, unknown>)[key] !== undefined)
      report([key], 'is not valid with `mode: "tcp"`, which passes on connections and reads no requests');
  if (sticky !== undefined && sticky !== "address")
    report(["sticky"], 'must be "address" with `mode: "tcp"`: nothing else is known of a client');
  if (policy?.startsWith("hash:") === true && policy !== "hash:address")
    report(["policy"], 'can only hash the address with `mode: "tcp"`: nothing else is known of a client');
  return { mode };
}

/** The keys for features that only a balancer has. */
const ABOUT_BALANCERS = [
  ...["routes", "stripPrefix", "priority", "queueTimeoutMs", "retryBudget", "errorPages", "compress"],
  ...["policy", "sticky", "backups", "ejection", "slowStartMs", "protocol", "healthFall", "healthRise"],
] as const;

function checkDirect(pool: object, kind: string, report: Report): void {
  const keys = pool as Record<string, unknown>;
  const why = DIRECT_PROBLEMS[kind];
  if (why !== undefined) report(["mode"], `"direct" is only valid in \`app\`, \`static\` and \`wsgi\` pools: ${why}`);
  for (const key of ABOUT_BALANCERS)
    if (keys[key] !== undefined)
      report([key], 'is not valid with `mode: "direct"`, where no balancer sees the requests');
  if (keys.preload === true)
    report(["preload"], 'is not valid with `mode: "direct"`: forked instances do not inherit the sockets');
  if (typeof keys.instances === "object")
    report(["instances"], 'must be a number with `mode: "direct"`: the load is not known without a balancer');
}

const DIRECT_PROBLEMS: Readonly<Record<string, string>> = {
  command: "a program would have to share the address by itself; run it as a `worker`",
  proxy: "a proxy has one upstream, and a balancer before it costs little",
  asgi: "its server is given a socket of its own",
  fapws: "name the callable as a `wsgi` pool",
};

interface Binder {
  name: string;
  /** The path of its keys in the file. */
  path: (string | number)[];
  mode?: PoolMode | undefined;
  bind?: string[] | undefined;
}

/** An address as written, its position, and the pool that gets its connections. Without a pool, the address takes requests. */
export interface WrittenAddress {
  text: string;
  at: (string | number)[];
  pool?: string;
}

type Shared = ListenAddress & { kind: "tcp" };

/** Assigns the addresses of pools in direct mode to these pools, and returns the others together with the pools. */
export function splitAddresses(
  pools: readonly PoolConfig[],
  all: readonly ListenAddress[],
  report: (pool: string, message: string) => void,
): { listen: ListenAddress[]; pools: PoolConfig[] } {
  const direct = new Set(pools.flatMap(({ mode, name }) => (mode === "direct" ? [name] : [])));
  const isDirect = ({ pool }: ListenAddress) => pool !== undefined && direct.has(pool);
  const bindOf = (name: string): Shared[] =>
    all.flatMap(({ pool, ...address }) => {
      if (pool !== name) return [];
      if (address.kind === "tcp") return [address];
      report(name, `cannot be a unix socket with \`mode: "direct"\`: instances can only share TCP addresses`);
      return [];
    });
  return {
    listen: all.filter((address) => !isDirect(address)),
    pools: pools.map((pool) => (direct.has(pool.name) ? { ...pool, bind: bindOf(pool.name) } : pool)),
  };
}

/**
 * Returns all addresses of the fleet: those of `listen`, if a pool takes requests or connections there, then those of the pools.
 * @param listen undefined if the config does not set it
 */
export function writtenAddresses(
  pools: readonly Binder[],
  listen: readonly string[] | undefined,
  byDefault: string,
  report: Report,
): WrittenAddress[] {
  const [only, ...others] = pools;
  const own = pools.flatMap(({ bind = [], path, name }) =>
    bind.map((text, at) => ({ text, at: [...path, "bind", at], pool: name })),
  );
  const isShared = pools.some(({ mode = "http" }) => mode === "http");
  const shared = (pool?: string): WrittenAddress[] =>
    (listen ?? [byDefault]).map((text, at) => ({
      ...{ text, at: listen === undefined ? ["listen"] : ["listen", at] },
      ...(pool !== undefined && { pool }),
    }));
  for (const { mode = "http", bind, path } of pools)
    if (mode !== "http" && bind === undefined && others.length > 0)
      report([...path, "bind"], "is missing: `listen` is for the other pools");
  if (isShared || pools.length === 0) return [...shared(), ...own];
  if (others.length === 0 && only?.bind === undefined) return shared(only?.name);
  if (listen !== undefined) report(["listen"], "is not valid here: each pool has addresses of its own in `bind`");
  return own;
}
