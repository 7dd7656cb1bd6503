/** The kind `app`: a module of the user's. */
import { text } from "../fields.js";
import { resolveApp } from "../paths.js";
import { poolKind } from "./kind.js";

export const app = poolKind({
  name: "app",
  fields: {
    app: text(
      "The app: a module whose default export is `{ fetch }` or a Node `(req, res)` handler, or a folder that has an app.ts, index.ts or server.ts (or .js, .mjs). From the config file's folder.",
    ),
  },
  defaultInstances: 4,
  resolve(keys, { baseDir, report }) {
    const found = resolveApp(keys.app ?? "", baseDir);
    if (typeof found === "string") return { source: found, runs: { app: found } };
    report(["app"], found.problem);
    return { source: "", runs: {} };
  },
});
