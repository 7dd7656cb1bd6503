/** Loads an app module, JavaScript or TypeScript, on either runtime. */
import type { App, AppStyle, BunServeOptions, FetchApp } from "../shared/app.js";
import { errorLine, hintOnListening, ServerError, TLS_UNUSED } from "../shared/errors.js";
import type { ListenWatch, LoadHooks } from "./adopted-server.js";
import type { Module } from "./translate.js";

/** The hooks of a program without a supervisor. */
export const HOOKS_ALONE: LoadHooks = {
  onNotice: (message) => console.error(message),
  onAdopted: ({ isTls }) => {
    if (isTls) console.error(TLS_UNUSED);
  },
  keepAlive: () => {},
};

/**
 * Loads the app of the module at an absolute path, without starting it: its default export, or the first node:http server that
 * listens.
 *
 * @param style the style of its default export. Default: detected.
 * @param cache see importModule
 * @param hooks of the program whose only app it is; without them listen() is replaced only while the app loads.
 * @throws ServerError `app-not-found`, `app-unusable`, or `app-threw` with the app's error as its cause.
 */
export async function loadApp(path: string, style?: AppStyle, cache?: string, hooks?: LoadHooks): Promise<App> {
  const source = process.versions.bun === undefined ? undefined : textOnBun(path);
  const watch = await watchFor(path, source, hooks ?? HOOKS_ALONE);
  try {
    const app = await load(path, { style, cache, watch, hooks: hooks ?? HOOKS_ALONE, source });
    // With hooks the app may create further servers later.
    if (hooks === undefined) watch?.end();
    return app;
  } catch (error) {
    watch?.end();
    throw error;
  }
}

interface LoadOptions {
  style: AppStyle | undefined;
  cache: string | undefined;
  watch: ListenWatch | undefined;
  hooks: LoadHooks;
  /** The source text of the module; undefined on Node. */
  source: string | undefined;
}

async function load(path: string, { style, cache, watch, hooks, source = "" }: LoadOptions): Promise<App> {
  let module: { default?: unknown };
  let exported: unknown;
  if (process.versions.bun !== undefined) watchNativeAddons();
  try {
    hooks.onWait?.("its module has not finished loading: a top-level await has not resolved");
    module = await importModule(path, cache);
    // A module compiled to CommonJS has its exports one level deeper.
    if (isCompiled(module.default)) module = module.default;
    // Only a real promise is awaited: Fastify's app is a thenable whose then() starts it.
    hooks.onWait?.("the promise that its module exports has not resolved");
    exported = module.default instanceof Promise ? await module.default : module.default;
  } catch (cause) {
    const { existsSync } = await import("node:fs");
    if (!existsSync(path)) throw new ServerError("app-not-found", `there is no app at ${path}`, { cause });
    throw new ServerError("app-threw", `${path} failed to load: ${errorLine(cause)}${hintOnListening(cause)}`, {
      cause,
    });
  }
  const addon = LOADS_OTHERS.test(source) ? await unusableAddon() : undefined;
  if (addon !== undefined) throw new ServerError("app-unusable", `${path} would fail: ${addon}`);
  const app =
    (await bunServed(path, exported, watch, hooks)) ??
    fetchObject(exported, style) ??
    (await detected(path, exported, style, watch, hooks));
  watch?.decide(path, exported);
  const asked = watch?.servedInstead;
  if (asked !== undefined) hooks.onAdopted?.(asked);
  // Most apps have neither start() nor stop().
  if (!hasLifecycle(module) && !hasLifecycle(exported)) return app;
  const { lifecycleOf, withLifecycle } = await import("./lifecycle.js");
  return withLifecycle(app, lifecycleOf(module, exported));
}

function hasLifecycle(value: unknown): boolean {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  return "start" in value || "stop" in value || "beforeDrain" in value;
}

/** Handles the usual case without loading anything else. */
function fetchObject(exported: unknown, style: AppStyle | undefined): FetchApp | undefined {
  if (style === "node" || typeof exported !== "object" || exported === null || "listen" in exported) return undefined;
  const { fetch } = exported as { fetch?: unknown };
  return typeof fetch === "function" ? { style: "fetch", handler: fetch.bind(exported) } : undefined;
}

