/** Loads an app module, JavaScript or TypeScript, on either runtime. */
import type { App, AppStyle, BunServeOptions, FetchApp } from "../shared/app.js";
import { errorLine, hintOnListening, ServerError } from "../shared/errors.js";
import type { ListenWatch, LoadHooks } from "./adopted-server.js";
import type { Module } from "./translate.js";

const NO_HOOKS: LoadHooks = { onNotice: (message) => console.error(message), keepAlive: () => {} };

/**
 * Returns the app of the module at an absolute path, not started yet: its default export, or else the first server of
 * node:http that it listens with.
 *
 * @param style what its default export is to be taken for; by default its shape tells.
 * @param cache see importModule
 * @param hooks of the program whose only app it is; without them listen() is taken over only while the app loads.
 * @throws ServerError `app-not-found`, `app-unusable`, or `app-threw` with the app's own error as its cause.
 */
export async function loadApp(path: string, style?: AppStyle, cache?: string, hooks = NO_HOOKS): Promise<App> {
  const watch = await watchFor(path, hooks);
  try {
    const app = await load(path, style, cache, watch, hooks);
    // In a program of its own an app may make further servers later on.
    if (hooks === NO_HOOKS) watch?.end();
    return app;
  } catch (error) {
    watch?.end();
    throw error;
  }
}

async function load(
  path: string,
  style: AppStyle | undefined,
  cache: string | undefined,
  watch: ListenWatch | undefined,
  hooks: LoadHooks,
): Promise<App> {
  let module: { default?: unknown };
  let exported: unknown;
  if (process.versions.bun !== undefined) watchNativeAddons();
  try {
    module = await importModule(path, cache);
    // A module that was compiled to CommonJS carries its exports one level further down.
    if (isCompiled(module.default)) module = module.default;
    // A promise alone: Fastify's app is a thenable too, whose then() starts it.
    exported = module.default instanceof Promise ? await module.default : module.default;
  } catch (cause) {
    const { existsSync } = await import("node:fs");
    if (!existsSync(path)) throw new ServerError("app-not-found", `there is no app at ${path}`, { cause });
    throw new ServerError("app-threw", `${path} failed to load: ${errorLine(cause)}${hintOnListening(cause)}`, {
      cause,
    });
  }
  // Bun's own name for it, which brings none of Node's modules along.
  const { require } = import.meta as { require?: NodeJS.Require };
  const addon = require === undefined ? undefined : await unusableAddon(Object.keys(require.cache));
  if (addon !== undefined) throw new ServerError("app-unusable", `${path} would fail: ${addon}`);
  const app =
    (await bunServed(path, exported, watch, hooks)) ??
    fetchObject(exported, style) ??
    (await detected(path, exported, style, watch, hooks));
  watch?.decide(path, exported);
  // Most have neither, and need nothing of what follows.
  if (!hasLifecycle(module) && !hasLifecycle(exported)) return app;
  const { lifecycleOf, withLifecycle } = await import("./lifecycle.js");
  return withLifecycle(app, lifecycleOf(module, exported));
}

function hasLifecycle(value: unknown): boolean {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  return "start" in value || "stop" in value || "beforeDrain" in value;
}

/** The usual case, for which nothing else has to be loaded. */
function fetchObject(exported: unknown, style: AppStyle | undefined): FetchApp | undefined {
  if (style === "node" || typeof exported !== "object" || exported === null || "listen" in exported) return undefined;
  const { fetch } = exported as { fetch?: unknown };
  return typeof fetch === "function" ? { style: "fetch", handler: fetch.bind(exported) } : undefined;
}

/** An app for Bun.serve: an export with its `websocket` or `routes`, or a framework's app that has called it. */
async function bunServed(
  path: string,
  exported: unknown,
  watch: ListenWatch | undefined,
  { onNotice }: LoadHooks,
): Promise<FetchApp | undefined> {
  if (typeof exported !== "object" || exported === null) return undefined;
  if (watch?.isOf(exported)) return watch.bunApp;
  const { fetch, websocket, routes } = exported as BunServeOptions;
  const isForBun = typeof websocket === "object" || (routes !== undefined && typeof routes === "object");
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
 * On Node always: node:net is loaded anyway. On Bun node:http costs a process 2 MB, so only for a module that exports
 * nothing or that names what listens.
 */
async function watchFor(path: string, { onNotice }: LoadHooks): Promise<ListenWatch | undefined> {
  if (process.versions.bun !== undefined) {
    const source = await Bun.file(path)
      .text()
      .catch(() => "");
    if (EXPORTS.test(source) && !LISTENS.test(source)) return undefined;
  }
  return (await import("./adopted-server.js")).watchListening(onNotice);
}

const EXPORTS = /\bexport\s+default\b|\bexport\s*\{[^}]*\bdefault\b|\bexports\b/;
const LISTENS = /\b(listen|serve)\s*\(|\bcreateServer\b/;

function isCompiled(exported: unknown): exported is { default: unknown } {
  return typeof exported === "object" && exported !== null && "default" in exported && !("fetch" in exported);
}

const TYPESCRIPT = new Set([".ts", ".mts", ".cts"]);
/** No Node runs these. */
const JSX = new Set([".tsx", ".jsx"]);

/**
 * The module at an absolute path.
 *
 * @param cache a folder of the fleet's own for what is translated from TypeScript; by default it is translated each time.
 */
async function importModule(path: string, cache: string | undefined): Promise<Module> {
  // Bun takes a path as it is, and needs none of Node's modules for it.
  if (process.versions.bun !== undefined) return import(path);
  const [{ extname }, { pathToFileURL }] = await Promise.all([import("node:path"), import("node:url")]);
  const extension = extname(path);
  const isTypeScript = TYPESCRIPT.has(extension);
  const needsTranslation = JSX.has(extension) || (isTypeScript && (!runsTypeScript() || (await hasAliases(path))));
  if (needsTranslation) return (await import("./translate.js")).importTranslated(path, cache);
  try {
    return await import(pathToFileURL(path).href);
  } catch (error) {
    if (!isForTranslation(error, isTypeScript || (await hasAliases(path)))) throw error;
    const { importTranslated } = await import("./translate.js");
    return importTranslated(path, cache).catch((second) => {
      // Not found in either way: Node's own words are the clearer ones.
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

/** Modules are found and parsed before any of them runs, so what fails for these reasons has mostly not begun. */
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

/** Says of a native addon that Bun cannot load what to do about it, at the start and not with each request. */
const WHAT_TO_DO = 'it is a native addon for Node, which Bun cannot load: set runtime: "node" for this pool';
/** Their symbol names the version of V8's interface that an addon was compiled for; addons of Node-API have none. */
const REGISTRATION = /node_register_module_v(\d+)/;

const failed = new Set<string>();

/** Adds what to do to the errors of addons; to be called before an app is loaded. */
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
 * An addon of a package that the app has loaded, which has not been asked for yet and is going to fail when it is; one that
 * has failed already, and did not end the app, is something that the app does without.
 */
async function unusableAddon(modules: string[]): Promise<string | undefined> {
  const packages = new Set(modules.map((path) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? ""));
  packages.delete("");
  if (packages.size === 0) return undefined;
  // Rarely needed, so not loaded before.
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
