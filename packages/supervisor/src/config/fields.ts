/** The types of config values, each with its check, unit, default and wording; and the most likely meaning of a misspelt one. */

import { availableParallelism } from "node:os";
import { distance } from "fastest-levenshtein";
import { z } from "zod";

/** The entry of a key in docs/configuration.md. */
interface FieldMeta {
  /** The form of a value, for example `whole number`. */
  type: string;
  unit?: string;
  /** Absent: no default, or the description states it. */
  default?: unknown;
  description: string;
}

// A process parses its config only once or twice: the code that zod would generate for each table costs more than it saves.
z.config({ jitless: true });

const MAX_TIMEOUT_MS = 86_400_000;

/** Returns the metadata of a field that was created by this file. */
export function describeField(field: z.ZodType): FieldMeta {
  const { form, ...meta } = field.meta() as unknown as Omit<FieldMeta, "type"> & { form: string };
  return { type: form, ...meta };
}

/** Returns the defaults of a group of fields as one object, without fields that have none. */
export function defaultsOf(fields: Record<string, z.ZodType>): Record<string, unknown> {
  const entries = Object.entries(fields).map(([key, field]) => [key, describeField(field).default] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** A duration in milliseconds, by default at most one day. */
export function milliseconds(
  byDefault: number | undefined,
  description: string,
  { min = 1, max = MAX_TIMEOUT_MS } = {},
) {
  return whole({ min, max, unit: "ms", byDefault, description });
}

/** A size in bytes. */
export function bytes(byDefault: number, description: string, { min = 1, max = Number.MAX_SAFE_INTEGER } = {}) {
  return whole({ min, max, unit: "bytes", byDefault, description });
}

/** A non-negative whole number. */
export function count(byDefault: number | undefined, description: string, { min = 1, max = 1_000_000 } = {}) {
  return whole({ min, max, byDefault, description });
}

interface WholeNumber {
  min: number;
  max: number;
  unit?: string;
  byDefault: number | undefined;
  description: string;
}

function whole({ min, max, unit, byDefault, description }: WholeNumber) {
  const of = unit === undefined ? "" : ` of ${unit === "ms" ? "milliseconds" : unit}`;
  const error = expected(`must be a whole number${of} from ${min} to ${max}`);
  const known = byDefault === undefined ? {} : { default: byDefault };
  const meta = { type: "whole number", ...(unit === undefined ? {} : { unit }), ...known, description };
  return field(between(z.int(error), min, max, error), meta);
}

/** Each method of a schema creates another schema, which takes time at each start and reload. So one method adds both checks. */
function between<S extends z.ZodNumber>(schema: S, min: number, max: number, error: ReturnType<typeof expected>) {
  return schema.check(z.gte(min, error), z.lte(max, error));
}

/** A whole number, or a percentage. */
export function countOrShare(byDefault: string, description: string, { max }: { max: number }) {
  const error = expected(`must be a whole number from 1 to ${max}, or a share from "1%" to "100%"`);
  const share = z.string(error).regex(/^([1-9]\d?|100)%$/, error);
  const schema = z.union([between(z.int(error), 1, max, error), share], error);
  return field(schema, { type: "whole number or share", default: byDefault, description });
}

/** A number, whole or not. */
export function fraction(byDefault: number, description: string, { min, max }: { min: number; max: number }) {
  const error = expected(`must be a number from ${min} to ${max}`);
  return field(between(z.number(error), min, max, error), { type: "number", default: byDefault, description });
}

/** A number of processes, or `cpus` for the number of available CPUs. */
export function processes(
  byDefault: number | undefined,
  description: string,
  { min = 1, max }: { min?: number; max: number },
) {
  const error = expected(`must be a whole number from ${min} to ${max}, or "cpus"`);
  const schema = z.union([between(z.int(error), min, max, error), z.literal("cpus")], error);
  return field(schema, {
    type: 'whole number or `"cpus"`',
    ...(byDefault === undefined ? {} : { default: byDefault }),
    description,
  });
}

/** Text that is not empty. */
export function text(description: string) {
  return field(plainText(expected("must be text")), { type: "text", description });
}

/** A name, or a number that is converted to text. */
export function nameOrNumber(description: string) {
  const error = expected("must be a name or a number");
  const number = z.int(error).min(0, error).max(999_999_999, error).transform(String);
  return field(z.union([plainText(error), number], error), { type: "text or whole number", description });
}

/** Text that can be a path or an argument. */
function plainText(error: ReturnType<typeof expected>) {
  return z
    .string(error)
    .min(1, error)
    .refine((value) => !value.includes("\0"), { error: "must not contain a NUL" });
}

/** Text of the given form. */
export function textLike(form: RegExp, { type, rule }: { type: string; rule: string }, description: string) {
  const error = expected(rule);
  return field(z.string(error).regex(form, error), { type, description });
}

/** One of the given words. */
export function word<const W extends string>(words: readonly [W, ...W[]], description: string) {
  const error = expected(`must be ${words.map((each) => JSON.stringify(each)).join(" or ")}`);
  return field(z.enum(words, error), { type: words.map((each) => `\`"${each}"\``).join(" or "), description });
}

/** A boolean. */
export function flag(byDefault: boolean, description: string) {
  const error = expected("must be true or false");
  return field(z.boolean(error), { type: "true or false", default: byDefault, description });
}

/** A list of some of the given words. */
export function words<const W extends string>(
  known: readonly [W, ...W[]],
  description: string,
  byDefault: readonly W[] = known,
) {
  const error = expected(`must be a list of some of ${known.map((each) => JSON.stringify(each)).join(", ")}`);
  const type = `list of ${known.map((each) => `\`"${each}"\``).join(", ")}`;
  return field(z.array(z.enum(known, error), error), { type, default: [...byDefault], description });
}

/** A list of texts; a single text is a list of one. */
export function texts(description: string, byDefault?: string[], error = expected("must be text, or a list of texts")) {
  const one = plainText(error);
  const schema = z.preprocess((value) => (typeof value === "string" ? [value] : value), z.array(one, error));
  return field(schema, {
    type: "text or list of texts",
    ...(byDefault === undefined ? {} : { default: byDefault }),
    description,
  });
}

/** Addresses to listen on. A number alone, as in `listen: 8080`, does not state which hosts may connect. */
export function addresses(description: string, byDefault?: string[]) {
  return texts(description, byDefault, address("must be text, or a list of texts", ', or ":PORT" for all addresses'));
}

/** An address to listen on: on the loopback interface, or on another if the key allows that. */
export function oneAddress(description: string) {
  return field(plainText(address("must be text")), { type: "text", description });
}

function address(rule: string, others = "") {
  const { error } = expected(rule);
  return {
    error: (issue: { code?: string; input?: unknown }) => {
      const { input } = issue;
      const isPort = typeof input === "number" && Number.isInteger(input) && input > 0 && input <= 65_535;
      const hint = isPort ? `; write "127.0.0.1:${input}"${others.replace("PORT", String(input))}` : "";
      return `${error(issue) ?? ""}${hint}` || undefined;
    },
  };
}

/** A program and its arguments. */
export function commandWords(description: string) {
  const error = {
    error: ({ input }: { input?: unknown }) => {
      const hint = typeof input === "string" ? `; write ${JSON.stringify(input.trim().split(/\s+/))}` : "";
      return `must be a list of texts, the program and each of its arguments, not ${show(input)}${hint}`;
    },
  };
  const word = z
    .string(expected("must be text"))
    .refine((value) => !value.includes("\0"), { error: "must not contain a NUL" });
  const schema = z.array(word, error).min(1, { error: "must not be empty" });
  return field(schema, { type: "list of texts", description });
}

/** One text, or a program and its arguments. */
export function textOrWords(description: string) {
  const error = expected("must be text, or a list of texts");
  const one = plainText(error);
  return field(z.union([one, z.array(z.string(expected("must be text"))).min(1, error)], error), {
    type: "text or list of texts",
    description,
  });
}

/** A table of names and texts; numbers and booleans become text. */
export function textTable(description: string) {
  const error = expected("must be text, a number or a boolean");
  const value = z.union([z.string(), z.number(), z.boolean()], error).transform(String);
  const schema = z.record(z.string(), value, expected("must be a table of names and texts"));
  return field(schema, { type: "table of texts", description });
}

/** Environment variables: like `textTable`, but a value may also be in a file or a credential. */
export function variables(description: string) {
  const scalar = z.union([z.string(), z.number(), z.boolean()]).transform(String);
  const schema = z.record(z.string(), orSecret(scalar), expected("must be a table of names and texts"));
  return field(schema, { type: "table of texts or secrets", description });
}

/** A text that may also be in a file or a credential. */
export function secretText(description: string) {
  return field(orSecret(z.string().min(1)), { type: "text or secret", description });
}

function orSecret<S extends z.ZodType<string>>(scalar: S) {
  const error = { error: ({ input }: { input?: unknown }) => problemOfVariable(input) };
  const file = z.string().describe("The file that has the value, relative to the config file's folder.");
  const credential = z.string().describe("The name of the systemd credential that has the value.");
  // Refined as a whole: the rest of the config is checked without an invalid value, not with a part of it.
  return z
    .union([scalar, z.strictObject({ file }), z.strictObject({ credential })], error)
    .refine((given) => typeof given === "string" || isSecretSource(given), error);
}

/** A value that is in a file or a credential. A text is refused without being shown, because it may be the value itself. */
export function secret(description: string) {
  const shape = {
    file: text("The file with the token, relative to the config file's folder."),
    credential: text("The name of the systemd credential with the token."),
  };
  const error = {
    error: ({ code, input }: { code?: string; input?: unknown }) =>
      code === "unrecognized_keys"
        ? undefined
        : `must be { file: "path" } or { credential: "name" }, not ${typeof input === "string" ? "text" : show(input)}`,
  };
  return field(z.strictObject(shape, error), { type: "table", description });
}

function isSecretSource(source: { file: string } | { credential: string }): boolean {
  return "file" in source ? isPath(source.file) : isCredential(source.credential);
}

function isPath(value: unknown): boolean {
  return typeof value === "string" && value !== "" && !value.includes("\0");
}

function isCredential(value: unknown): boolean {
  // The names that systemd allows.
  return typeof value === "string" && /^[ -.0-9;-~]{1,255}$/.test(value) && !/^\.\.?$/.test(value);
}

function problemOfVariable(value: unknown): string {
  const { file, credential, ...others } = (typeof value === "object" ? (value ?? {}) : {}) as Record<string, unknown>;
  const [unknown] = Array.isArray(value) ? [] : Object.keys(others);
  if (file !== undefined && credential !== undefined) return "must have `file` or `credential`, not both";
  if (file !== undefined && !isPath(file)) return `\`file\` must be the path of a file, not ${show(file)}`;
  if (credential !== undefined && !isCredential(credential))
    return `\`credential\` must be a name of ASCII characters without "/" and ":", not ${show(credential)}`;
  if (unknown !== undefined) return `can have \`file\` or \`credential\`, not ${JSON.stringify(unknown)}`;
  return `must be text, a number, a boolean, { file: "path" } or { credential: "name" }, not ${show(value)}`;
}

