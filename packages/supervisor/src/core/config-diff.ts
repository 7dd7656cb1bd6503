/** The changes that a reload would make: config keys, names of variables, release folders. Pure. */
import type { FleetConfig, PoolConfig, Secret } from "./model.js";

export interface KeyChange {
  /** Null for a key of the whole fleet. */
  pool: string | null;
  /** For example `minReadyMs` or `balancer.accessLog`; `pool` if the pool itself is new or gone. */
  key: string;
  /** Values as JSON, limited in length; null if the key is not set. */
  from: string | null;
  to: string | null;
  /** Why a reload would not apply the change; null if it would. */
  note: string | null;
}

export interface VariableChange {
  name: string;
  change: "added" | "removed" | "changed";
  isSecret: boolean;
  pools: string[];
}

/** The folder from which pools were loaded, and the one that would be loaded now. */
export interface ReleaseChange {
  pools: string[];
  from: string;
  to: string;
  /** When the generation in service started, in Unix time. */
  since: number;
}

/** A pool as it is in service, or as it would be after the reload. */
export interface PoolSide {
  config: PoolConfig;
  /** The caller's environment. */
  environment: Readonly<Record<string, string>>;
}

/** A key that a reload refuses to change. */
const NEEDS_START = new Set(["listen", "user"]);
const NEEDS_START_IN_POOL = new Set(["mode", "bind"]);
const NOTE = "needs a stop and a start";

/** Keys that are shown as variables and releases, or that only the supervisor uses. */
const NOT_A_KEY = new Set(["name", "env", "secrets", "release", "launch", "serves", "maxInstances", "source"]);
/** Groups of keys that a config has at the pool's own level. */
const GROUPS = new Set(["policy", "recycle", "relayed", "workload"]);
/** Tables whose values may be secret. */
const HIDDEN = new Set(["env", "headers", "externalAccount"]);
const MAX_VALUE = 160;

/** Returns the keys that differ: of the fleet, of the balancer, of each pool. */
export function keyChanges(before: FleetConfig, after: FleetConfig): KeyChange[] {
  const ofFleet = ({ pools, ...rest }: FleetConfig) => flatten(rest, "", withinRelease(pools[0]?.release), NONE_BELOW);
  const fleet = changesOf(null, ofFleet(before), ofFleet(after));
  const names = [...new Set([...before.pools, ...after.pools].map(({ name }) => name))];
  const pools = names.flatMap((name) => {
    const [from, to] = [before, after].map(({ pools }) => pools.find((pool) => pool.name === name));
    if (from !== undefined && to !== undefined) return changesOf(name, keysOf(from), keysOf(to));
    const change = { pool: name, key: "pool", note: null };
    const kindOf = (pool: PoolConfig | undefined) => (pool === undefined ? null : JSON.stringify(pool.kind));
    return [{ ...change, from: kindOf(from), to: kindOf(to) }];
  });
  return [...fleet, ...pools];
}

function keysOf(pool: PoolConfig): Map<string, string> {
  return flatten(pool, "", withinRelease(pool.release), NOT_A_KEY);
}

/** Paths of two releases count as the same if they are the same relative to the release. */
function withinRelease(release: string | undefined): (text: string) => string {
  return (text) => {
    if (release === undefined || (text !== release && !text.startsWith(`${release}/`))) return text;
    return `.${text.slice(release.length)}`;
  };
}

function flatten(
  value: object,
  prefix: string,
  textOf: (text: string) => string,
  without: ReadonlySet<string>,
  found = new Map<string, string>(),
): Map<string, string> {
  for (const [name, inner] of Object.entries(value)) {
    if (inner === undefined || (prefix === "" && without.has(name))) continue;
    const key = prefix === "" ? name : `${prefix}.${name}`;
    if (HIDDEN.has(name)) found.set(key, fingerprint(inner));
    else if (typeof inner === "object" && inner !== null && !Array.isArray(inner))
      flatten(inner, prefix === "" && GROUPS.has(name) && without.size > 0 ? "" : key, textOf, NONE_BELOW, found);
    else found.set(key, JSON.stringify(mapTexts(inner, textOf)));
  }
  return found;
}

