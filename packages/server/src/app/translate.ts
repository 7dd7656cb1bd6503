/** Imports an app on Node through jiti, which translates TypeScript and JSX and knows the `paths` of a tsconfig.json. */
import { createJiti, type JitiOptions } from "jiti";
import { compilerOptionsFor } from "./tsconfig.js";

export interface Module {
  default?: unknown;
}

/** @param cache a folder that nobody else can write to, as what lies there is run; by default nothing is kept */
export async function importTranslated(path: string, cache: string | undefined): Promise<Module> {
  const jiti = createJiti(path, {
    // Its own choice is a folder in /tmp that any user could have filled.
    fsCache: cache ?? false,
    tsconfigPaths: true,
    jsx: jsxOptions(compilerOptionsFor(path)),
  });
  const loaded = await jiti.import<Module>(path);
  if ("default" in loaded) return loaded;
  // What jiti gives is a thenable where the default export is one, as Fastify's app is: then that has come, and not the module.
  const exports = jiti.cache[path]?.exports as (Module & { __esModule?: boolean }) | undefined;
  // Of CommonJS it gives `module.exports`.
  return exports?.__esModule ? exports : { default: exports ?? loaded };
}

/** What the compiler's options for JSX mean; without any it is React's, as on Bun. */
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
