/** The kind `static`: a folder of files. */
import { realpathSync } from "node:fs";
import { flag, table, text, texts, textTable, word, words } from "../fields.js";
import { resolveFolder, whyClosed } from "../paths.js";
import { CODINGS } from "../responses.js";
import { poolKind } from "./kind.js";

const optionFields = {
  index: texts("Names of index files. A request for a folder gets the first one that exists.", ["index.html"]),
  listing: flag(false, "Respond with a list of files for a folder without an index file."),
  cacheControl: textTable(
    'Cache-Control by pattern, such as `{ "*.html": "no-cache", "assets/**": "max-age=3600" }`; the first pattern that matches a file\'s path applies. `*` is any text without a slash, `**` any text; a pattern without a slash matches a name in any folder. Default: none.',
  ),
  immutable: flag(
    false,
    "Send `Cache-Control: public, max-age=31536000, immutable` for names with a hash, such as `app.3f9a1c2b.js`. Overrides `cacheControl`.",
  ),
  dotfiles: flag(false, "Serve names that begin with a dot. Otherwise only those in `/.well-known/` are served."),
  symlinks: word(
    ["inside", "anywhere"],
    'Which symbolic links to follow: only those that stay inside the folder, or all. Default: `"inside"`.',
  ),
  precompressed: words(
    CODINGS,
    "Codings whose precompressed variants (`app.js.br`, `app.js.zst`, `app.js.gz`) replace a file for clients that accept them. Keep the variants up to date yourself.",
  ),
};

export const staticFiles = poolKind({
  name: "static",
  fields: {
    static: text(
      "A folder of files to serve, in place of an app. The path of the pool's route is removed: with `routes: [\"/static/\"]`, `/static/app.css` is the file `app.css` in the folder. Relative to the config file's folder.",
    ),
    internal: flag(
      false,
      "Hide the pool from clients. A file is sent only if an app's response has X-Accel-Redirect with a path under the pool's route, or X-Sendfile with a path in the pool's folder. See [files.md](files.md#files-that-an-app-hands-out).",
    ),
    staticOptions: table(optionFields, "How to serve the files."),
  },
  defaultInstances: 1,
  resolve(keys, { baseDir, routes, stripPrefix, report }) {
    const root = resolveFolder(keys.static ?? "", baseDir);
    const problem =
      root === undefined ? `there is no such folder: ${keys.static}` : whyClosed(root, keys.staticOptions?.listing);
    if (problem !== undefined) report(["static"], problem);
    if (stripPrefix !== undefined)
      report(["stripPrefix"], "is not valid in `static` pools: they always remove the path of the route");
    const prefix = routes.map((route) => route.slice(route.indexOf("/")));
    const relayed = keys.internal === true && root !== undefined ? { internalRoots: namesOf(root) } : {};
    return { source: root ?? "", relayed, workload: { static: { root, options: { ...keys.staticOptions, prefix } } } };
  },
});

/** Returns the folder's path as written and with symbolic links resolved, because an app may use either of them. */
function namesOf(root: string): string[] {
  return [...new Set([root, realpathSync(root)])];
}