const NONE_BELOW: ReadonlySet<string> = new Set();

function mapTexts(value: unknown, textOf: (text: string) => string): unknown {
  if (typeof value === "string") return textOf(value);
  return Array.isArray(value) ? value.map((each) => mapTexts(each, textOf)) : value;
}

/** The prefix of values that are compared and never shown. */
const SECRET = "\0";

function fingerprint(value: unknown): string {
  return SECRET + JSON.stringify(value);
}

function changesOf(pool: string | null, from: Map<string, string>, to: Map<string, string>): KeyChange[] {
  const keys = [...new Set([...from.keys(), ...to.keys()])].sort();
  return keys.flatMap((key) => {
    const [before, after] = [from.get(key), to.get(key)];
    if (before === after) return [];
    const isFixed = (pool === null ? NEEDS_START : NEEDS_START_IN_POOL).has(key.split(".")[0] ?? "");
    return [
      {
        pool,
        key: key.replace(/^balancer\.policy\./, "balancer."),
        from: shown(before),
        to: shown(after),
        note: isFixed ? NOTE : null,
      },
    ];
  });
}

function shown(value: string | undefined): string | null {
  if (value === undefined) return null;
  if (value.startsWith(SECRET)) return "(not shown)";
  return value.length <= MAX_VALUE ? value : `${value.slice(0, MAX_VALUE)}…`;
}

/** Returns the variables that differ in pools on both sides. Their values are only compared. */
export function variableChanges(before: readonly PoolSide[], after: readonly PoolSide[]): VariableChange[] {
  const found = new Map<string, VariableChange>();
  for (const next of after) {
    const former = before.find(({ config }) => config.name === next.config.name);
    if (former === undefined) continue;
    const [from, to] = [variablesOf(former), variablesOf(next)];
    for (const name of new Set([...from.keys(), ...to.keys()])) {
      const [old, now] = [from.get(name), to.get(name)];
      if (old?.value === now?.value && old?.source === now?.source) continue;
      const change = old === undefined ? "added" : now === undefined ? "removed" : "changed";
      const isSecret = (old?.source ?? now?.source) !== undefined;
      const key = `${name}\0${change}\0${isSecret}`;
      const known = found.get(key) ?? { name, change, isSecret, pools: [] };
      known.pools.push(next.config.name);
      found.set(key, known);
    }
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Whether no process gets this variable of the caller unchanged. */
function isOwn(name: string): boolean {
  return name.startsWith("PACELINE_") || name === "PWD";
}

function variablesOf({ config, environment }: PoolSide): Map<string, { value: string; source?: string }> {
  const ofCaller = Object.entries(environment).filter(([name]) => !isOwn(name));
  const plain = [...ofCaller, ...Object.entries(config.env)].map(([name, value]) => [name, { value }] as const);
  const secrets = Object.entries(config.secrets).map(
    ([name, secret]) => [name, { value: secret.value, source: sourceOf(secret) }] as const,
  );
  return new Map<string, { value: string; source?: string }>([...plain, ...secrets]);
}

function sourceOf(secret: Secret): string {
  return "file" in secret ? `file ${secret.file}` : `credential ${secret.credential}`;
}

/** Returns the release folders of the pools, equal ones together. Includes unchanged folders, because their files may have changed. */
export function releaseChanges(
  before: readonly { config: PoolConfig; since: number }[],
  after: readonly PoolConfig[],
): ReleaseChange[] {
  const found = new Map<string, ReleaseChange>();
  for (const { config, since } of before) {
    const next = after.find(({ name }) => name === config.name);
    if (next === undefined) continue;
    const key = `${config.release}\0${next.release}`;
    const known = found.get(key) ?? { pools: [], from: config.release, to: next.release, since };
    known.pools.push(config.name);
    // If a file was changed after one pool was loaded, it may be new for that pool alone.
    known.since = Math.min(known.since, since);
    found.set(key, known);
  }
  return [...found.values()];
}
