/**
 * The facts about a fleet that every export needs: its deadlines, sizes, memory and port, and the settings that differ on another machine
 * or in a container.
 */
import { createHash } from "node:crypto";
import { isIP } from "node:net";
import { isAbsolute, join, relative } from "node:path";
import type { FleetConfig, ListenAddress, PoolConfig, RelayTraits } from "../core/model.js";

/** A fleet to export, with the command's options. */
export interface ExportInput {
  config: FleetConfig;
  /** The arguments of `paceline start`, as on the command line. */
  start: readonly string[];
  /** The folder of the fleet, as written. */
  folder: string;
  /** The fleet's folder in the image. */
  workdir: string;
  /** The name of the image. */
  image: string | undefined;
  /** The machines that run the fleet: addresses, with or without a name and a port, for example `box1=10.0.0.1:8080`. */
  boxes: readonly Box[];
  /** The address on which a proxy in front listens. */
  bind: string;
}

export interface Box {
  name: string;
  /** A name or an address. */
  host: string;
  /** Undefined: the port in `listen`. */
  port: number | undefined;
}

/** The command in an image that was built as in docs/operations.md. */
export const PACELINE_IN_IMAGE = "node_modules/.bin/paceline";
/** The time that a supervisor and a balancer need in addition to their deadlines, in milliseconds. */
const STOP_MARGIN_MS = 1000;
/** The maximum memory, in megabytes and without load, of the supervisor and of each balancer. */
const SUPERVISOR_MB = 100;
const BALANCER_MB = 60;
/**
 * How long a proxy in front may take to notice that a machine is gone, if it checks each second and acts on the second failure. In
 * milliseconds.
 */
export const NOTICE_MS = 3000;

/** The maximum time of a start, and of a stop, in milliseconds. */
export function deadlines({ pools, balancer }: FleetConfig): { startMs: number; stopMs: number } {
  const policies = [balancer.policy, ...pools.map(({ policy }) => policy)];
  const most = (of: (policy: (typeof policies)[number]) => number) => Math.max(...policies.map(of));
  const endMs = most(({ drainTimeoutMs, termTimeoutMs }) => drainTimeoutMs + STOP_MARGIN_MS + 2 * termTimeoutMs);
  return {
    // An instance that fails to start is tried again.
    startMs: 3 * most(({ readyTimeoutMs }) => readyTimeoutMs),
    stopMs: balancer.preDrainMs + endMs,
  };
}

export function wholeSeconds(ms: number): number {
  return Math.ceil(ms / 1000);
}

/** Returns a name that DNS and Kubernetes accept. Different names stay different. */
export function dnsName(name: string): string {
  const plain = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^[^a-z]+|-+$/g, "")
    .slice(0, 40)
    .replace(/-+$/, "");
  if (plain === name) return name;
  const hash = createHash("sha256").update(name).digest("hex").slice(0, 6);
  return `${plain === "" ? "fleet" : plain}-${hash}`;
}

type TcpAddress = ListenAddress & { kind: "tcp" };

/**
 * Returns the first TCP address, preferably one that others can reach; undefined if the fleet listens only on unix sockets, or not at all.
 */
export function tcpAddress({ listen }: FleetConfig): TcpAddress | undefined {
  const all = listen.filter((address): address is TcpAddress => address.kind === "tcp" && address.pool === undefined);
  return all.find(({ host }) => !isLoopback(host)) ?? all[0];
}

export function isLoopback(host: string): boolean {
  return host === "::1" || host.startsWith("127.");
}

/** Whether a container can listen there, since it has an address of its own. */
export function isForAll(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}

/** Returns an address with a port in the notation of URLs. */
export function hostPort(host: string, port: number): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

export function sizesOf({ instances, scaling }: PoolConfig): { min: number; max: number } {
  return { min: scaling?.min ?? instances, max: scaling?.max ?? instances };
}

