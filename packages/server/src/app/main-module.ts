/** Loads an app's module as the main module of its process, as the runtime itself does: `require.main` and `import.meta.main`. */
import type { Module } from "./translate.js";

/** The parts of node:module used here; its types lack them. */
interface ModuleLoader {
  _load(path: string, parent: null, isMain: true): unknown;
  /** Node ≥ 22.15. */
  registerHooks?(hooks: { load: LoadHook }): { deregister(): void };
}

interface Loaded {
  source?: string | ArrayBuffer | Uint8Array | null;
}
type LoadHook = (url: string, context: object, next: (url: string, context: object) => Loaded) => Loaded;

/** The error codes for a module that is not CommonJS, or has a top-level `await`. */
const NOT_COMMONJS = new Set(["ERR_REQUIRE_ESM", "ERR_REQUIRE_ASYNC_MODULE"]);
/** Lines with which only an ES module can begin, apart from comments and template strings. */
const MAYBE_ES_MODULE = /^[ \t]*(?:import\b\s*["'{*\w]|export\b\s*[{*\w])|\bimport\.meta\b/m;
const IMPORT_META_MAIN = /\bimport\.meta\.main\b/g;
/** Replaces the expression. Padded to the same length, so that positions in errors stay correct. */
const TRUE = "true".padEnd("import.meta.main".length);

/** Imports the module at `path` on Node; as the main one if process.argv names it. */
export async function importOnNode(path: string): Promise<Module> {
  const { pathToFileURL } = process.getBuiltinModule("node:url");
  const { href } = pathToFileURL(path);
  if (process.argv[1] !== path) return import(href);
  const loader = process.getBuiltinModule("node:module") as unknown as ModuleLoader;
  const source = read(path) ?? "";
  if (isCommonJs(path, source)) {
    try {
      return { default: loader._load(path, null, true) };
    } catch (error) {
      if (!NOT_COMMONJS.has((error as { code?: string }).code ?? "")) throw error;
    }
  }
  if (loader.registerHooks === undefined || !source.includes("import.meta.main")) return import(href);
  const load: LoadHook = (url, context, next) => {
    const loaded = next(url, context);
    if (url !== href || !loaded.source) return loaded;
    const text = typeof loaded.source === "string" ? loaded.source : new TextDecoder().decode(loaded.source);
    return { ...loaded, source: text.replaceAll(IMPORT_META_MAIN, TRUE) };
  };
  const hooks = loader.registerHooks({ load });
  try {
    return await import(href);
  } finally {
    hooks.deregister();
  }
}

/** Makes `import.meta.main` true in the module at `path` on Bun, which looks at the process's first module. */
export function markMainOnBun(path: string): void {
  const loader = (/\.[cm]?([jt]sx?)$/.exec(path)?.[1] ?? "js") as Bun.Loader;
  Bun.plugin({
    name: "paceline-main",
    setup(build) {
      build.onLoad({ filter: new RegExp(`^${path.replaceAll(/[^\w/-]/g, "\\$&")}$`) }, async () => ({
        contents: (await Bun.file(path).text()).replaceAll(IMPORT_META_MAIN, TRUE),
        loader,
      }));
    },
  });
}

/** Whether Node would run the file as CommonJS. */
export function isCommonJs(path: string, source: string): boolean {
  const extension = /\.[^./]*$/.exec(path)?.[0] ?? "";
  if (extension === ".cjs" || extension === ".cts") return true;
  if (extension === ".mjs" || extension === ".mts") return false;
  const type = packageType(path);
  if (type !== undefined) return type === "commonjs";
  if (!MAYBE_ES_MODULE.test(source)) return true;
  try {
    // As Node itself does: if a module declares no type, compiling it shows which one it is.
    process.getBuiltinModule("node:vm").compileFunction(source, ["exports", "require", "module", "__filename"]);
    return true;
  } catch {
    return false;
  }
}

/** Returns the `type` of the nearest package.json; undefined if that file has none. */
function packageType(path: string): string | undefined {
  for (let folder = path; folder !== ""; ) {
    folder = folder.slice(0, folder.lastIndexOf("/"));
    const text = read(`${folder}/package.json`);
    if (text === undefined) continue;
    try {
      return (JSON.parse(text) as { type?: string } | null)?.type;
    } catch {
      return undefined; // Node's own error names the file.
    }
  }
  return undefined;
}

function read(path: string): string | undefined {
  try {
    return process.getBuiltinModule("node:fs").readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
