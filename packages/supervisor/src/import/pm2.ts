/** Imports PM2's ecosystem file: each app becomes a pool of the kind that its script and interpreter need. Pure. */
import { basename, extname } from "node:path";
import { below, programOf } from "./pm2-program.js";
import { PM2_FILE_RULES, PM2_RULES, type Pm2Context } from "./pm2-rules.js";
import type { ProjectFacts } from "./rules.js";
import {
  applyRules,
  type Imported,
  isTable,
  type Keys,
  merge,
  type Note,
  poolName,
  withoutPlaceholders,
} from "./rules.js";

interface Pm2Options {
  /** The names of the apps to import; default: all. */
  only?: readonly string[] | undefined;
  /** The suffix of the `env_` key whose variables override `env`. */
  envName?: string | undefined;
}

/** @throws Error whose message describes what the file must contain */
export function importPm2(document: unknown, facts: ProjectFacts, { only, envName }: Pm2Options = {}): Imported {
  const file: Keys = Array.isArray(document) ? { apps: document } : isTable(document) ? document : {};
  const isApp = scriptOf(file) !== undefined && file.apps === undefined;
  const result: Imported = { fleet: {}, pools: {}, mapped: [], notes: [] };
  const listOf = (key: "apps" | "pm2" | "static"): Keys[] => tablesIn(key, file[key], result.notes);
  const apps = isApp ? [file] : [...listOf("apps"), ...listOf("pm2"), ...listOf("static").map(asServer)];
  if (apps.length === 0 && isTable(file.services))
    throw new Error("is a compose file, which is not imported: run its programs as pools (docs/configuration.md)");
  if (apps.length === 0) throw new Error("must export `{ apps: [...] }`, a list of apps, or one app with a `script`");
  const chosen = only === undefined ? apps : apps.filter((app) => only.includes(nameOf(app)));
  const missing = only?.filter((name) => !apps.some((app) => nameOf(app) === name)) ?? [];
  if (missing.length > 0) throw new Error(`has no app ${missing.join(", ")} (known: ${apps.map(nameOf).join(", ")})`);
  if (envName !== undefined) checkEnvName(envName, chosen);
  if (!isApp) {
    const rest = applyRules(PM2_FILE_RULES, file, undefined, { app: "", unknown: () => UNKNOWN });
    result.mapped.push(...rest.mapped);
    result.notes.push(...rest.notes);
  }
  const ports = chosen.map((app) => importApp(app, { facts, envName, result }));
  if (Object.keys(result.pools).length === 0)
    throw new Error(
      `has no app for a pool: ${result.notes.flatMap(({ app, advice }) => (app === "" ? [] : [`${app}: ${advice}`])).join("; ")}`,
    );
  fleetOf(chosen, ports, result);
  return result;
}

function checkEnvName(name: string, apps: Keys[]): void {
  const all = apps.flatMap((app) => Object.keys(app).filter((key) => key.startsWith("env_") && isTable(app[key])));
  if (all.includes(`env_${name}`)) return;
  const known = [...new Set(all)].map((key) => key.slice("env_".length)).join(", ");
  throw new Error(
    `has no env_${name} for --env ${name} (${known === "" ? "no app has an env_NAME" : `known: ${known}`})`,
  );
}

/** Returns the apps in a list, or the only one. The rest is named. */
function tablesIn(key: string, value: unknown, notes: Note[]): Keys[] {
  if (!Array.isArray(value)) return isTable(value) ? [value] : [];
  for (const [at, each] of value.entries())
    if (!isTable(each))
      notes.push({ app: "", key: `${key}[${at}]`, advice: `is not an app and was left out: ${JSON.stringify(each)}` });
  return value.filter(isTable);
}

/** An entry of `static` is short for an app that runs PM2's file server. */
function asServer({ path = ".", ...options }: Keys): Keys {
  const env = Object.entries(options).map(([name, value]) => [`PM2_SERVE_${name.toUpperCase()}`, value]);
  const name = options.name ?? `static${options.port === undefined ? "" : `-${options.port}`}`;
  return { name, script: "serve", env: { PM2_SERVE_PATH: path, ...Object.fromEntries(env) } };
}

