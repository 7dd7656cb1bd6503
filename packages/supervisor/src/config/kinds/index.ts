/** The list of pool kinds, and the rules that determine a pool's kind. A new kind is a file beside this one and a line here. */
import { app } from "./app.js";
import { asgi } from "./asgi.js";
import { command } from "./command.js";
import { fapws } from "./fapws.js";
import type { Fields, KindContext, KindResult, PoolKind } from "./kind.js";
import { proxy } from "./proxy.js";
import { staticFiles } from "./static.js";
import { worker } from "./worker.js";
import { wsgi } from "./wsgi.js";

const ALL = [app, staticFiles, wsgi, asgi, fapws, command, proxy, worker] as const;

type Merged<U> = (U extends unknown ? (each: U) => void : never) extends (all: infer All) => void ? All : never;

/** The kinds as one list, whatever their keys. */
export const POOL_KINDS = ALL as unknown as readonly PoolKind<Fields>[];

/** The keys of all kinds. */
export const kindFields = Object.assign({}, ...ALL.map(({ fields }) => fields)) as Merged<
  (typeof ALL)[number]["fields"]
>;

export const KIND_NAMES = POOL_KINDS.map(({ name }) => name);

/** The keys of a pool, whatever its kind. */
type KindKeys = Record<string, unknown>;

/** Determines a pool's kind from its keys and resolves it. */
export function resolveKind(
  pool: KindKeys,
  isAtTop: boolean,
  tools: KindContext & {
    /** Whether a problem with one of the kinds' keys is already reported. */
    isReported(): boolean;
  },
): KindResult & Pick<PoolKind<Fields>, "defaultInstances"> & { kind: string; serves: boolean } {
  const { report } = tools;
  const given = POOL_KINDS.filter(({ name }) => pool[name] !== undefined);
  const [kind, second] = given;
  const oneOf = KIND_NAMES.map((name) => `\`${name}\``).join(", ");
  const nothing: KindResult = { source: "", workload: {} };
  const none = { kind: "", serves: true, defaultInstances: 1, ...nothing };
  if (kind === undefined) {
    const orPools = isAtTop ? ", or define `pools`" : "";
    if (!tools.isReported()) report([KIND_NAMES[0] as string], `is missing: set one of ${oneOf}${orPools}`);
    return none;
  }
  if (second !== undefined) {
    report([second.name], `cannot be combined with \`${kind.name}\`: a pool has exactly one of ${oneOf}`);
    return none;
  }
  for (const other of POOL_KINDS) {
    if (other === kind) continue;
    for (const key of Object.keys(other.fields)) {
      // Similar kinds share keys.
      if (pool[key] === undefined || key in kind.fields) continue;
      report([key], `is only valid in ${kindsWith(key)} pools`);
    }
  }
  const { runtime } = kind;
  // At the top level, `runtime` is the default of all processes.
  if (runtime !== undefined && !isAtTop && pool.runtime !== undefined && pool.runtime !== runtime)
    report(["runtime"], `\`${kind.name}\` pools only run on ${runtime}`);
  const needs = runtime === undefined ? {} : { runtime };
  const { name, defaultInstances, serves = true } = kind;
  if (!serves) refuseRequestKeys(pool, name, report);
  return { kind: name, serves, defaultInstances, ...needs, ...kind.resolve(pool as never, tools) };
}

/** The name of the pool that top-level keys define if there is no `pools`. */
export const DEFAULT_POOL = "web";

/** Returns the name of the pool of top-level keys. A pool that gets no requests is named after its kind. */
export function defaultPoolOf(keys: KindKeys): string {
  return POOL_KINDS.find(({ name, serves }) => serves === false && keys[name] !== undefined)?.name ?? DEFAULT_POOL;
}

/** The keys that have a meaning only for requests, in addition to those of kinds. */
export const REQUEST_KEYS = [
  "mode",
  "bind",
  "routes",
  "stripPrefix",
  "queueTimeoutMs",
  "priority",
  "readyPath",
  "healthPath",
  "healthIntervalMs",
  "healthTimeoutMs",
  "healthFailures",
  "healthFall",
  "healthRise",
  "checkHost",
  "warmup",
  "warmupTimeoutMs",
  "policy",
  "backups",
  "ejection",
  "slowStartMs",
  "retryBudget",
  "protocol",
  "compress",
  "maxRequests",
  "limits",
];

function refuseRequestKeys(pool: KindKeys, kind: string, report: KindContext["report"]): void {
  for (const key of REQUEST_KEYS)
    if (pool[key] !== undefined) report([key], `is not valid in \`${kind}\` pools: they get no requests`);
}

/** Returns the kinds whose pools may have this key, for a message. */
function kindsWith(key: string): string {
  const names = POOL_KINDS.filter(({ fields }) => key in fields).map(({ name }) => `\`${name}\``);
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
