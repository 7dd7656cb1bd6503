/** Loads an app module, JavaScript or TypeScript, on either runtime. */
import { type App, appFrom } from "./app.js";
import { ServerError } from "./errors.js";

const TYPESCRIPT = new Set([".ts", ".mts", ".cts", ".tsx"]);

/**
 * The app in the module at an absolute path.
 *
 * @throws ServerError `app-not-found`, `app-unusable`, or `app-threw` with the app's own error as its cause.
 */
export async function loadApp(path: string): Promise<App> {
  let module: { default?: unknown };
  try {
    module = await importModule(path);
  } catch (cause) {
    const { existsSync } = await import("node:fs");
    if (!existsSync(path)) throw new ServerError("app-not-found", `there is no app at ${path}`, { cause });
    throw new ServerError("app-threw", `${path} failed to load: ${cause}`, { cause });
  }
  // A module that was compiled to CommonJS carries its default export one level further down.
  const app = appFrom(module.default) ?? appFrom((module.default as { default?: unknown } | undefined)?.default);
  if (app !== undefined) return app;
  throw new ServerError(
    "app-unusable",
    `${path} must export by default an object with fetch(request, info), or a Node (req, res) function`,
  );
}

async function importModule(path: string): Promise<{ default?: unknown }> {
  // Bun takes a path as it is, and needs none of Node's modules for it.
  if (process.versions.bun !== undefined) return import(path);
  const [{ extname }, { pathToFileURL }] = await Promise.all([import("node:path"), import("node:url")]);
  if (TYPESCRIPT.has(extname(path)) && !runsTypeScript()) {
    const { createJiti } = await import("jiti");
    return createJiti(import.meta.url).import(path);
  }
  return import(pathToFileURL(path).href);
}

function runsTypeScript(): boolean {
  return Boolean((process.features as { typescript?: string | false }).typescript);
}
