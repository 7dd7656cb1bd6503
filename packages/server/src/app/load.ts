/** Loads an app module, JavaScript or TypeScript, on either runtime. */

import { errorLine } from "../process/error-line.js";
import type { App, AppStyle, FetchApp } from "../shared/app.js";
import { ServerError } from "../shared/errors.js";
import { importModule } from "./import-app.js";
import { hintOnListening } from "./listening-hint.js";
import { unusableAddon, watchNativeAddons } from "./native-addons.js";

/**
 * The app in the module at an absolute path; not started yet.
 *
 * @param style what its default export is to be taken for; by default its shape tells.
 * @param cache see importModule
 * @throws ServerError `app-not-found`, `app-unusable`, or `app-threw` with the app's own error as its cause.
 */
export async function loadApp(path: string, style?: AppStyle, cache?: string): Promise<App> {
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
  const app = fetchObject(exported, style) ?? (await detected(path, exported, style));
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

async function detected(path: string, exported: unknown, style: AppStyle | undefined): Promise<App> {
  const { detectApp } = await import("./detect-app.js");
  const detection = detectApp(exported, style);
  if ("app" in detection) return detection.app;
  throw new ServerError("app-unusable", `${path} ${detection.problem}`);
}

function isCompiled(exported: unknown): exported is { default: unknown } {
  return typeof exported === "object" && exported !== null && "default" in exported && !("fetch" in exported);
}
