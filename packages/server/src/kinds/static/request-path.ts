/** Checks a request's path before it reaches the file system. Pure. */

/** A path in the root; its segments are valid names. */
export interface GoodPath {
  kind: "good";
  /** `docs/a.html`; empty for the root. */
  relative: string;
  /** Whether it ends with a slash, so that only a folder matches. */
  isFolder: boolean;
}

/** `bad`: cannot name a file (400). `hidden`: not in this site, or not shown (404). */
type CheckedPath = GoodPath | { kind: "bad" } | { kind: "hidden" };

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

/** The maximum length of a file name, in bytes. */
const MAX_NAME_BYTES = 255;
/** A path without anything to decode or resolve, or a dotfile. */
const PLAIN = /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9_~.-]{0,200})+\/?$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the expression is meant to match control characters
const UNUSABLE = /[\0-\x1f\x7f/\\]/;
const BAD: CheckedPath = { kind: "bad" };
const HIDDEN: CheckedPath = { kind: "hidden" };
const WELL_KNOWN = ".well-known";
/** Names of Paceline's own configs, which may hold secrets. */
const CONFIG = /paceline\.(?:config\.|toml)/i;

/** Whether a name is never shown: a config of Paceline, or a dotfile. */
export function isHiddenName(name: string, dotfiles: boolean): boolean {
  return (name.startsWith(".") && !dotfiles) || CONFIG.test(name);
}

/** Prepares the rules for all paths. */
export function pathRules({ prefixes, dotfiles }: { prefixes: readonly string[]; dotfiles: boolean }): PathRules {
  const read = prefixes.map((prefix) => {
    const names = segmentsOf(prefix) ?? [];
    return { names, text: `/${names.map((name) => `${name}/`).join("")}` };
  });
  return { prefixes: read.sort((a, b) => b.names.length - a.names.length), dotfiles };
}

/** @param path of the request's target, unchanged, without the query */
export function checkPath(path: string, rules: PathRules): CheckedPath {
  if (PLAIN.test(path) && !CONFIG.test(path)) {
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
    if (isHiddenName(name, rules.dotfiles) && !(at === 0 && name === WELL_KNOWN)) return HIDDEN;
  }
  return { kind: "good", relative: rest.join("/"), isFolder: isFolderPath(path) };
}

/** Returns decoded segments without dot segments and empty ones; undefined if one is invalid, or if the path leaves the root. */
function segmentsOf(path: string): string[] | undefined {
  const segments: string[] = [];
  for (const raw of path.split("/")) {
    if (raw === "") continue;
    const name = decode(raw);
    // Programs disagree about an encoded slash.
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
    // Invalid UTF-8 or percent-encoding.
    return undefined;
  }
}

/** `/a/.` and `/a/b/..` are folders like `/a/`. */
export function isFolderPath(path: string): boolean {
  const last = decode(path.slice(path.lastIndexOf("/") + 1));
  return last === "" || last === "." || last === "..";
}

/** Returns the length of the removed prefix with its slash; 0 if the path needs the full check. */
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
 * Returns the redirect for a folder that was requested without its slash. The redirect is relative. So it is right for a path that was
 * changed on the way, and never names another host.
 * @param path as the client sent it
 */
export function withSlash(path: string, query: string): string {
  const name = decode(path.slice(path.lastIndexOf("/") + 1)) ?? "";
  return `./${encodeURIComponent(name)}/${query}`;
}