function scriptOf({ script, exec, cmd }: Keys): unknown {
  return script ?? exec ?? cmd;
}

const UNKNOWN = "not a key of PM2's documentation: nothing is taken from it";

interface Context {
  facts: ProjectFacts;
  envName: string | undefined;
  result: Imported;
}

/** Adds the pool of one app. Returns the port on which it could be reached, if known. */
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
  if (program === undefined) {
    for (const key of Object.keys(source)) result.mapped.push({ app: name, key, to: "left out with the app" });
    return undefined;
  }
  const { kind, isScheduled } = program;
  const cwd = typeof source.cwd === "string" ? source.cwd : ".";
  const fileAt = (path: string) => [below(cwd, path)].find((each) => facts.look(each) === "file");
  const context: Pm2Context = {
    ...{ kind, isScheduled, hasInterpreterArgs: program.hasInterpreterArgs === true, fileAt },
    ...{ cpus: facts.cpus, environment: facts.environment, note },
  };
  const { keys, mapped, notes } = applyRules(PM2_RULES, source, context, { app: name, unknown: () => UNKNOWN });
  result.mapped.push(...mapped);
  result.notes.push(...notes);
  const pool: Keys = { ...program.keys };
  if (kind !== "static") pool.instances = 1;
  merge(pool, keys);
  for (const key of isScheduled ? ["instances"] : kind === "static" ? ["env", "envFiles", "cwd", "instances"] : [])
    delete pool[key];
  const files = Array.isArray(pool.envFiles) ? (pool.envFiles as string[]) : [];
  const inFile = files.map(facts.portIn).findLast((each) => each !== undefined);
  const port = Number(source.port ?? env.PORT ?? env.PM2_SERVE_PORT ?? inFile ?? program.port) || undefined;
  if (kind === "command" || kind === "worker") keepPlaceholders(pool, kind);
  result.pools[poolName(name, Object.keys(result.pools))] = pool;
  return kind === "worker" ? undefined : port;
}

/** A command listens on the port that Paceline gives it, and braces in its variables must not be read as placeholders. */
function keepPlaceholders(pool: Keys, kind: "command" | "worker"): void {
  const env = Object.entries(isTable(pool.env) ? pool.env : {}).filter(
    ([name]) => name !== "PORT" || kind === "worker",
  );
  const kept = env.map(([name, text]) => [name, withoutPlaceholders(`${text}`)]);
  if (kept.length > 0) pool.env = Object.fromEntries(kept);
  else delete pool.env;
}

/** PM2's default is the script's name without its extension. */
function nameOf(app: Keys): string {
  const { name } = app;
  if (typeof name === "string" && name !== "") return name;
  const file = basename(`${scriptOf(app) ?? "app"}`.split(/\s/)[0] ?? "");
  return basename(file, extname(file));
}

/** One listening address serves the whole fleet. If there are several apps, all but the first are reached below their name. */
function fleetOf(apps: Keys[], ports: (number | undefined)[], result: Imported): void {
  const served = Object.entries(result.pools).filter(([, keys]) => !("worker" in keys));
  const port = ports.find((each) => each !== undefined);
  if (port !== undefined) result.fleet.listen = `127.0.0.1:${port}`;
  const [first] = apps;
  if (apps.length === 1 && first !== undefined) result.fleet.name = nameOf(first);
  const advice: Note["advice"] =
    port === undefined
      ? "clients connect to 127.0.0.1:8080; set `listen` to the port that the app asks for"
      : `only this machine reaches it; for others write ":${port}"`;
  if (served.length > 0) result.notes.push({ app: "", key: "listen", advice });
  for (const [pool, keys] of served.slice(1)) {
    keys.routes = `/${pool}/`;
    if (!("static" in keys)) keys.stripPrefix = true;
    const own = "it has no port of its own: set `routes` to its host or path, or import it alone with --only";
    result.notes.push({ app: pool, key: "routes", advice: `reached at /${pool}/; ${own}` });
  }
}
