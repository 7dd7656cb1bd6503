/** Imports a Procfile, and Heroku's app.json beside it: each process type becomes a pool. Pure. */
import type { ProjectFacts } from "./rules.js";
import {
  applyRules,
  type Imported,
  inFleet,
  isTable,
  type Keys,
  merge,
  poolName,
  type Rules,
  splitWords,
  withoutPlaceholders,
} from "./rules.js";

interface HerokuFiles {
  /** The text of the Procfile, if there is one. */
  procfile?: string | undefined;
  /** Its name. Default: `Procfile`. */
  name?: string;
  /** The contents of app.json, if that is imported. */
  appJson?: unknown;
  /** The files of NAME=value lines beside them, for example `.env`. */
  envFiles: readonly string[];
}

/** @throws Error whose message describes what is missing */
export function importHeroku(
  { procfile, name = "Procfile", appJson, envFiles }: HerokuFiles,
  facts: ProjectFacts,
): Imported {
  const { types, unread } =
    procfile === undefined ? { types: defaultTypes(facts), unread: [] } : parseProcfile(procfile);
  const notes = unread.map(({ line, text, why }) => {
    return { app: "", key: `${name}:${line}`, advice: `${why} and was left out: ${text}` };
  });
  const result: Imported = { fleet: {}, pools: {}, mapped: [], notes };
  const asked = Object.entries(types).map(([type, line]) => importType(type, line, facts, result));
  const [first] = Object.values(result.pools);
  if (first === undefined) throw new Error("has no process type: lines such as `web: npm start`");
  if (envFiles.length > 0) result.fleet.envFiles = [...envFiles];
  if (appJson !== undefined) importAppJson(appJson, result);
  const { web } = result.pools;
  if (web === undefined) return result;
  const own = isTable(result.fleet.env) ? Number(result.fleet.env.PORT) || undefined : undefined;
  const port = [own, ...envFiles.map(facts.portIn).reverse(), ...asked].find((each) => each !== undefined);
  if (port !== undefined) result.fleet.listen = `127.0.0.1:${port}`;
  const ofInstance = "command" in web ? "each instance gets a PORT of its own" : "the app's own port is not opened";
  const advice = `clients connect to \`listen\` (127.0.0.1:${port ?? 8080}); ${ofInstance}`;
  result.notes.push({ app: "web", key: "PORT", advice });
  return result;
}

/** Without a Procfile, Heroku runs the start script of package.json. */
function defaultTypes(facts: ProjectFacts): Record<string, string> {
  if (facts.look("package.json") === "file") return { web: "npm start" };
  throw new Error("has no Procfile beside it that says what to run");
}

/** A line of a Procfile that cannot be used. */
interface UnreadLine {
  line: number;
  text: string;
  why: string;
}

