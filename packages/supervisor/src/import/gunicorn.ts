/** Imports the settings of gunicorn: its workers become instances of a `wsgi` or `asgi` pool. Pure. */
import { parseListenAddress } from "../config/listen-address.js";
import { applyRules, type Imported, inFleet, isOff, type Keys, type Rule, type Rules } from "./rules.js";

interface GunicornContext {
  kind: "wsgi" | "asgi";
  fleet: Keys;
  note(key: string, advice: string): void;
}

type GunicornRule = Rule<GunicornContext>;

/** The largest time, one day in seconds, and the largest count. */
const MAX_SECONDS = 86_400;
const MAX_COUNT = 1e9;

const number = (
  to: string,
  most: number,
  keys: (value: number, context: GunicornContext) => Keys | string,
): GunicornRule => ({
  to,
  keys: (value, context) =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most
      ? keys(value as number, context)
      : `must be a whole number from 0 to ${most}, not ${JSON.stringify(value)}`,
});
const says = (advice: string): GunicornRule => ({ same: (value) => isOff(value), advice });
const log = says("the log goes to log/ in the run directory: `paceline logs`");
const statsd = says("omit it: `paceline status --json` has the figures");
const tls = says("put a proxy that speaks TLS in front, and name it in `balancer.trustedProxies` (docs/security.md)");
const hook = says("put it into the app's module: it runs in each instance (docs/python.md)");
const forTheBalancer = says("the balancer parses requests, strictly; see `balancer.limits`");
const always: GunicornRule = { to: "nothing to write", same: () => true };