/** Returns an app for Bun.serve: an export with `websocket` or `routes`, or a framework's app that has called it. */
async function bunServed(
  path: string,
  exported: unknown,
  watch: ListenWatch | undefined,
  { onNotice }: LoadHooks,
): Promise<FetchApp | undefined> {
  if (typeof exported !== "object" || exported === null) return undefined;
  if (watch?.isOf(exported)) return watch.bunApp;
  const { fetch, websocket, routes } = exported as BunServeOptions;
  // Apps of Hono and Elysia have an array of this name that is not meant for Bun.serve.
  const hasRoutes = typeof routes === "object" && routes !== null && !Array.isArray(routes);
  const isForBun = typeof websocket === "object" || hasRoutes;
  if (!isForBun || (fetch !== undefined && typeof fetch !== "function") || "listen" in exported) return undefined;
  if (process.versions.bun === undefined) {
    onNotice(`${path} exports \`websocket\` or \`routes\`, which only Bun serves: set runtime: "bun"`);
    return undefined;
  }
  const { appOfBunServer, BunAppServer } = await import("./bun-server.js");
  return appOfBunServer(new BunAppServer(exported as BunServeOptions));
}

async function detected(
  path: string,
  exported: unknown,
  style: AppStyle | undefined,
  watch: ListenWatch | undefined,
  hooks: LoadHooks,
): Promise<App> {
  const { detectApp } = await import("./detect-app.js");
  const detection = detectApp(exported, style);
  if ("app" in detection) return detection.app;
  if (watch !== undefined) {
    const { listeningApp } = await import("./listening-app.js");
    const app = await listeningApp(watch, exported, path, hooks);
    if (app !== undefined) return app;
  }
  throw new ServerError("app-unusable", `${path} ${detection.problem}`);
}

/**
 * Watches always on Node, where node:net is loaded anyway. On Bun, node:http costs 2 MB, so it is watched only for a module without exports
 * or with a call of listen().
 */
async function watchFor(
  path: string,
  source: string | undefined,
  { onNotice }: LoadHooks,
): Promise<ListenWatch | undefined> {
  if (source !== undefined) {
    if (IMPORT_META_MAIN.test(source) && process.argv[1] === path) {
      (await import("./main-module.js")).markMainOnBun(path);
    }
    if (EXPORTS.test(source) && !LISTENS.test(source)) return undefined;
  }
  return (await import("./adopted-server.js")).watchListening(onNotice);
}

/** Unlike Bun.file(), this starts no threads, which cost 0.2 MB. */
function textOnBun(path: string): string {
  try {
    return new TextDecoder().decode(Bun.mmap(path));
  } catch {
    return ""; // Missing or empty.
  }
}

const IMPORT_META_MAIN = /\bimport\.meta\.main\b/;
/** Exports of the module itself. If it only re-exports, another file may listen. */
const EXPORTS =
  /\bexport\s+default\b|\bexport\s*\{[^}]*\bdefault\b[^}]*\}(?!\s*from\b)|\bmodule\.exports\s*=(?!=|\s*require\b)|\bexports\.default\s*=/;
