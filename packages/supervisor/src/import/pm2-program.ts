/** Decides how an app of PM2 is run: the kind of pool, by its script, interpreter and arguments. Pure. */
import { basename, extname, isAbsolute, join, normalize } from "node:path";
import type { Pm2Context } from "./pm2-rules.js";
import type { ProjectFacts } from "./rules.js";
import { isOff, isTable, type Keys, splitWords, withoutPlaceholders } from "./rules.js";

/** The interpreters, except Node, that PM2 chooses by extension. */
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
/** Interpreters of TypeScript and Babel, which both runtimes do not need. */
const LOADERS = /^(ts-node(-\w+)?|tsx|babel-node|swc-node|esno|nodemon)$/;

export interface Program {
  kind: Pm2Context["kind"];
  isScheduled: boolean;
  keys: Keys;
  /** Whether the arguments of the interpreter are among the program's words. */
  hasInterpreterArgs?: boolean;
  /** The port that its sources use. */
  port?: number | undefined;
}

type AddNote = (key: string, advice: string) => void;

/** Returns undefined if the app does not become a pool; a note has the reason. */
export function programOf(source: Keys, env: Keys, facts: ProjectFacts, note: AddNote): Program | undefined {
  const cwd = typeof source.cwd === "string" ? source.cwd : ".";
  const given = source.script ?? source.exec ?? source.cmd;
  if (typeof given !== "string" || given.trim() === "") {
    note("script", "the app has none and is omitted: write a pool by hand (docs/configuration.md)");
    return undefined;
  }
  const [script = "", ...inScript] =
    facts.look(below(cwd, given)) === "file" ? [given] : (splitWords(given) ?? ["sh", "-c", given]);
  const args = [...inScript, ...argumentsOf(source.args)];
  if (script === "serve" && (args.length > 0 || Object.keys(env).some((name) => name.startsWith("PM2_SERVE_")))) {
    if (!hasPassword(source, args)) return { ...folderOf(args, env, cwd, note), isScheduled: false };
    note(
      "script",
      "omitted, since its files need a password and a `static` pool asks for none: serve them from an app that does (docs/files.md)",
    );
    return undefined;
  }
  const run = moduleOf(script, args, { source, cwd, facts, note }) ?? commandOf(script, args, { source, cwd, facts });
  const ends = source.autorestart === false && run.kind !== "app";
  const isScheduled = ends && !isOff(source.cron_restart ?? source.cron);
  if (ends && !isScheduled && run.kind === "worker") {
    note("script", "omitted, since it runs once: start it from cron, or as a worker with `cron` (docs/workers.md)");
    return undefined;
  }
  if (run.kind === "worker" || isScheduled) {
    note("script", isScheduled ? "a worker that runs at these times" : IS_WORKER);
    return { ...run, ...asWorker(run.keys), isScheduled };
  }
  if (run.kind === "command") note("script", IS_COMMAND);
  return { ...run, isScheduled };
}

const IS_WORKER = "by its source it serves nothing over HTTP: a `worker`; if it does serve, write `app` instead";
const IS_COMMAND =
  "it must listen on the port in PORT, or at {socket} (docs/commands.md); if it serves nothing, write `worker` for `command`";

function asWorker({ app, command, ...keys }: Keys): Pick<Program, "kind" | "keys"> {
  // PM2 stops with SIGINT, and a worker may handle no other signal.
  return { kind: "worker", keys: { worker: app ?? command, ...keys, stopSignal: "SIGINT" } };
}

interface ScriptContext {
  source: Keys;
  cwd: string;
  facts: ProjectFacts;
}