/** A table of names and texts, numbers or booleans, each kept unchanged. */
export function valueTable(description: string) {
  const error = expected("must be text, a number or a boolean");
  const value = z.union([z.string(), z.number(), z.boolean()], error);
  const schema = z.record(z.string(), value, expected("must be a table of names and values"));
  return field(schema, { type: "table of values", description });
}

/** One text, or a table of names and texts. */
export function textOrTable(description: string) {
  const error = expected("must be text, or a table of names and texts");
  const one = z.string(error).min(1, error);
  return field(z.union([one, z.record(z.string(), one)], error), { type: "text or table of texts", description });
}

/** Like `textOrTable`, but texts may be empty. */
export function anyTextOrTable(description: string) {
  const error = expected("must be text, or a table of names and texts");
  const schema = z.union([z.string(), z.record(z.string(), z.string())], error);
  return field(schema, { type: "text or table of texts", description });
}

/** A table with known keys. */
export function table<S extends Record<string, z.ZodType>>(shape: S, description: string) {
  return field(z.strictObject(shape, expected("must be a table of keys")), { type: "table", description });
}

/** A list of tables with known keys. */
export function tables<S extends Record<string, z.ZodType>>(shape: S, description: string) {
  const one = z.strictObject(shape, expected("must be a table of keys"));
  return field(z.array(one, expected("must be a list of tables")), { type: "list of tables", description });
}

