/** Imports an app's module, JavaScript or TypeScript, alike on Bun, which runs all of it by itself, and on Node, which does not. */
import type { Module } from "./translate.js";

const TYPESCRIPT = new Set([".ts", ".mts", ".cts"]);
/** No Node runs these. */
const JSX = new Set([".tsx", ".jsx"]);

/**
 * The module at an absolute path.
 *
 * @param cache a folder of the fleet's own for what is translated from TypeScript; by default it is translated each time.
 */
export async function importModule(path: string, cache: string | undefined): Promise<Module> {
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
  return (await import("./path-aliases.js")).hasPathAliases(path);
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
