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
}

export function validate(given: unknown): Validated {
  const raw = withoutSchemaKey(given);
  const first = fleetSchema.safeParse(raw);
  if (first.success) return { input: first.data, findings: [] };
  const findings = first.error.issues.flatMap(describeIssue);
  if (findings.some((finding) => finding.path.length === 0)) return { input: {}, findings };
  // The valid keys are checked further, so that all problems are reported at once.
  const rest = structuredClone(raw);
  for (const { path } of findings) remove(rest, path);
  const second = fleetSchema.safeParse(rest);
  return { input: second.success ? second.data : {}, findings };
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

/** Removes the value at `path` from `root`; for an item of a list, removes the whole list. */
function remove(root: unknown, path: (string | number)[]): void {
  const inList = path.findIndex((part) => typeof part === "number");
  const keys = inList < 0 ? path : path.slice(0, inList);
  let parent = root as Record<string, unknown> | undefined;
  for (const key of keys.slice(0, -1)) parent = parent?.[key] as Record<string, unknown> | undefined;
  const last = keys.at(-1);
  if (parent !== undefined && last !== undefined) delete parent[last];
}
