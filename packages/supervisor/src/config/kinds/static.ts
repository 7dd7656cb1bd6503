/** The kind `static`: a folder of files. */
import { realpathSync } from "node:fs";
import { flag, table, text, texts, textTable, word, words } from "../fields.js";
import { resolveFolder } from "../paths.js";
import { poolKind } from "./kind.js";

const optionFields = {
  index: texts(
    "Names that are looked for, in this order, where a folder is asked for; the first that is there is sent.",
    ["index.html"],
  ),
  listing: flag(false, "Answer with a list of its files where a folder has no index file."),
  cacheControl: textTable(
    'Cache-Control by pattern, such as `{ "*.html": "no-cache", "assets/**": "max-age=3600" }`; the first that fits a file\'s path is sent. `*` is any text without a slash, `**` any text; a pattern without a slash means a name in any folder. Default: none is sent.',
  ),
  immutable: flag(
    false,
    "Send `Cache-Control: public, max-age=31536000, immutable` for names with a hash in them, such as `app.3f9a1c2b.js`; holds over `cacheControl`.",
  ),
  dotfiles: flag(false, "Serve names that begin with a dot; without it only what lies in `/.well-known/` is."),
  symlinks: word(
    ["inside", "anywhere"],
    'Which symbolic links are followed: those that lead to a place inside the folder, or all. Default: `"inside"`.',
  ),
  precompressed: words(
    ["br", "zstd", "gzip"],
    "Codings whose neighbours of a file (`app.js.br`, `app.js.zst`, `app.js.gz`) are sent in its place to clients that take them. The neighbours are yours to keep up to date.",
  ),
};

export const staticFiles = poolKind({
  name: "static",
  fields: {
    static: text(
      "A folder whose files are served, in the place of an app. The path of the pool's route is taken off: with `routes: [\"/static/\"]`, `/static/app.css` is the file `app.css` in the folder. From the config file's folder.",
    ),
    internal: flag(
      false,
      "No client reaches the pool: its files are sent where the response of an app has X-Accel-Redirect with a path under the pool's route, or X-Sendfile with a path in its folder. See [files.md](files.md#files-that-an-app-hands-out).",
    ),
    staticOptions: table(optionFields, "How the files are served."),
  },
  defaultInstances: 1,
  resolve(keys, { baseDir, routes, stripPrefix, report }) {
    const root = resolveFolder(keys.static ?? "", baseDir);
    if (root === undefined) report(["static"], `there is no such folder: ${keys.static}`);
    if (stripPrefix !== undefined)
      report(["stripPrefix"], "means nothing for files: the path of the route is always taken off");
    const prefix = routes.map((route) => route.slice(route.indexOf("/")));
    const relayed = keys.internal === true && root !== undefined ? { internalRoots: namesOf(root) } : {};
    return { source: root ?? "", relayed, runs: { static: { root, options: { ...keys.staticOptions, prefix } } } };
  },
});

/** Its path as it was written and as it really is: an app may name a file by either. */
function namesOf(root: string): string[] {
  return [...new Set([root, realpathSync(root)])];
}
