/** The options of a served folder, with their defaults. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { ServerError } from "../../shared/errors.js";

/** The content coding of a precompressed file such as `app.js.br`. */
export type Encoding = "br" | "zstd" | "gzip";

export interface StaticOptions {
  /**
   * Path prefixes to remove from a request's path before the lookup, the longest match first; other paths are not found. Default:
   * none, the whole path is looked up.
   */
  prefix?: string | readonly string[];
  /** The index files to look for in a folder, in order. Default: `["index.html"]`. */
  index?: readonly string[];
  /** Whether to list the files of a folder without an index file. Default: false. */
  listing?: boolean;
  /**
   * Cache-Control by pattern; the first match of a file's path in the folder is sent. `*` is any text without a slash, `**` any
   * text; a pattern without a slash matches a name in any folder. Default: none.
   */
  cacheControl?: Readonly<Record<string, string>>;
  /**
   * Whether to send `Cache-Control: public, max-age=31536000, immutable` for names with a hash, such as `app.3f9a1c2b.js` or
   * `index-BwDk2Fa1.css`; overrides `cacheControl`. Default: false.
   */
  immutable?: boolean;
  /** Whether to serve names that begin with a dot. Without it only `/.well-known/` is served. Default: false. */
  dotfiles?: boolean;
  /** `inside`: a symbolic link out of the folder is not found. `anywhere`: it is followed. Default: `inside`. */
  symlinks?: "inside" | "anywhere";
  /** Codings of precompressed files (`app.js.br`, `.zst`, `.gz`) to send to clients that accept them. Default: all three. */
  precompressed?: readonly Encoding[];
}

/** The options with defaults applied. */
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

/**
 * Returns the absolute path.
 * @throws ServerError `static-unusable` if there is no such folder
 */
export function checkedRoot(root: string): string {
  const path = resolve(root);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return path;
  throw new ServerError("static-unusable", `there is no folder ${path}`);
}
