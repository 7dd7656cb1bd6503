/** Judges the path of a request before any of it reaches the file system. Pure. */

/** A path beneath the root; its segments are names that a folder can have. */
export interface GoodPath {
  kind: "good";
  /** `docs/a.html`; empty for the root. */
  relative: string;
  /** It ends in a slash: only a folder is meant. */
  isFolder: boolean;
}

/** `bad`: no server could mean a file by it (400). `hidden`: it has no name of this site, or one that is not shown (404). */
type JudgedPath = GoodPath | { kind: "bad" } | { kind: "hidden" };

export interface PathRules {
  /** The longest first. */
  prefixes: readonly Prefix[];
  dotfiles: boolean;
}

interface Prefix {
  names: readonly string[];
  /** `/static/` */
  text: string;
}

/** The longest name that a file system takes, in bytes. */
const MAX_NAME_BYTES = 255;
/** Nothing in it that has to be decoded, resolved or hidden. */
const PLAIN = /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9_~.-]{0,200})+\/?$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNUSABLE = /[\0-\x1f\x7f/\\]/;
const BAD: JudgedPath = { kind: "bad" };
const HIDDEN: JudgedPath = { kind: "hidden" };
const WELL_KNOWN = ".well-known";

/** Prepares what every path is judged by. */
export function pathRules({ prefixes, dotfiles }: { prefixes: readonly string[]; dotfiles: boolean }): PathRules {
  const read = prefixes.map((prefix) => {
    const names = segmentsOf(prefix) ?? [];
    return { names, text: `/${names.map((name) => `${name}/`).join("")}` };
  });
  return { prefixes: read.sort((a, b) => b.names.length - a.names.length), dotfiles };
}

/** @param path of the request's target, as it was sent, without the query. */
export function judgePath(path: string, rules: PathRules): JudgedPath {
  if (PLAIN.test(path)) {
    const from = plainPrefixLength(path, rules.prefixes);
    const isFolder = path.endsWith("/");
    if (from > 0) return { kind: "good", relative: path.slice(from, isFolder ? -1 : undefined), isFolder };
  }
  if (!path.startsWith("/")) return BAD;
  const segments = segmentsOf(path);
  if (segments === undefined) return BAD;
  const rest = withoutPrefix(segments, rules.prefixes);
  if (rest === undefined) return HIDDEN;
  for (const [at, name] of rest.entries()) {
    if (Buffer.byteLength(name) > MAX_NAME_BYTES) return HIDDEN;
    if (name.startsWith(".") && !rules.dotfiles && !(at === 0 && name === WELL_KNOWN)) return HIDDEN;
  }
  return { kind: "good", relative: rest.join("/"), isFolder: isFolderPath(path) };
}

/** Decoded, dot segments resolved, empty ones left out; undefined when one cannot be a name, or it leads out of the root. */
function segmentsOf(path: string): string[] | undefined {
  const segments: string[] = [];
  for (const raw of path.split("/")) {
    if (raw === "") continue;
    const name = decode(raw);
    // A slash that was encoded is one to some and none to others.
    if (name === undefined || UNUSABLE.test(name)) return undefined;
    if (name === ".") continue;
    if (name !== "..") segments.push(name);
    else if (segments.pop() === undefined) return undefined;
  }
  return segments;
}

function decode(raw: string): string | undefined {
  if (!raw.includes("%")) return raw;
  try {
    return decodeURIComponent(raw);
  } catch {
    // Not UTF-8, or no encoding at all.
    return undefined;
  }
}

/** `/a/.` and `/a/b/..` are folders as `/a/` is. */
export function isFolderPath(path: string): boolean {
  const last = decode(path.slice(path.lastIndexOf("/") + 1));
  return last === "" || last === "." || last === "..";
}

/** Of the prefix that is taken off, with the slash behind it; 0 where there is more to it. */
function plainPrefixLength(path: string, prefixes: readonly Prefix[]): number {
  if (prefixes.length === 0) return 1;
  return prefixes.find(({ text }) => path.startsWith(text) && path.length > text.length)?.text.length ?? 0;
}

function withoutPrefix(segments: string[], prefixes: readonly Prefix[]): string[] | undefined {
  if (prefixes.length === 0) return segments;
  const prefix = prefixes.find(({ names }) => names.every((name, at) => segments[at] === name));
  return prefix === undefined ? undefined : segments.slice(prefix.names.length);
}

/**
 * Where a folder that was asked for without its slash is, from there: relative, so that it is right behind whatever
 * changed the path on its way, and can never name another host.
 *
 * @param path as the client sent it.
 */
export function withSlash(path: string, query: string): string {
  const name = decode(path.slice(path.lastIndexOf("/") + 1)) ?? "";
  return `./${encodeURIComponent(name)}/${query}`;
}