/** Returns undefined if the script is not a module for Node or Bun. */
function moduleOf(
  script: string,
  args: string[],
  { source, cwd, facts, note }: ScriptContext & { note: AddNote },
): Omit<Program, "isScheduled"> | undefined {
  const interpreter = interpreterOf(source);
  if (interpreter !== undefined && !/^(node|bun)(@.*)?$/.test(interpreter) && !LOADERS.test(interpreter))
    return undefined;
  const path = below(cwd, script);
  // PM2 adds the extension itself.
  const candidates = [path, `${path}.js`].filter((each) => facts.look(each) === "file");
  const module = candidates.find(facts.isModule) ?? (MODULE.test(path) ? path : undefined);
  if (module === undefined) return undefined;
  if (interpreter?.includes("@"))
    note("interpreter", "Paceline takes the `node` on PATH: set PATH where you start the fleet");
  const runtime = interpreter?.startsWith("node") ? "node" : interpreter === "bun" ? "bun" : undefined;
  const keys = { app: relativePath(module), ...(args.length > 0 && { args }), ...(runtime && { runtime }) };
  const { serves, port } = facts.scan(module);
  return { kind: serves ? "app" : "worker", keys, port };
}

function commandOf(
  script: string,
  args: string[],
  { source, cwd, facts }: ScriptContext,
): Omit<Program, "isScheduled"> {
  const interpreter = interpreterOf(source);
  const path = below(cwd, script);
  const isFile = facts.look(path) === "file";
  // A relative program is searched from `cwd`, one without a slash on PATH.
  const program = isFile && !script.includes("/") ? `./${script}` : script;
  const runner = interpreter === "none" ? undefined : (interpreter ?? runnerOf(path, isFile && facts.isText(path)));
  const ofRunner = argumentsOf(source.node_args ?? source.interpreter_args ?? source.interpreterArgs);
  const words = [...(runner === undefined ? [] : [runner, ...ofRunner]), program, ...args].map(withoutPlaceholders);
  return { kind: "command", keys: { command: words }, hasInterpreterArgs: runner !== undefined };
}

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

/** Whether PM2's file server asks for a password, in any environment of the app. */
function hasPassword(source: Keys, args: string[]): boolean {
  const tables = Object.entries(source).flatMap(([key, value]) =>
    /^env(_|$)/.test(key) && isTable(value) ? [value] : [],
  );
  const variables = tables.flatMap((table) => Object.entries(table));
  return (
    variables.some(
      ([name, value]) => name.startsWith("PM2_SERVE_BASIC_AUTH") && !isOff(value) && `${value}` !== "false",
    ) || args.some((word) => word.startsWith("--basic-auth"))
  );
}

/** PM2's own file server. */
function folderOf(args: string[], env: Keys, cwd: string, note: AddNote): Omit<Program, "isScheduled"> {
  const folder = env.PM2_SERVE_PATH ?? args.find((word) => !word.startsWith("-") && !/^\d+$/.test(word)) ?? ".";
  const port = args.map(Number).find((number) => number > 0);
  const isSpa = `${env.PM2_SERVE_SPA}` === "true" || args.some((word) => word === "-s" || word === "--spa");
  if (isSpa)
    note("env.PM2_SERVE_SPA", "a path without a file gets 404: serve index.html for it from an app (docs/files.md)");
  for (const key of Object.keys(env).filter((each) => /^PM2_SERVE_(?!PATH$|PORT$|SPA$)/.test(each)))
    note(`env.${key}`, "see the keys of `static` pools in docs/configuration.md");
  const path = relativePath(below(cwd, `${folder}`));
  if (path === ".") note("script", "it serves all files beside the config, such as package.json: name a subfolder");
  return { kind: "static", keys: { static: path }, port };
}

function argumentsOf(args: unknown): string[] {
  if (Array.isArray(args)) return args.map(String);
  if (typeof args !== "string" || args.trim() === "") return [];
  return splitWords(args) ?? args.trim().split(/\s+/);
}

/** Returns a path of the app relative to the folder of the imported file. */
export function below(cwd: string, path: string): string {
  return normalize(isAbsolute(path) ? path : join(cwd, path));
}

function relativePath(path: string): string {
  if (path === "./") return ".";
  return path === "." || path.startsWith("/") || path.startsWith("..") ? path : `./${path.replace(/\/$/, "")}`;
}