/** One of several forms. A problem within a table is reported for its own key. */
export function fieldOf<const S extends readonly [z.ZodType, z.ZodType]>(
  forms: S,
  error: ReturnType<typeof expected>,
  meta: FieldMeta,
) {
  return field(z.union(forms, error), meta);
}

/** Returns the keys of a field's tables: its own, those of one of its forms, or those of its list's items. */
export function shapeOf(field: z.ZodType | undefined): Record<string, z.ZodType> | undefined {
  const inner = (field as { unwrap?: () => Shaped } | undefined)?.unwrap?.();
  return inner?.shape ?? inner?.element?.shape ?? inner?.options?.find(({ shape }) => shape !== undefined)?.shape;
}

interface Shaped {
  shape?: Record<string, z.ZodType>;
  element?: Shaped;
  options?: readonly Shaped[];
}

/** Returns a number of processes. */
export function processCount(wanted: number | "cpus"): number {
  return wanted === "cpus" ? availableParallelism() : wanted;
}

function field<S extends z.ZodType>(schema: S, meta: FieldMeta) {
  const { type, ...rest } = meta;
  // JSON Schema has its own `type`.
  const optional = z.optional(schema);
  // `meta` would create another schema.
  z.globalRegistry.add(optional, { form: type, ...rest });
  return optional;
}

