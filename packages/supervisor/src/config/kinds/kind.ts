/** What a kind of pool is: its keys, what it makes of them, and what its instances are started with; and the keys that several kinds share. */
import type { z } from "zod";
import type { Launch, RelayTraits, RuntimeName } from "../../core/model.js";
import type { Runtimes } from "../../runtime/runtimes.js";
import { count, milliseconds, texts } from "../fields.js";

export type Fields = Record<string, z.ZodType>;

/** What a pool of some kind runs. */
export interface KindResult {
  /** For people; an absolute path where it is one. */
  source: string;
  /** What the ChildSpec of its instances has of it; plain data. */
  workload: Record<string, unknown>;
  /** What the balancers are told of it. Default: nothing. */
  relayed?: RelayTraits;
  /** What its instances are started as. Default: our server. */
  launch?: Launch;
  /** The runtime that its instances need, whatever the config or the command line say. */
  runtime?: RuntimeName;
  /** How long its instances may owe a response, unless the pool says otherwise. Default: for ever. */
  requestTimeoutMs?: number;
  /** Whether one process loads what it runs, and forks the instances. Default: no. */
  preload?: boolean;
  /** Requests that a balancer may have under way at one instance. Default: as many as the balancer's own limits allow. */
  maxInFlight?: number;
}

/** What a kind can see beside its own keys. */
export interface KindContext {
  /** Relative paths are taken from here. */
  baseDir: string;
  /** The routes of the pool, each a path with an optional host before it. */
  routes: readonly string[];
  /** The working directory of its instances. */
  cwd: string;
  /** The pool's own `env`, without that of the top level and of files. */
  env: Readonly<Record<string, string>>;
  /** PATH, as its instances will have it. */
  searchPath: string;
  /** Those that are found here. */
  runtimes: Runtimes;
  /** The pool's own, when it has it. */
  stripPrefix: boolean | undefined;
  /** Tells what is wrong with the value at a path of keys. */
  report(path: (string | number)[], message: string): void;
}

export interface PoolKind<F extends Fields> {
  /** As `paceline status` shows it, and the key that makes a pool one of this kind. */
  name: keyof F & string;
  fields: F;
  defaultInstances: number;
  /** The only runtime that its instances run on, whatever the config or the command line say. Default: either. */
  runtime?: RuntimeName;
  resolve(keys: z.infer<z.ZodObject<F>>, context: KindContext): KindResult;
}

/** Gives a kind its types. */
export function poolKind<F extends Fields>(kind: PoolKind<F>): PoolKind<F> {
  return kind;
}

export const args = texts(
  "Arguments for an `app` or a `fapws` script. `process.argv` is the runtime, the app's path, and these; `sys.argv` is the script's path and these. Default: none.",
);

export const maxInFlight = count(
  1024,
  "How many requests each balancer sends to one instance of a `command` or `asgi` pool at once; others wait in the request queue. If the program has few processes or threads, set it to their number.",
  { max: 100_000 },
);

/** Unless the pool or the balancer's limits say otherwise. */
export const REQUEST_TIMEOUT_MS = 60_000;

export const requestTimeoutMs = milliseconds(
  REQUEST_TIMEOUT_MS,
  "In `wsgi` and `fapws` pools, and in `command` and `asgi` pools with `maxInFlight`: how long an instance may send no byte of a response that it owes. Then the client gets 504 (or sooner, by `balancer.limits.upstreamResponseTimeoutMs`), and the process is killed and replaced at once, also during a drain. The final report of a Python process includes the traceback. Default: 60000, or `balancer.limits.upstreamResponseTimeoutMs` if that is longer. `0` turns it off.",
  { min: 0 },
);