/** Returns the memory that the whole fleet may take, and in `unlimited` the pools without `maxMemoryMb`. */
export function memoryOf({ pools, balancer }: FleetConfig): { megabytes: number; unlimited: string[] } {
  const unlimited = pools.filter(({ recycle }) => recycle.maxMemoryMb === 0).map(({ name }) => name);
  // A recycled process runs beside its replacement.
  const beside = Math.max(0, ...pools.map(({ recycle }) => recycle.maxMemoryMb));
  const all = pools.reduce((sum, pool) => sum + sizesOf(pool).max * pool.recycle.maxMemoryMb, beside);
  return { megabytes: SUPERVISOR_MB + balancer.processes * BALANCER_MB + all, unlimited };
}

/** Returns how the fleet recognizes sticky clients, by the first pool that does. */
export function stickyOf({
  pools,
}: FleetConfig): { pool: string; rule: NonNullable<RelayTraits["sticky"]> } | undefined {
  for (const { name, relayed } of pools) {
    const { sticky: rule } = relayed;
    // A loose rule only distributes requests over the instances of a machine, so its clients may use another machine.
    if (rule !== undefined && rule.isLoose !== true) return { pool: name, rule };
  }
  return undefined;
}

/** Returns the words after `paceline` in a container: every address is one of the container, and paths are those in the image. */
export function containerStart({ config, start, folder }: ExportInput): string[] {
  const words = start.map((word) => {
    if (!isAbsolute(word)) return word;
    const path = relative(folder, word);
    return path.startsWith("..") ? word : path === "" ? "." : `./${path}`;
  });
  const address = tcpAddress(config);
  if (config.listen.length === 0 || (address !== undefined && isForAll(address.host))) return ["start", ...words];
  return ["start", "--listen", `:${address?.port ?? 8080}`, ...withoutListen(words)];
}

/** The address replaces those of the caller. */
function withoutListen(words: readonly string[]): string[] {
  const end = words.indexOf("--");
  return words.filter((word, at) => {
    if (end >= 0 && at >= end) return true;
    return word !== "--listen" && words[at - 1] !== "--listen";
  });
}

/** A file that a container gets from outside: its path in the container, and the unique key of its secret. */
interface MountedFile {
  key: string;
  path: string;
}

/** A credential of systemd: its file in the folder of credentials has its name. */
interface MountedCredential {
  key: string;
  name: string;
}

/** Returns the secrets of `env` and the env files, which should not be in an image. */
export function mountedFiles(input: ExportInput): {
  secrets: MountedFile[];
  credentials: MountedCredential[];
  envFiles: MountedFile[];
} {
  const { config, folder, workdir } = input;
  const release = config.pools[0]?.release ?? folder;
  const inside = (path: string) => {
    const within = relative(release, path);
    return within.startsWith("..") ? path : join(workdir, within);
  };
  const sources = config.pools.flatMap(({ secrets }) => Object.values(secrets));
  const files = sources.flatMap((source) => ("file" in source ? [source.file] : []));
  const credentials = sources.flatMap((source) => ("credential" in source ? [source.credential] : []));
  const keys = new Set<string>();
  const mounted = (paths: readonly string[]) =>
    [...new Set(paths)].map((path) => ({ key: newKey(path, keys), path: inside(path) }));
  return {
    secrets: mounted(files),
    credentials: [...new Set(credentials)].map((name) => ({ key: newKey(name, keys), name })),
    envFiles: mounted(config.pools.flatMap(({ envFiles }) => envFiles)),
  };
}

const MAX_KEY = 200;

/** Returns a key for a Secret: the file's name in the allowed characters, with a number if another file has that key. */
function newKey(path: string, keys: Set<string>): string {
  const name = path.slice(path.lastIndexOf("/") + 1).slice(0, MAX_KEY);
  const plain = name.replace(/[^-._a-zA-Z0-9]/g, "_").replace(/^\.\./, "_.");
  let key = plain;
  for (let number = 2; keys.has(key); number++) key = `${plain}-${number}`;
  keys.add(key);
  return key;
}
