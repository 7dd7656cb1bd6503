/** The kind `app`: a JavaScript or TypeScript module of the user. */
import { text, word } from "../fields.js";
import { resolveApp, resolveFile } from "../paths.js";
import { args, poolKind, readySignal, sticky } from "./kind.js";

export const app = poolKind({
  name: "app",
  fields: {
    app: text(
      "The app: a module that calls `listen()`, or whose default export is `{ fetch }`, a fetch function, a Node `(req, res)` handler or an app of Express, Koa, Fastify or Hono; or a folder with an app.ts, index.ts or server.ts (or .js, .mjs). Relative to the config file's folder.",
    ),
    style: word(
      ["fetch", "node"],
      'How Paceline calls the app: `"fetch"`, with `(request, info)`, or `"node"`, with `(req, res)`. Default: detected from the default export; only needed for an ambiguous function.',
    ),
    args,
    readySignal,
    bunfig: text(
      "A bunfig.toml for the app's instances on Bun, relative to the config file's folder. Paths in it, such as those of `preload`, are relative to `cwd`. Without this key Bun reads no bunfig.toml and no .env file, and installs nothing.",
    ),
    sticky,
  },
  defaultInstances: 4,
  resolve(keys, { baseDir, report }) {
    const found = resolveApp(keys.app ?? "", baseDir);
    if (typeof found !== "string") report(["app"], found.problem);
    const bunfig = keys.bunfig === undefined ? undefined : resolveFile(keys.bunfig, baseDir);
    if (keys.bunfig !== undefined && bunfig === undefined) report(["bunfig"], `there is no such file: ${keys.bunfig}`);
    const app = typeof found === "string" ? found : "";
    return {
      source: app,
      relayed: { sendsFiles: true },
      workload: {
        app,
        ...(keys.style && { style: keys.style }),
        ...(keys.args && { args: keys.args }),
        ...(keys.readySignal && { readySignal: true }),
      },
      launch: { entry: "server", ...(bunfig && { bunfig }) },
    };
  },
});