/** Returns a message that states the rule and the value that breaks it. */
export function expected(rule: string) {
  return {
    error: (issue: { code?: string; input?: unknown }) => {
      // Unknown keys have their own message.
      if (issue.code === "unrecognized_keys") return undefined;
      if (issue.input === "" && /^must be (text|a name)/.test(rule)) return "must not be empty";
      return `${rule}, not ${show(issue.input)}`;
    },
  };
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object" && value !== null) return "a table";
  const shown = JSON.stringify(value) ?? String(value);
  return shown.length > 60 ? `${shown.slice(0, 60)}…` : shown;
}

/** Exchanging two neighbouring letters counts as one edit. */
function editsOf(word: string, spelling: string): number {
  const at = [...word].findIndex((letter, index) => letter !== spelling[index]);
  const swapped = word.slice(0, at) + word.charAt(at + 1) + word.charAt(at) + word.slice(at + 2);
  return at >= 0 && swapped === spelling ? 1 : distance(word, spelling);
}

/** Returns the nearest of `known` if it is close enough, ignoring letter case. */
export function suggest(word: string, known: Iterable<string>): string | undefined {
  const allowed = Math.max(1, Math.floor(word.length / 3));
  let best: string | undefined;
  let bestDistance = allowed + 1;
  for (const candidate of known) {
    // Forgetting the unit is as common as misspelling.
    const spellings = [candidate, candidate.replace(/(Ms|Bytes)$/, "")];
    const edits = Math.min(...spellings.map((spelling) => editsOf(word.toLowerCase(), spelling.toLowerCase())));
    if (edits < bestDistance) {
      best = candidate;
      bestDistance = edits;
    }
  }
  return best;
}
