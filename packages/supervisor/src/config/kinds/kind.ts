/** The interface of a pool kind (its keys, what they resolve to, how its instances start), and keys that several kinds share. */
import type { StickyRule } from "@paceline/wire";
import type { z } from "zod";
import type { Launch, RelayTraits, RuntimeName } from "../../core/model.js";
import type { Runtimes } from "../../runtime/runtimes.js";
import { fieldRule } from "../balancing.js";
import { count, flag, milliseconds, text, textLike, texts } from "../fields.js";

export type Fields = Record<string, z.ZodType>;

/** The resolved workload of a pool. */
export interface KindResult {
  /** For display; absolute if it is a path. */
  source: string;
  /** The kind's part of the instances' ChildSpec, as plain data. */
  workload: Record<string, unknown>;
  /** The properties that the balancers need to know. Default: none. */
  relayed?: RelayTraits;
  /** The program that runs its instances. Default: Paceline's server. */
  launch?: Launch;
  /** The required runtime, which overrides the config and the command line. */
  runtime?: RuntimeName;
  /** How long an instance may take to respond, unless the pool sets it, in milliseconds. Default: no limit. */
  requestTimeoutMs?: number;
  /** Whether a template process loads the app and forks the instances. Default: no. */
  preload?: boolean;
  /** The maximum number of requests that a balancer sends to one instance at once. Default: the balancer's own limit. */
  maxInFlight?: number;
  /** The maximum number of instances. Default: `MAX_INSTANCES`. */
  maxInstances?: number;
  /** The cron pattern of a schedule, for display. Default: it has none. */
  cron?: string;
  /** Whether old and new processes may run at the same time during a reload. Default: yes. */
  overlap?: boolean;
}

/** The context in which a kind resolves its keys. */
export interface KindContext {
  /** The folder from which relative paths start. */
  baseDir: string;
  /** The routes of the pool: each a path, optionally after a host. */
  routes: readonly string[];
  /** The working directory of the instances. */
  cwd: string;
  /** The pool's own `env`, without the variables of the top level and of env files. */
  env: Readonly<Record<string, string>>;
  /** PATH, as the instances see it. */
  searchPath: string;
  /** The runtimes found on this machine. */
  runtimes: Runtimes;
  /** The pool's own value, if set. */
  stripPrefix: boolean | undefined;
  /** Reports a problem with the value at a path of keys. */
  report(path: (string | number)[], message: string): void;
}

export interface PoolKind<F extends Fields> {
  /** The name that `paceline status` shows; also the key that selects this kind. */
  name: keyof F & string;
  fields: F;
  defaultInstances: number;
  /** Whether its instances get requests. Default: yes. */
  serves?: false;
  /** The only runtime that its instances run on. Default: either. */
  runtime?: RuntimeName;
  resolve(keys: z.infer<z.ZodObject<F>>, context: KindContext): KindResult;
}

/** Infers a kind's types. */
export function poolKind<F extends Fields>(kind: PoolKind<F>): PoolKind<F> {
  return kind;
}

export const args = texts(
  "Arguments for an `app`, a `worker` module or a `fapws` script. `process.argv` is the runtime, the module's path, and these arguments; `sys.argv` is the script's path and these arguments. Default: none.",
);

export const readySignal = flag(
  false,
  'Whether an instance of an `app` or `worker` pool becomes ready only when it has called `process.send("ready")`, as with `wait_ready` of PM2. By default an app is ready when it can respond, and a worker after `readyAfterMs`.',
);

export const stopSignal = text('The signal that asks a command or a worker to exit. Default: `"SIGTERM"`.');

export const maxInFlight = count(
  1024,
  "How many requests one instance of a `command` or `asgi` pool gets at once, from all balancers together (docs/balancing.md: Several balancers); further ones wait in the request queue. If the program has few processes or threads, set this to their number.",
  { max: 100_000 },
);

export const hedge = flag(
  false,
  'Send a GET or HEAD of a `command` or `proxy` pool to a second instance if the first one has not begun its response after the time that 95 % of the pool\'s responses take. The client gets the first response, and the other request is cancelled. At most 2 % of the pool\'s requests are sent twice, and none three times. Not with `sticky`, `policy: "exact"` or `"hash:…"`. See [balancing.md](balancing.md#hedges).',
);

/** The default if neither the pool nor the balancer's limits set a timeout, in milliseconds. */
export const REQUEST_TIMEOUT_MS = 60_000;

export const requestTimeoutMs = milliseconds(
  REQUEST_TIMEOUT_MS,
  "In `wsgi` and `fapws` pools, and in `command` and `asgi` pools with `maxInFlight`: how long an instance may go without sending response data. Then the client gets 504 (in direct mode a reset), and the process is killed and replaced at once, also during a drain. If `balancer.limits.upstreamResponseTimeoutMs` is shorter, the client gets 504 after that time. The final report of a Python process includes the traceback. Default: 60000, or `balancer.limits.upstreamResponseTimeoutMs` if that is longer. `0` turns it off.",
  { min: 0 },
);

/** How clients are recognized: by a cookie, optionally with its name, by the address, or by a field. */
const STICKY = /^(?:cookie(?::[A-Za-z0-9][\w-]{0,63})?|address|header:[!#$%&'*+.^`|~\w-]{1,64})$/;

export const sticky = textLike(
  STICKY,
  {
    type: '`"cookie"`, `"cookie:NAME"`, `"address"` or `"header:NAME"`',
    rule: 'must be "cookie", "cookie:NAME", "address" or "header:NAME"',
  },
  'Send all requests of a client to the same instance. A client is recognized by a cookie that the balancer sets (its default name is `paceline_` and the name of the pool), by its address, or by a request field such as `"header:x-user"`. See [sticky.md](sticky.md). Default: each request goes to the next instance in turn.',
);

/** Returns the rule of a pool's `sticky` key, or the problem with it. */
export function stickyRule(pool: string, text: string): StickyRule | string {
  const colon = text.indexOf(":");
  const by = colon < 0 ? text : text.slice(0, colon);
  const name = colon < 0 ? undefined : text.slice(colon + 1);
  if (by === "address") return { by };
  return by === "cookie" ? { by, name: name ?? `paceline_${pool}` } : fieldRule(name ?? "");
}
