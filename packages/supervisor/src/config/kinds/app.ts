/** The kind `app`: a module of the user's. */
import { text, word } from "../fields.js";
import { resolveApp } from "../paths.js";
import { poolKind } from "./kind.js";

export const app = poolKind({
  name: "app",
  fields: {
    app: text(
      "The app: a module whose default export is `{ fetch }`, a fetch function, a Node `(req, res)` handler or an app of Express, Koa, Fastify or Hono, or a folder that has an app.ts, index.ts or server.ts (or .js, .mjs). From the config file's folder.",
    ),
    style: word(
      ["fetch", "node"],
      'How the app is called: `"fetch"`, with `(request, info)`, or `"node"`, with `(req, res)`. Default: what the shape of the default export tells; needed only for a function that leaves it open.',
    ),
  },
  defaultInstances: 4,
  resolve(keys, { baseDir, report }) {
    const found = resolveApp(keys.app ?? "", baseDir);
    if (typeof found === "string")
      return { source: found, runs: { app: found, ...(keys.style && { style: keys.style }) } };
    report(["app"], found.problem);
    return { source: "", runs: {} };
  },
});