/** Parses `type: command` lines. Returns other lines, except comments, with their numbers and the reason. */
export function parseProcfile(text: string): { types: Record<string, string>; unread: UnreadLine[] } {
  const types: Record<string, string> = {};
  const unread: UnreadLine[] = [];
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    const [, type, command] = /^([\w-]+)\s*:\s*(\S.*?)\s*$/s.exec(line) ?? [];
    if (/^\s*(#|$)/.test(line)) continue;
    const why =
      type === undefined || command === undefined
        ? "is not `type: command`"
        : Object.hasOwn(types, type)
          ? `repeats \`${type}\``
          : unfinished(command);
    if (why !== undefined) unread.push({ line: at + 1, text: line.trim(), why });
    else types[type as string] = command as string;
  }
  return { types, unread };
}

/** Returns why a shell would read on after the end of the command. */
function unfinished(command: string): string | undefined {
  const [open] = /["'\\]/.exec(command.replace(/\\.|'[^']*'|"(?:\\.|[^"\\])*"|(?<=\s)#.*$/g, "")) ?? [];
  if (open === undefined) return undefined;
  return open === "\\" ? "ends in a backslash" : `has a quote (${open}) without an end`;
}

/** Returns the port that the sources of an app use. */
function importType(type: string, line: string, facts: ProjectFacts, result: Imported): number | undefined {
  if (type === "release") {
    const advice = `run it in your deploy script, before \`paceline reload\`: ${line}`;
    result.notes.push({ app: "", key: type, advice });
    return undefined;
  }
  if (type === "web" && /0\.0\.0\.0|\[::\]/.test(line))
    result.notes.push({
      app: "",
      key: type,
      advice: "make it listen on 127.0.0.1; otherwise other machines can bypass the balancer",
    });
  const { port, ...pool } = type === "web" ? webPool(line, facts) : { worker: commandOf(line), instances: 1 };
  result.pools[poolName(type, Object.keys(result.pools))] = pool;
  result.mapped.push({ app: "", key: type, to: Object.keys(pool)[0] as string });
  return port;
}

/** Without variables or pipes no shell is needed. */
function commandOf(line: string): string[] {
  const words = splitWords(line) ?? ["sh", "-c", /[;&|]|^\w+=/.test(line) ? line : `exec ${line}`];
  return words.map(withoutPlaceholders);
}

/** Returns the keys of the pool, and the port that the sources of an app use. */
function webPool(line: string, facts: ProjectFacts): Keys & { port?: number | undefined } {
  const [program, script, ...args] = splitWords(line) ?? [];
  const isModule = script !== undefined && /\.[cm]?[jt]sx?$/.test(script) && facts.look(script) === "file";
  if (isModule && (program === "node" || program === "bun")) {
    const app = script.startsWith("/") ? script : `./${script.replace(/^\.\//, "")}`;
    const { serves, port } = facts.scan(script);
    if (serves) return { app, ...(args.length > 0 && { args }), instances: 1, runtime: program, port };
  }
  return { command: commandOf(line), instances: 1 };
}

/** The keys of app.json. */
const APP_JSON_RULES: Rules<Imported> = {
  name: { to: "name", keys: (value, { fleet }) => inFleet(fleet, { name: `${value}` }) },
  env: { to: "env", keys: (value, { notes }) => variables(value, notes) },
  formation: { to: "instances", keys: (value, { notes }) => formation(value, notes) },
  scripts: { advice: "run `postdeploy` in your deploy script, before `paceline reload` (docs/deploying.md)" },
  addons: { advice: "run databases and the like yourself, and give their addresses in `env` or `envFiles`" },
  buildpacks: { advice: "build in your deploy script, before `paceline reload` (docs/deploying.md)" },
  environments: { advice: "keep a file of NAME=value lines for each environment, and name it in `envFiles`" },
  stack: { advice: "omit it: the fleet runs on this machine" },
  image: { advice: "omit it: the fleet runs on this machine" },
  ...Object.fromEntries(
    ["description", "keywords", "website", "repository", "logo", "success_url", "$schema"].map((key) => [
      key,
      { to: "nothing to write", same: () => true },
    ]),
  ),
};

function importAppJson(document: unknown, result: Imported): void {
  if (!isTable(document)) throw new Error("must be an object");
  const unknown = () => "not a key of Heroku's documentation: nothing is taken from it";
  const { keys, mapped, notes } = applyRules(APP_JSON_RULES, document, result, { app: "", unknown });
  const { instances, ...rest } = keys;
  merge(result.fleet, rest);
  if (instances !== undefined && result.pools.web !== undefined) result.pools.web.instances = instances;
  result.mapped.push(...mapped);
  result.notes.push(...notes);
}

function variables(value: unknown, notes: Imported["notes"]): Keys | string {
  if (!isTable(value)) return "must be an object of variables";
  const env: Record<string, string> = {};
  for (const [name, given] of Object.entries(value)) {
    const text = isTable(given) ? given.value : given;
    if (typeof text === "string" || typeof text === "number") env[name] = withoutPlaceholders(`${text}`);
    else
      notes.push({ app: "", key: `env.${name}`, advice: "has no value here: set it in a file that `envFiles` names" });
  }
  return Object.keys(env).length === 0 ? {} : { env };
}

function formation(value: unknown, notes: Imported["notes"]): Keys | string {
  if (!isTable(value)) return "must be an object of process types";
  const keys: Keys = {};
  for (const [type, of] of Object.entries(value)) {
    const quantity = isTable(of) ? of.quantity : undefined;
    if (type === "web" && Number.isInteger(quantity)) keys.instances = quantity;
    else notes.push({ app: "", key: `formation.${type}`, advice: "set `instances` of this pool" });
    if (isTable(of) && of.size !== undefined)
      notes.push({ app: "", key: `formation.${type}.size`, advice: "omit it: instances share this machine" });
  }
  return keys;
}
