/** Converts the keys of another program's configuration to Paceline's: the rules by key, and their results. Pure. */

/** Keys of a pool, and `name` and `listen` of its fleet, as in a config file. */
export type Keys = Record<string, unknown>;

/** A key of the source without an exact counterpart, and what to use instead. */
export interface Note {
  /** The app or process type of the source; empty for a key of the whole file. */
  app: string;
  key: string;
  advice: string;
}

/** A key of the source, and the matching key of Paceline. */
interface Mapping {
  app: string;
  key: string;
  to: string;
}

/** The result of an import. */
export interface Imported {
  /** Keys of the fleet: `name`, `listen`. */
  fleet: Keys;
  pools: Record<string, Keys>;
  mapped: Mapping[];
  notes: Note[];
}

/** The rule of one key. `C` is the information that its functions get in addition to the value. */
export interface Rule<C> {
  /** Other names of the key. */
  aliases?: readonly string[];
  /** The key of Paceline, or how Paceline does the same without a key. */
  to?: string;
  /** Returns the keys of Paceline, or as text the reason why there is none for this value. */
  keys?: (value: unknown, context: C) => Keys | string;
  /** What to do instead, for a key without a counterpart. */
  advice?: string | ((value: unknown, context: C) => string);
  /** Whether Paceline does the same for this value without any key. */
  same?: (value: unknown) => boolean;
}

export type Rules<C> = Readonly<Record<string, Rule<C>>>;

export const isOff = (value: unknown) => value === undefined || value === null || value === false || value === "";
export const isOn = (value: unknown) => value !== false;

/** Applies the rules to the keys of one app. A key without a rule gets `unknown` as its advice. */
export function applyRules<C>(
  rules: Rules<C>,
  source: Keys,
  context: C,
  { app, unknown }: { app: string; unknown: (key: string) => string },
): { keys: Keys; mapped: Mapping[]; notes: Note[] } {
  const keys: Keys = {};
  const mapped: Mapping[] = [];
  const notes: Note[] = [];
  for (const [key, value] of Object.entries(source)) {
    const rule = ruleOf(rules, key);
    if (rule === undefined) {
      notes.push({ app, key, advice: unknown(key) });
      continue;
    }
    if (rule.same?.(value) === true) {
      mapped.push({ app, key, to: rule.to ?? "nothing to write" });
      continue;
    }
    const result = rule.keys?.(value, context);
    if (typeof result === "object") {
      merge(keys, result);
      mapped.push({ app, key, to: rule.to ?? Object.keys(result).join(", ") });
      continue;
    }
    const { advice = "nothing to do: Paceline has no need of it" } = rule;
    notes.push({ app, key, advice: result ?? (typeof advice === "string" ? advice : advice(value, context)) });
  }
  return { keys, mapped, notes };
}

/** Returns the rule of a key or of one of its aliases. A rule whose name ends in `*` applies to every key with that prefix. */
function ruleOf<C>(rules: Rules<C>, key: string): Rule<C> | undefined {
  const own = Object.hasOwn(rules, key) ? rules[key] : undefined;
  if (own !== undefined) return own;
  const found = Object.entries(rules).find(
    ([name, { aliases = [] }]) => aliases.includes(key) || (name.endsWith("*") && key.startsWith(name.slice(0, -1))),
  );
  return found?.[1];
}

/** Adds keys to `keys`. If both have the same table, the two tables are merged. */
export function merge(keys: Keys, more: Keys): void {
  for (const [key, value] of Object.entries(more)) {
    const before = keys[key];
    keys[key] = isTable(before) && isTable(value) ? { ...before, ...value } : value;
  }
}

/** Adds keys to the fleet, for a key that adds none to the pool. */
export function inFleet(fleet: Keys, keys: Keys): Keys {
  merge(fleet, keys);
  return {};
}

export function isTable(value: unknown): value is Keys {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Returns a valid name for a pool that is not in `taken`. */
export function poolName(name: string, taken: Iterable<string>): string {
  const plain = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^[^a-z]+/, "")
    .slice(0, 28)
    .replace(/-+$/, "");
  const known = new Set([...taken, "all", "balancer", "paceline"]);
  const first = plain === "" ? "app" : plain;
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? first : `${first}-${number}`;
    if (!known.has(candidate)) return candidate;
  }
}

/** Splits a command line into words as a shell does; undefined if it needs a shell (variables, pipes, several commands). */
export function splitWords(line: string): string[] | undefined {
  const words: string[] = [];
  const pattern = /\s*((?:[^\s"'\\|&;<>()$`*?~#]|\\.|"(?:[^"\\$`]|\\.)*"|'[^']*')+)\s*/y;
  while (pattern.lastIndex < line.length) {
    const [, word] = pattern.exec(line) ?? [];
    if (word === undefined) return undefined;
    words.push(word.replace(/\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'/g, unquoted));
  }
  // `NAME=value program` sets a variable.
  return /^\w+=/.test(words[0] ?? "") ? undefined : words;
}

function unquoted(_: string, escaped?: string, double?: string, single?: string): string {
  return escaped ?? single ?? (double ?? "").replace(/\\(["\\$`])/g, "$1");
}

/** Returns a text in which no word in braces is read as a placeholder of a `command` pool. */
export function withoutPlaceholders(text: string): string {
  return text.replace(/(?<![{$])\{([a-z]+)\}(?!\})/g, "{{$1}}");
}

/** What the importers need to know of the machine and the project's files. */
export interface ProjectFacts {
  cpus: number;
  environment: Readonly<Record<string, string | undefined>>;
  /** Returns the type of the file at a path relative to the folder of the imported file. */
  look(path: string): "file" | "folder" | "nothing" | "other";
  /** Whether the file is text. */
  isText(path: string): boolean;
  /** Whether Paceline accepts the file as a module, even without an extension. */
  isModule(path: string): boolean;
  /** The PORT in a file of NAME=value lines. */
  portIn(path: string): number | undefined;
  /** What the sources of a JavaScript program show: whether it serves HTTP, and the port that it uses. */
  scan(path: string): { serves: boolean; port?: number };
}
