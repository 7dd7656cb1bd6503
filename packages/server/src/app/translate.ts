/** Imports an app on Node through jiti, which compiles TypeScript and JSX and supports `paths` in tsconfig.json. */
import { readFileSync } from "node:fs";
import { createJiti, type JitiOptions } from "jiti";
import { compilerOptionsFor } from "./tsconfig.js";

export interface Module {
  default?: unknown;
}

/**
 * jiti sets `require.main` to the module of the program, but in the app's own module it must be that module itself. The replacement is
 * padded to the same length, so that positions in errors stay correct.
 */
const REQUIRE_MAIN = /\brequire\.main\b/g;
const MODULE = "module".padEnd("require.main".length);

/** @param cache a folder that only this user can write to, because its code is run. Default: no cache */
export async function importTranslated(path: string, cache: string | undefined): Promise<Module> {
  const jiti = createJiti(path, {
    // jiti's default is a folder in /tmp that any user could have filled.
    fsCache: cache ?? false,
    tsconfigPaths: true,
    jsx: jsxOptions(compilerOptionsFor(path)),
  });
  const source = process.argv[1] === path ? readFileSync(path, "utf8") : "";
  const loaded = source.includes("require.main")
    ? ((await jiti.evalModule(source.replaceAll(REQUIRE_MAIN, MODULE), {
        filename: path,
        id: path,
        async: true,
      })) as Module)
    : await jiti.import<Module>(path);
  if ("default" in loaded) return loaded;
  // If the default export is a thenable, such as Fastify's app, jiti returns its result instead of the module.
  const exports = jiti.cache[path]?.exports as (Module & { __esModule?: boolean }) | undefined;
  // For CommonJS jiti returns `module.exports`.
  return exports?.__esModule ? exports : { default: exports ?? loaded };
}

/** Converts the compiler's JSX options; the default is React's, as on Bun. */
function jsxOptions(options: Record<string, unknown>): Exclude<JitiOptions["jsx"], boolean | undefined> {
  const text = (name: string, otherwise: string) => (typeof options[name] === "string" ? options[name] : otherwise);
  if (options.jsx === "react") {
    return {
      runtime: "classic",
      pragma: text("jsxFactory", "React.createElement"),
      pragmaFrag: text("jsxFragmentFactory", "React.Fragment"),
    };
  }
  return { runtime: "automatic", importSource: text("jsxImportSource", "react") };
}
