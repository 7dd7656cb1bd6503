/** Validates a raw configuration against the schema, and reports every problem in plain language. */
import type { z } from "zod";
import { shapeOf, suggest } from "./fields.js";
import { balancerFields, type FleetInput, fleetFields, fleetSchema, poolFields } from "./schema.js";

/** A problem whose file is not known yet. */
export interface Finding {
  path: (string | number)[];
  message: string;
  /** The position of the problem if it is not in the config but in a file that the key names. */
  place?: FindingPlace | undefined;
}

export interface FindingPlace {
  file: string;
  line: number;
}

/** The result of validation; `input` contains only the valid keys. */
interface Validated {
  input: FleetInput;
  findings: Finding[];
  /** Returns the path in the configuration of a value in `input`, whose lists lack their invalid items. */
  original(path: Path): Path;
}

type Path = (string | number)[];

/** Removing a key may make the table around it invalid, and so on. */
const MAX_REMOVALS = 8;

export function validate(given: unknown): Validated {
  const raw = withoutSchemaKey(given);
  const first = fleetSchema.safeParse(raw);
  const same = (path: Path) => path;
  if (first.success) return { input: first.data, findings: [], original: same };
  const findings = first.error.issues.flatMap(describeIssue);
  if (findings.some(({ path }) => path.length === 0)) return { input: {}, findings, original: same };
  // The valid keys are checked further, so that all problems are reported at once.
  const rest = structuredClone(raw);
  const removed = new RemovedItems();
  let wrong = findings.map(({ path }) => path);
  for (let times = 0; times < MAX_REMOVALS; times++) {
    remove(rest, wrong, removed);
    const next = fleetSchema.safeParse(rest);
    if (next.success) return { input: next.data, findings, original: (path) => removed.original(path) };
    wrong = next.error.issues.flatMap(describeIssue).map(({ path }) => path);
  }
  return { input: {}, findings, original: same };
}

/** `$schema` at the top is only for editors. */
function withoutSchemaKey(raw: unknown): unknown {
  if (typeof raw !== "object" || raw === null || Array.isArray(raw) || !("$schema" in raw)) return raw;
  const { $schema: _, ...rest } = raw;
  return rest;
}

const UNKNOWN = "unrecognized_keys";

function describeIssue(issue: z.core.$ZodIssue): Finding[] {
  const path = issue.path.map((part) => (typeof part === "symbol" ? String(part) : part));
  if (issue.code === "invalid_union") {
    // If only one form is a table, the problems within the table are more helpful than a list of the forms.
    const tables = issue.errors.filter((form) => form.some(({ path: at, code }) => at.length > 0 || code === UNKNOWN));
    const [within = [], ...others] = tables;
    if (within.length > 0 && others.length === 0 && !Array.isArray(issue.input))
      return within.flatMap((each) => describeIssue({ ...each, path: [...issue.path, ...each.path] } as typeof issue));
  }
  if (issue.code !== UNKNOWN) return [{ path, message: issue.message }];
  const known = knownKeys(path);
  return issue.keys.map((key) => {
    const renamed = RENAMED.get(key);
    if (renamed !== undefined && known.includes(renamed))
      return { path: [...path, key], message: `is called "${renamed}" now` };
    const near = suggest(key, known);
    const meant = near === undefined ? endingIn(key, known) : [near];
    const hint =
      meant.length === 0 ? listed(known) : `; did you mean ${meant.map((each) => `"${each}"`).join(" or ")}?`;
    return { path: [...path, key], message: `unknown key${hint}` };
  });
}

/** The maximum number of keys that a hint names. */
const MAX_HINTED = 4;

/** Returns the keys that end with the word, ignoring their unit. `timeout` matches several. */
function endingIn(word: string, known: string[]): string[] {
  const end = word.toLowerCase();
  const meant = known.filter((key) =>
    key
      .replace(/(Ms|Bytes)$/, "")
      .toLowerCase()
      .endsWith(end),
  );
  return end.length < 3 ? [] : meant.slice(0, MAX_HINTED);
}

/** The maximum length of the list of known keys in a line, in characters. */
const MAX_LISTED = 80;

/** Returns the keys that are known there, as many as fit into a line. */
function listed(known: string[]): string {
  if (known.length === 0) return "";
  const shown: string[] = [];
  for (const key of known) {
    if (shown.length > 0 && [...shown, key].join(", ").length > MAX_LISTED) break;
    shown.push(key);
  }
  const left = known.length - shown.length;
  return `; known keys: ${shown.join(", ")}${left === 0 ? "" : ` and ${left} more (docs/configuration.md)`}`;
}

/** Former names of keys. */
const RENAMED = new Map([
  ["link", "protocol"],
  ["unbegunUnsafeMax", "notStartedUnsafeMax"],
]);

/** Returns the keys that are allowed in the table at `path`. */
function knownKeys(path: (string | number)[]): string[] {
  let fields: Record<string, z.ZodType> = fleetFields;
  for (let at = 0; at < path.length; at++) {
    const part = String(path[at]);
    // The items of a list have the keys of the list.
    if (typeof path[at] === "number") continue;
    if (part === "pools") {
      fields = poolFields;
      at++; // Skips the pool's name.
    } else if (part === "balancer") fields = balancerFields;
    else fields = shapeOf(fields[part]) ?? {};
  }
  return Object.keys(fields);
}

/**
 * Removes the values at these paths. If a value is missing, removes the table that needs it. If a value is the last item of a list, removes
 * the list.
 */
function remove(root: unknown, paths: readonly Path[], removed: RemovedItems): void {
  const present = paths.map((path) => {
    let end = path.length;
    while (end > 1 && valueAt(root, path.slice(0, end)) === undefined) end--;
    return path.slice(0, end);
  });
  // From the end, so that the items before keep their places.
  const unique = [...new Map(present.map((path) => [JSON.stringify(path), path])).values()];
  for (const path of unique.sort((a, b) => compare(b, a))) {
    const last = path.at(-1);
    const parent = valueAt(root, path.slice(0, -1)) as Record<string | number, unknown> | undefined;
    if (parent === undefined || last === undefined) continue;
    if (Array.isArray(parent) && parent.length === 1) remove(root, [path.slice(0, -1)], removed);
    else if (Array.isArray(parent)) {
      removed.add(path);
      parent.splice(Number(last), 1);
    } else delete parent[last];
  }
}

function compare(a: Path, b: Path): number {
  for (const [at, part] of a.entries()) {
    const other = b[at];
    if (other === undefined) return 1;
    if (part === other) continue;
    return typeof part === "number" && typeof other === "number" ? part - other : `${part}` < `${other}` ? -1 : 1;
  }
  return a.length - b.length;
}

/** Returns the value at a path; undefined if there is none. */
export function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const key of path)
    value = typeof value === "object" && value !== null ? (value as Record<string | number, unknown>)[key] : undefined;
  return value;
}

/** The items that were removed from lists. */
class RemovedItems {
  /** By the path of the list: the original places of the removed items, in ascending order. */
  private readonly places = new Map<string, number[]>();

  add(item: Path): void {
    const path = this.original(item);
    const list = JSON.stringify(path.slice(0, -1));
    const places = [...(this.places.get(list) ?? []), Number(path.at(-1))];
    this.places.set(
      list,
      places.sort((a, b) => a - b),
    );
  }

  /** Returns the path before the removals. */
  original(path: Path): Path {
    const before: Path = [];
    for (const part of path) {
      let place = part;
      if (typeof place === "number")
        for (const removed of this.places.get(JSON.stringify(before)) ?? []) if (removed <= (place as number)) place++;
      before.push(place);
    }
    return before;
  }
}