/** Every setting of gunicorn, that is, the names that its file may set. */
export const GUNICORN_RULES: Rules<GunicornContext> = {
  config: always,
  wsgi_app: { to: "wsgi or asgi", keys: () => ({}) },
  bind: { to: "listen", keys: (value, context) => bind(value, context) },
  backlog: says("omit it: it is always 512 or more"),
  workers: number("instances", MAX_COUNT, (value) => ({ instances: Math.min(Math.max(value, 0), 1024) })),
  worker_class: { to: "the kind of pool", keys: () => ({}) },
  threads: number("threads", MAX_COUNT, (value, { kind }) => {
    if (value <= 1) return {};
    return kind === "wsgi" ? { threads: Math.min(value, 512) } : "omit it: an ASGI app runs on one event loop";
  }),
  worker_connections: says(
    "set `maxInFlight` of an `asgi` pool; a `wsgi` instance runs as many requests as it has `threads`",
  ),
  max_requests: number("maxRequests", MAX_COUNT, (value) => ({ maxRequests: value })),
  // Read together with max_requests, below.
  max_requests_jitter: number("maxRequests and recycleJitter", MAX_COUNT, () => ({})),
  timeout: number("requestTimeoutMs", MAX_SECONDS, (value, { kind }) =>
    kind === "wsgi" ? { requestTimeoutMs: value * 1000 } : "set `hangAfterMs` for an event loop that is blocked",
  ),
  graceful_timeout: number("drainTimeoutMs", MAX_SECONDS, (value) =>
    value > 0 ? { drainTimeoutMs: value * 1000 } : {},
  ),
  keepalive: says("omit it: the balancer keeps the clients' connections (`balancer.limits`)"),
  limit_request_line: forTheBalancer,
  limit_request_fields: forTheBalancer,
  limit_request_field_size: forTheBalancer,
  reload: says("for development, start with `paceline start --watch`"),
  reload_engine: says("omit it: --watch uses the kernel's own notices"),
  reload_extra_files: says("--watch looks at the app's folder, env files and the config"),
  spew: says("run the app under a tracer of your own"),
  check_config: says("run `paceline check`"),
  print_config: says("run `paceline check --json`"),
  preload_app: {
    to: "preload",
    same: isOff,
    keys: (_, { kind }) => (kind === "wsgi" ? { preload: true } : "only `wsgi` pools preload"),
  },
  sendfile: always,
  reuse_port: says("omit it: the supervisor binds the port once, and no connection is lost in a reload"),
  chdir: { to: "cwd", keys: (value) => (isOff(value) ? {} : { cwd: `${value}` }) },
  daemon: says("start with `paceline start --detach`, or a systemd unit"),
  raw_env: { to: "env", keys: variables },
  pidfile: says("omit it: `paceline status --json` has the pids"),
  worker_tmp_dir: says("omit it: signs of life go over a socket, not through files"),
  user: says("start the fleet as that user: User= of a systemd unit"),
  group: says("start the fleet with that group: Group= of a systemd unit"),
  umask: {
    same: (value) => isOff(value) || value === 0,
    advice: "UMask= of a systemd unit; a socket's mode is in `listen`: unix:/path?mode=660",
  },
  initgroups: says("start the fleet as that user: User= of a systemd unit"),
  tmp_upload_dir: says("large bodies wait in `balancer.spoolDir`"),
  secure_scheme_headers: says("`balancer.trustedProxies` decides who may send X-Forwarded-Proto (docs/security.md)"),
  forwarded_allow_ips: { to: "balancer.trustedProxies", keys: (value, context) => proxies(value, context) },
  accesslog: {
    to: "balancer.accessLog",
    same: isOff,
    keys: (_, { fleet }) => inFleet(fleet, { balancer: { accessLog: true } }),
  },
  disable_redirect_access_to_syslog: log,
  access_log_format: says("the format is `format` of `balancer.accessLog` (docs/access-log.md)"),
  errorlog: { same: (value) => isOff(value) || value === "-", advice: log.advice as string },
  loglevel: { same: (value) => value === "info", advice: "configure the app's own logging" },
  capture_output: always,
  logger_class: says("configure the app's own logging"),
  logconfig: says("configure the app's own logging"),
  logconfig_dict: says("configure the app's own logging"),
  logconfig_json: says("configure the app's own logging"),
  syslog_addr: log,
  syslog: log,
  syslog_prefix: log,
  syslog_facility: log,
  enable_stdio_inheritance: always,
  statsd_host: statsd,
  dogstatsd_tags: statsd,
  statsd_prefix: statsd,
  proc_name: {
    to: "name",
    keys: (value, { fleet }) => (isOff(value) ? {} : inFleet(fleet, { name: `${value}` })),
  },
  default_proc_name: always,
  pythonpath: {
    to: "env.PYTHONPATH",
    keys: (value) => (isOff(value) ? {} : { env: { PYTHONPATH: `${value}`.replaceAll(",", ":") } }),
  },
  paste: says('name the callable: `wsgi: "module:callable"`, made by paste.deploy.loadapp in a module of yours'),
  raw_paste_global_conf: says("read the settings in a module of yours"),
  proxy_protocol: says(
    "name the addresses in `balancer.proxyProtocol`, and the proxy in `balancer.trustedProxies` (docs/security.md)",
  ),
  proxy_allow_ips: says("`balancer.trustedProxies` names the proxies (docs/security.md)"),
  ...Object.fromEntries(
    [
      "on_starting",
      "on_reload",
      "when_ready",
      "pre_fork",
      "post_fork",
      "post_worker_init",
      "worker_int",
      "worker_abort",
    ].map((name) => [name, hook]),
  ),
  ...Object.fromEntries(
    [
      "pre_exec",
      "pre_request",
      "post_request",
      "child_exit",
      "worker_exit",
      "nworkers_changed",
      "on_exit",
      "ssl_context",
    ].map((name) => [name, hook]),
  ),
  ...Object.fromEntries(
    [
      "keyfile",
      "certfile",
      "ssl_version",
      "cert_reqs",
      "ca_certs",
      "suppress_ragged_eofs",
      "do_handshake_on_connect",
      "ciphers",
    ].map((name) => [name, tls]),
  ),
  strip_header_spaces: forTheBalancer,
  tolerate_dangerous_framing: forTheBalancer,
  permit_obsolete_folding: forTheBalancer,
  permit_unconventional_http_method: forTheBalancer,
  permit_unconventional_http_version: forTheBalancer,
  casefold_http_method: forTheBalancer,
  forwarder_headers: forTheBalancer,
  header_map: forTheBalancer,
};

