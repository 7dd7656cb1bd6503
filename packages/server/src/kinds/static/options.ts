/** The folder to serve, and its options with their defaults. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { ServerError } from "../../shared/errors.js";

/** A content coding of a neighbour such as `app.js.br`. */
export type Encoding = "br" | "zstd" | "gzip";

export interface StaticOptions {
  /**
   * Path prefixes that are taken off a request's path before it is looked up beneath the folder, the longest that fits;
   * a path that has none of them is not found. Default: none, the path is looked up whole.
   */
  prefix?: string | readonly string[];
  /** Names that are looked for, in this order, where a folder is asked for. Default `["index.html"]`. */
  index?: readonly string[];
  /** Answer with a list of its files where a folder has no index file. Default false. */
  listing?: boolean;
  /**
   * Cache-Control by pattern; the first that fits a file's path beneath the folder is sent. `*` is any text without a
   * slash, `**` any text; a pattern without a slash means a name in any folder. Default: none.
   */
  cacheControl?: Readonly<Record<string, string>>;
  /**
   * Send `Cache-Control: public, max-age=31536000, immutable` for names that have a hash in them, such as
   * `app.3f9a1c2b.js` or `index-BwDk2Fa1.css`; holds over `cacheControl`. Default false.
   */
  immutable?: boolean;
  /** Serve names that begin with a dot too. Without it only what lies in `/.well-known/` is. Default false. */
  dotfiles?: boolean;
  /** `inside`: a symbolic link that leads out of the folder is not found. `anywhere`: it is followed. Default `inside`. */
  symlinks?: "inside" | "anywhere";
  /** Codings whose neighbours (`app.js.br`, `.zst`, `.gz`) are sent to clients that take them. Default all three. */
  precompressed?: readonly Encoding[];
}

/** All filled in. */
export interface StaticSettings {
  prefixes: readonly string[];
  index: readonly string[];
  listing: boolean;
  cacheControl: Readonly<Record<string, string>>;
  immutable: boolean;
  dotfiles: boolean;
  symlinks: "inside" | "anywhere";
  precompressed: readonly Encoding[];
}

export const STATIC_DEFAULTS: Readonly<StaticSettings> = {
  prefixes: [],
  index: ["index.html"],
  listing: false,
  cacheControl: {},
  immutable: false,
  dotfiles: false,
  symlinks: "inside",
  precompressed: ["br", "zstd", "gzip"],
};

export function settingsOf({ prefix, ...rest }: StaticOptions): StaticSettings {
  const prefixes = prefix === undefined ? [] : typeof prefix === "string" ? [prefix] : prefix;
  const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
  return { ...STATIC_DEFAULTS, ...given, prefixes };
}

/** Its absolute path. @throws ServerError `static-unusable` when there is no such folder. */
export function checkedRoot(root: string): string {
  const path = resolve(root);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return path;
  throw new ServerError("static-unusable", `there is no folder ${path}`);
}
