/** Imports PM2's ecosystem file: each app becomes a pool of the kind that its script and interpreter need. Pure. */
import { basename, extname, join, normalize } from "node:path";
import { PM2_FILE_RULES, PM2_RULES, type Pm2Context } from "./pm2-rules.js";
import {
  applyRules,
  type Imported,
  isTable,
  type Keys,
  merge,
  type Note,
  poolName,
  splitWords,
  withoutPlaceholders,
} from "./rules.js";

/** What the importer must know of the machine and the project's files. */
export interface ProjectFacts {
  cpus: number;
  environment: Readonly<Record<string, string | undefined>>;
  /** Returns what is at a path, from the folder of the imported file. */
  look(path: string): "file" | "folder" | "nothing";
  /** Whether the file is text, as a script without an extension is. */
  isText(path: string): boolean;
  /** What the sources of a JavaScript program say: whether it serves, and the port it asks for. */
  scan(path: string): { serves: boolean; port?: number };
}

export interface Pm2Options {
  /** The names of the apps to take; default: all. */
  only?: readonly string[] | undefined;
  /** The suffix of the `env_` key whose variables override `env`. */
  envName?: string | undefined;
}

/** PM2's choice of an interpreter by extension, where it is not Node. */
const INTERPRETERS: Readonly<Record<string, string>> = {
  ".sh": "bash",
  ".py": "python3",
  ".rb": "ruby",
  ".php": "php",
  ".pl": "perl",
  ".coffee": "coffee",
  ".ls": "lsc",
};
const MODULE = /\.[cm]?[jt]sx?$/;
/** Interpreters of TypeScript and Babel, whose work both runtimes do themselves. */
const LOADERS = /^(ts-node(-\w+)?|tsx|babel-node|swc-node|esno|nodemon)$/;

/** @throws Error whose message says what the file must have */
export function importPm2(document: unknown, facts: ProjectFacts, { only, envName }: Pm2Options = {}): Imported {
  const file: Keys = Array.isArray(document) ? { apps: document } : isTable(document) ? document : {};
  const isApp = file.apps === undefined && (file.script !== undefined || file.exec !== undefined);
  const all = isApp ? [file] : Array.isArray(file.apps) ? file.apps : [file.apps];
  const apps = all.filter(isTable);
  if (apps.length === 0) throw new Error("must export `{ apps: [...] }`, a list of apps, or one app with a `script`");
  const chosen = only === undefined ? apps : apps.filter((app) => only.includes(nameOf(app)));
  const missing = only?.filter((name) => !apps.some((app) => nameOf(app) === name)) ?? [];
  if (missing.length > 0) throw new Error(`has no app ${missing.join(", ")} (known: ${apps.map(nameOf).join(", ")})`);
  const result: Imported = { fleet: {}, pools: {}, mapped: [], notes: [] };
  if (!isApp) {
    const rest = applyRules(PM2_FILE_RULES, file, undefined, { app: "", unknown: () => UNKNOWN });
    result.mapped.push(...rest.mapped);
    result.notes.push(...rest.notes);
  }
  const ports = chosen.map((app) => importApp(app, { facts, envName, result }));
  fleetOf(chosen, ports, result);
  return result;
}

const UNKNOWN = "not a key of PM2's documentation: nothing is taken from it";

interface Context {
  facts: ProjectFacts;
  envName: string | undefined;
  result: Imported;
}

/** Adds the pool of one app. Returns the port that it was reached on, if known. */
function importApp(app: Keys, { facts, envName, result }: Context): number | undefined {
  const name = nameOf(app);
  const note = (key: string, advice: string) => void result.notes.push({ app: name, key, advice });
  const source: Keys = { ...app };
  const variables = envName === undefined ? undefined : source[`env_${envName}`];
  if (isTable(variables)) {
    source.env = { ...(isTable(source.env) ? source.env : {}), ...variables };
    delete source[`env_${envName}`];
    result.mapped.push({ app: name, key: `env_${envName}`, to: "env" });
  }
  const env = isTable(source.env) ? source.env : {};
  const program = programOf(source, env, facts, note);
  if (program === undefined) return undefined;
  const context: Pm2Context = { kind: program.kind, cpus: facts.cpus, environment: facts.environment, note };
  const { keys, mapped, notes } = applyRules(PM2_RULES, source, context, { app: name, unknown: () => UNKNOWN });
  result.mapped.push(...mapped);
  result.notes.push(...notes);
  const pool: Keys = { ...program.keys };
  if (program.kind !== "static") pool.instances = 1;
  merge(pool, keys);
  if (program.kind === "static") for (const key of ["env", "cwd", "instances"]) delete pool[key];
  const port = Number(source.port ?? env.PORT ?? env.PM2_SERVE_PORT ?? program.port) || undefined;
  if (program.kind === "command") keepPlaceholders(pool);
  result.pools[poolName(name, Object.keys(result.pools))] = pool;
  return port;
}

/** A command listens on the port that Paceline gives it, and braces in its variables are not placeholders. */
function keepPlaceholders(pool: Keys): void {
  const { PORT: _, ...env } = isTable(pool.env) ? pool.env : {};
  const kept = Object.entries(env).map(([name, text]) => [name, withoutPlaceholders(`${text}`)]);
  if (kept.length > 0) pool.env = Object.fromEntries(kept);
  else delete pool.env;
}

interface Program {
  kind: Pm2Context["kind"];
  keys: Keys;
  port?: number | undefined;
}