/** Worker classes that need an ASGI event loop; all others call a WSGI app. */
const ASGI_WORKER = /uvicorn|hypercorn|asgi/i;

/** @throws Error if no app is named */
export function importGunicorn(
  settings: Keys,
  givenApp: string | undefined,
  hasPython: (path: string) => boolean,
): Imported {
  const app = givenApp ?? settings.wsgi_app;
  if (typeof app !== "string" || app === "")
    throw new Error("names no app (wsgi_app): add --app MODULE:CALLABLE, as on gunicorn's command line");
  const result: Imported = { fleet: {}, pools: {}, mapped: [], notes: [] };
  const note = (key: string, advice: string) => void result.notes.push({ app: "", key, advice });
  const { worker_class: workers } = settings;
  const kind = typeof workers === "string" && ASGI_WORKER.test(workers) ? "asgi" : "wsgi";
  if (typeof workers === "string" && /gevent|eventlet|tornado/.test(workers))
    note(
      "worker_class",
      `${workers} is not run: set \`threads\`, or run gunicorn itself as a command (docs/commands.md)`,
    );
  const context = { kind, fleet: result.fleet, note } as const;
  const rules = applyRules(GUNICORN_RULES, settings, context, { app: "", unknown: () => "not a setting of gunicorn" });
  const python = [".venv/bin/python", "venv/bin/python"].find(hasPython);
  result.mapped.push(...rules.mapped);
  result.notes.push(...rules.notes);
  Object.assign(rules.keys, requestLimit(settings));
  // gunicorn starts one worker.
  result.pools.web = { [kind]: app, ...(python !== undefined && { python }), instances: 1, ...rules.keys };
  if (python === undefined)
    note("python", "the app runs on `python3` of PATH: name a virtual environment's in `python`");
  return result;
}

/** gunicorn raises its limit by at most the jitter. Paceline lowers the limit by a share. */
function requestLimit({ max_requests: least, max_requests_jitter: more }: Keys): Keys {
  if (typeof least !== "number" || least <= 0 || typeof more !== "number" || more <= 0) return {};
  const most = least + more;
  return { maxRequests: most, recycleJitter: Math.round((more / most) * 1000) / 1000 };
}

function bind(value: unknown, { fleet, note }: GunicornContext): Keys | string {
  const all = (Array.isArray(value) ? value : [value]).map(String);
  const known = all.filter((address) => !address.startsWith("fd://"));
  if (known.length < all.length) note("bind", "fd:// is not taken: name the addresses");
  const listen = known.map(addressOf).filter((address) => {
    const parsed = parseListenAddress(address, "/");
    if ("problem" in parsed) note("bind", `${address} was left out: ${parsed.problem}`);
    return !("problem" in parsed);
  });
  if (listen.length > 0) fleet.listen = listen.length === 1 ? listen[0] : listen;
  return {};
}

function addressOf(text: string): string {
  const plain = text.replace(/^tcp:\/\//, "");
  if (plain.startsWith("unix:")) return plain.replace(/^unix:(\/\/)?/, "unix:");
  return /^\[[^\]]*\]$/.test(plain) || !/:\d+$/.test(plain) ? `${plain}:8000` : plain;
}

function proxies(value: unknown, { fleet }: GunicornContext): Keys | string {
  const all = (Array.isArray(value) ? value.map(String) : `${value}`.split(",")).map((each) => each.trim());
  if (all.includes("*"))
    return "name the proxies in `balancer.trustedProxies`: only they may say who is asking (docs/security.md)";
  const trustedProxies = all.filter((each) => each !== "");
  return inFleet(fleet, { balancer: { trustedProxies } });
}

function variables(value: unknown, { note }: GunicornContext): Keys | string {
  const pairs = (Array.isArray(value) ? value : [value]).map(String).flatMap((line) => {
    const at = line.indexOf("=");
    if (at > 0) return [[line.slice(0, at), line.slice(at + 1)]];
    note("raw_env", `is not NAME=value and was left out: ${line}`);
    return [];
  });
  return pairs.length === 0 ? {} : { env: Object.fromEntries(pairs) };
}
