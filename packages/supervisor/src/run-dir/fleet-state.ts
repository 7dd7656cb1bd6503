/** `state.json` in a run directory: what a new supervisor needs to continue with the fleet of a supervisor that was killed. */
import { closeSync, constants, fstatSync, openSync, readSync, renameSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { attempt } from "@paceline/wire/proc";
import type { SavedFleet } from "../core/adoption.js";
import type { FleetConfig, PoolConfig } from "../core/model.js";
import { PacelineError } from "../errors.js";
import { isState, isTable } from "./state-shape.js";

/** All times are Unix times in milliseconds. */
export interface FleetState {
  version: typeof VERSION;
  /** The boot id of the boot during which the processes were started; an older supervisor writes none. */
  boot?: string;
  /** When the fleet was started. */
  startedAt: number;
  /** The folder of the sockets and output files, inside the run directory. */
  folder: string;
  /** The configuration in force. */
  config: FleetConfig;
  /** The first one is the caller's environment, which further generations get. */
  environments: Record<string, string>[];
  generations: SavedGeneration[];
  /** The pools that balancers know by their routes. */
  routed: string[];
  fleet: SavedFleet;
  /** The version of the newest snapshot that balancers have got. */
  snapshotVersion: number;
  /** Whether a reload stopped after it had replaced only some balancers. */
  areBalancersMixed: boolean;
  processes: SavedProcess[];
  slots: SavedSlot[];
  /** The number of the last template of each pool. */
  templates: [pool: string, attempt: number][];
  /** The minimum size that `scale` has set for autoscaled pools; an older supervisor writes none. */
  floors?: [pool: string, instances: number][];
  /** What a rollback needs: generations, sizes, and the deploy that reloads read. An older supervisor writes none. */
  former?: [pool: string, generation: number][];
  formerSizes?: [pool: string, before: number, after: number][];
  deployed?: Deployed | undefined;
  formerlyDeployed?: Deployed | undefined;
  /** The sizes from before a stop that was in progress; an older supervisor writes none. */
  stoppedFrom?: [pool: string, instances: number][];
  /** The actual port of each address in `config.listen`; null for a unix socket. */
  ports: (number | null)[];
  /** The counts of exited processes. */
  totals: (SavedCounts & { pool: string })[];
  /** The counts of routes, as RouteTotals saves them; an older supervisor writes none. */
  routes?: SavedRoute[];
}

/** What a deploy has put in service. Reloads read it in place of the fleet's own path, until that path leads to another folder. */
export interface Deployed {
  /** A source of configuration; see config/find.ts. */
  source: { kind: string };
  /** The release folder, and an env file, as absolute paths; null if none was named. */
  dir: string | null;
  envFile: string | null;
  /** The folder that the fleet's own path led to at that time. */
  ownFolder: string;
  /** The fleet's name, even if the release has another name; an older supervisor writes none. */
  name?: string | undefined;
}

interface SavedGeneration {
  pool: string;
  number: number;
  config: PoolConfig;
  /** An index of `environments`. */
  environment: number;
  /** When the generation began; an older supervisor writes none. */
  since?: number;
}

export interface SavedCounts {
  requestsTotal: number;
  errorsTotal: number;
}

interface SavedRoute {
  pool: string;
  route: string;
  access: "reads" | "writes";
  counts: readonly number[];
  last: readonly CountsOfBalancer[];
}

type CountsOfBalancer = readonly [balancer: string, counts: readonly number[]];

/** The fields are those of LiveProcess. */
export interface SavedProcess extends SavedCounts {
  id: string;
  pool: string;
  name: string;
  index: number;
  attempt: number;
  generation: number;
  token: string;
  pid: number;
  startTime: string;
  spawnedAt: number;
  runtime: string;
  socket: string | null;
  tcp: { host: string; port: number } | null;
  mark: string | null;
  tag: string | null;
  maxInFlight: number | null;
  perClient: boolean;
  protocol: "http1" | "lane" | "http1+control";
  /** In the file of read positions. */
  outputRow: number;
  maxOutputBytes: number;
  /** The counts of each balancer for this process, if the process does not report its own. */
  relayed: (SavedCounts & { balancer: string })[];
  /** The balancers' counts of its responses by status class; an older supervisor writes none. */
  statuses?: readonly number[];
  statusesOf?: readonly CountsOfBalancer[];
}

/** The fields are those of SlotRecord. */
export interface SavedSlot {
  name: string;
  restarts: number;
  recycles: number;
  everReady: boolean;
  /** Whether the next spawn follows an unexpected exit. */
  unwanted: boolean;
  lastExit: unknown;
  lastRun: unknown;
  linesTotal: number;
  linesLost: number;
}

const VERSION = 1;
const NAME = "state.json";
/** The name that a file gets if it could not be used; only one such file is kept. */
const UNUSABLE = "state.json.unusable";
/** Enough for a thousand instances with an environment of a megabyte. */
const MAX_BYTES = 16 << 20;

/** Returns the state as text, without the values of secrets. */
export function textOfState(state: FleetState): string {
  const withoutValues = (key: string, value: unknown) => {
    // An environment variable of that name would be a string.
    if (key !== "secrets" || typeof value !== "object" || value === null) return value;
    const secrets = Object.entries(value as PoolConfig["secrets"]);
    return Object.fromEntries(secrets.map(([name, secret]) => [name, { ...secret, value: "" }]));
  };
  return `${JSON.stringify(state, withoutValues)}\n`;
}

/**
 * Returns the state with the secrets from the configuration that this start has loaded; secrets that the configuration does not have are
 * empty.
 */
export function withSecrets(state: FleetState, loaded: FleetConfig): FleetState {
  const filled = (pool: PoolConfig): PoolConfig => {
    const known = loaded.pools.find(({ name }) => name === pool.name)?.secrets ?? {};
    const secrets = Object.entries(pool.secrets);
    return {
      ...pool,
      secrets: Object.fromEntries(
        secrets.map(([name, secret]) => [name, { ...secret, value: known[name]?.value ?? "" }]),
      ),
    };
  };
  return {
    ...state,
    config: { ...state.config, pools: state.config.pools.map(filled) },
    generations: state.generations.map((each) => ({ ...each, config: filled(each.config) })),
  };
}

/** Writes the file as a draft, with fsync and a rename, so that the previous file is still there after any failure. */
export class StateFile {
  private readonly path: string;
  private isClosed = false;

  /** @param folder the run directory */
  constructor(folder: string) {
    this.path = join(folder, NAME);
  }

  /** @throws PacelineError with the system's code, for example `ENOSPC`, or `too-large` */
  async write(text: string): Promise<void> {
    const bytes = Buffer.from(text);
    if (bytes.length > MAX_BYTES)
      throw new PacelineError("too-large", `${this.path} would have ${bytes.length} bytes, more than ${MAX_BYTES}`);
    const draft = `${this.path}.${process.pid}`;
    try {
      const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
      const file = await open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      if (this.isClosed) rmSync(draft, { force: true });
      else renameSync(draft, this.path);
    } catch (cause) {
      attempt(() => rmSync(draft, { force: true }));
      const { code = "rundir", message } = cause as NodeJS.ErrnoException;
      throw new PacelineError(code, `${this.path} cannot be written: ${message.replace(/, (open|write)\b.*/, "")}`, {
        cause,
      });
    }
  }

  /** From now on nothing is written. */
  close(): void {
    this.isClosed = true;
  }
}

interface FoundState {
  state?: FleetState;
  problem?: string;
  /** The system does not let us read the file, although the file may be good. */
  isUnreadable?: boolean;
}

/** Reads the state in the run directory `path`. If the file exists but cannot be used, `problem` is the reason. */
export function readState(path: string): FoundState {
  let text: string | undefined;
  try {
    text = readBounded(join(path, NAME));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return {};
    const isUnreadable = code === "EACCES" || code === "EIO" || code === "EMFILE";
    return { problem: `it cannot be read: ${message}`, ...(isUnreadable && { isUnreadable }) };
  }
  if (text === undefined) return { problem: `it has more than ${MAX_BYTES} bytes` };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { problem: "it is damaged" };
  }
  if (!isTable(value) || typeof value.version !== "number") return { problem: "it is damaged" };
  if (value.version !== VERSION)
    return { problem: `it is of version ${value.version}, and this supervisor reads version ${VERSION}` };
  return isState(value) ? { state: value as unknown as FleetState } : { problem: "it is incomplete" };
}

/** Renames the state file in the run directory `path`; returns its new path. */
export function setStateAside(path: string): string {
  const aside = join(path, UNUSABLE);
  rmSync(aside, { recursive: true, force: true });
  renameSync(join(path, NAME), aside);
  return aside;
}

export function removeState(path: string): void {
  rmSync(join(path, NAME), { recursive: true, force: true });
}

/** Returns undefined if the file is too large. */
function readBounded(path: string): string | undefined {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { size } = fstatSync(fd);
    if (size > MAX_BYTES) return undefined;
    const bytes = Buffer.alloc(size);
    let length = 0;
    for (let count = -1; count !== 0 && length < size; length += count)
      count = readSync(fd, bytes, length, size - length, length);
    return bytes.toString("utf8", 0, length);
  } finally {
    closeSync(fd);
  }
}