/** Decides the kind of pool from the script, its interpreter and arguments. Undefined if it becomes none; a note says why. */
function programOf(
  source: Keys,
  env: Keys,
  facts: ProjectFacts,
  note: (key: string, advice: string) => void,
): Program | undefined {
  const cwd = typeof source.cwd === "string" ? source.cwd : ".";
  const given = source.script ?? source.exec;
  if (typeof given !== "string" || given.trim() === "") {
    note("script", "the app has none: write a pool by hand (docs/configuration.md)");
    return undefined;
  }
  const [script = "", ...inScript] =
    facts.look(join(cwd, given)) === "file" ? [given] : (splitWords(given) ?? ["sh", "-c", given]);
  const args = [...inScript, ...argumentsOf(source.args)];
  const interpreter = interpreterOf(source);
  if (script === "serve" && (env.PM2_SERVE_PATH !== undefined || args.length > 0))
    return folderOf(args, env, cwd, note);
  const path = normalize(join(cwd, script));
  const isFile = facts.look(path) === "file";
  const runsOnNode = interpreter === undefined || /^(node|bun)(@.*)?$/.test(interpreter) || LOADERS.test(interpreter);
  // PM2 adds the extension itself.
  const module = [path, `${path}.js`].find(
    (each) => MODULE.test(each) && (each === path || facts.look(each) === "file"),
  );
  if (module !== undefined && runsOnNode) {
    const { serves, port } = facts.scan(module);
    if (!serves) {
      note("script", SERVES_NOTHING);
      return undefined;
    }
    if (interpreter?.includes("@"))
      note("interpreter", "Paceline takes the `node` on PATH: set PATH where you start the fleet");
    const runtime = interpreter?.startsWith("node") ? "node" : interpreter === "bun" ? "bun" : undefined;
    const keys = { app: relativePath(module), ...(args.length > 0 && { args }), ...(runtime && { runtime }) };
    return { kind: "app", keys, port };
  }
  // A relative program is found from `cwd`, one without a slash on PATH.
  const program = isFile && !script.includes("/") ? `./${script}` : script;
  const runner = interpreter === "none" ? undefined : (interpreter ?? runnerOf(path, isFile && facts.isText(path)));
  const words = [...(runner === undefined ? [] : [runner]), program, ...args].map(withoutPlaceholders);
  note("script", "it must listen on the port in PORT, or at {socket}: docs/commands.md has examples");
  return { kind: "command", keys: { command: words } };
}

const SERVES_NOTHING =
  "left out: by its source it serves nothing over HTTP; keep it a systemd unit, or correct this by hand if it does serve";

/** PM2 runs a text file without a known extension on Node. */
function runnerOf(path: string, isText: boolean): string | undefined {
  return INTERPRETERS[extname(path)] ?? (isText ? "node" : undefined);
}

function interpreterOf({ exec_interpreter, interpreter }: Keys): string | undefined {
  const given = exec_interpreter ?? interpreter;
  if (typeof given !== "string" || given === "") return undefined;
  const name = basename(given);
  return /^(node|bun)$/.test(name) || LOADERS.test(name) ? name : given;
}

/** PM2's own file server. */
function folderOf(args: string[], env: Keys, cwd: string, note: (key: string, advice: string) => void): Program {
  const folder = env.PM2_SERVE_PATH ?? args.find((word) => !word.startsWith("-") && !/^\d+$/.test(word)) ?? ".";
  const port = args.map(Number).find((number) => number > 0);
  const isSpa = `${env.PM2_SERVE_SPA}` === "true" || args.some((word) => word === "-s" || word === "--spa");
  if (isSpa)
    note("env.PM2_SERVE_SPA", "a path without a file gets 404: serve index.html for it from an app (docs/files.md)");
  for (const key of Object.keys(env).filter((each) => /^PM2_SERVE_(?!PATH$|PORT$|SPA$)/.test(each)))
    note(`env.${key}`, "see the keys of `static` pools in docs/configuration.md");
  return { kind: "static", keys: { static: relativePath(join(cwd, `${folder}`)) }, port };
}

function argumentsOf(args: unknown): string[] {
  if (Array.isArray(args)) return args.map(String);
  if (typeof args !== "string" || args.trim() === "") return [];
  return splitWords(args) ?? args.trim().split(/\s+/);
}

function relativePath(path: string): string {
  return path === "." || path.startsWith("/") || path.startsWith("..") ? path : `./${path.replace(/\/$/, "")}`;
}

/** PM2's default is the script's name without its extension. */
function nameOf({ name, script, exec }: Keys): string {
  if (typeof name === "string" && name !== "") return name;
  const file = basename(`${script ?? exec ?? "app"}`.split(/\s/)[0] ?? "");
  return basename(file, extname(file));
}

/** One listening address serves the whole fleet; of several apps, those after the first are reached below their name. */
function fleetOf(apps: Keys[], ports: (number | undefined)[], result: Imported): void {
  const names = Object.keys(result.pools);
  const served = names.map((pool) => ({ pool, keys: result.pools[pool] as Keys }));
  const port = ports.find((each) => each !== undefined);
  if (port !== undefined) result.fleet.listen = `127.0.0.1:${port}`;
  const [first] = apps;
  if (apps.length === 1 && first !== undefined) result.fleet.name = nameOf(first);
  const advice: Note["advice"] =
    port === undefined
      ? "clients connect to 127.0.0.1:8080; set `listen` to the port that the app asks for"
      : `only this machine reaches it; for others write ":${port}"`;
  if (names.length > 0) result.notes.push({ app: "", key: "listen", advice });
  for (const { pool, keys } of served.slice(1)) {
    keys.routes = `/${pool}/`;
    if (!("static" in keys)) keys.stripPrefix = true;
    const own = "it has no port of its own: set `routes` to its host or path, or import it alone with --only";
    result.notes.push({ app: pool, key: "routes", advice: `reached at /${pool}/; ${own}` });
  }
}