const LISTENS = /\b(listen|serve)\s*\(|\bcreateServer\b/;
const LOADS_OTHERS = /\b(import|require|from)\b/;

function isCompiled(exported: unknown): exported is { default: unknown } {
  return typeof exported === "object" && exported !== null && "default" in exported && !("fetch" in exported);
}

const TYPESCRIPT = new Set([".ts", ".mts", ".cts"]);
/** Node runs neither of them. */
const JSX = new Set([".tsx", ".jsx"]);

/** Returns why Bun cannot import an existing module, by its path or its URL; undefined if it can. */
export function problemForBun(path: string): string | undefined {
  const [character] = /[?\\]/.exec(path) ?? [];
  return character && `Bun loads no module with ${character} in its path: rename the folder, or run it on Node`;
}

/**
 * Imports the module at an absolute path.
 *
 * @param cache a private folder of the fleet for compiled TypeScript. Default: compiles each time.
 */
async function importModule(path: string, cache: string | undefined): Promise<Module> {
  // Bun accepts a path and needs none of Node's modules.
  if (process.versions.bun !== undefined) {
    const problem = problemForBun(path);
    if (problem !== undefined) throw new Error(problem);
    return import(path);
  }
  const { importOnNode } = await import("./main-module.js");
  const { extname } = process.getBuiltinModule("node:path");
  const extension = extname(path);
  const isTypeScript = TYPESCRIPT.has(extension);
  const needsTranslation = JSX.has(extension) || (isTypeScript && (!runsTypeScript() || (await hasAliases(path))));
  if (needsTranslation) return (await import("./translate.js")).importTranslated(path, cache);
  try {
    return await importOnNode(path);
  } catch (error) {
    if (!isForTranslation(error, isTypeScript || (await hasAliases(path)))) throw error;
    const { importTranslated } = await import("./translate.js");
    return importTranslated(path, cache).catch((second) => {
      // Neither way has found the module. Node's own message is clearer.
      throw isNotFound(error) && isNotFound(second) ? error : second;
    });
  }
}

async function hasAliases(path: string): Promise<boolean> {
  return (await import("./tsconfig.js")).hasPathAliases(path);
}

function runsTypeScript(): boolean {
  return Boolean((process.features as { typescript?: string | false }).typescript);
}

/** Modules are found and parsed before any of them runs, so after such an error usually no code has run. */
function isForTranslation(error: unknown, mayHaveOtherPaths: boolean): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  if (code === "ERR_UNKNOWN_FILE_EXTENSION") return /"\.([cm]?ts|[jt]sx)"/.test(`${message}`);
  if (code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX" || code === "ERR_UNSUPPORTED_DIR_IMPORT") return true;
  return mayHaveOtherPaths && isNotFound(error);
}

function isNotFound(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  return code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND";
}

/** Explains at start what to do if Bun cannot load a native addon, instead of on each request. */
const WHAT_TO_DO = 'it is a native addon for Node, which Bun cannot load: set runtime: "node" for this pool';
/** The symbol contains V8's ABI version; Node-API addons have none. */
const REGISTRATION = /node_register_module_v(\d+)/;

const failed = new Set<string>();

/** Adds advice to the errors of addons; call it before loading an app. */
function watchNativeAddons(): void {
  const load = process.dlopen;
  process.dlopen = function (this: unknown, ...args: Parameters<typeof load>) {
    try {
      return load.apply(process, args);
    } catch (error) {
      failed.add(args[1]);
      if (error instanceof Error) error.message += ` (${args[1]}: ${WHAT_TO_DO})`;
      throw error;
    }
  };
}

/**
 * Finds an addon in a loaded package that has not been loaded yet and will fail. An addon that has failed without ending the app is not
 * needed by the app.
 */
async function unusableAddon(): Promise<string | undefined> {
  // Bun's own require loads none of Node's modules, but its list of modules costs 0.6 MB.
  const modules = Object.keys((import.meta as unknown as { require: NodeJS.Require }).require.cache);
  const packages = new Set(modules.map((path) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? ""));
  packages.delete("");
  if (packages.size === 0) return undefined;
  // Loaded only when needed, which is rare.
  const { readdirSync, readFileSync } = await import("node:fs");
  for (const folder of packages) {
    for (const file of addonsIn(`${folder}/build/Release`)) {
      const version = REGISTRATION.exec(readFileSync(file, "latin1"))?.[1];
      if (version === undefined || version === process.versions.modules || failed.has(file)) continue;
      return `${file}: ${WHAT_TO_DO}`;
    }
  }
  return undefined;

  function addonsIn(path: string): string[] {
    try {
      return readdirSync(path).flatMap((name) => (name.endsWith(".node") ? [`${path}/${name}`] : []));
    } catch {
      return []; // Most packages have none.
    }
  }
}
