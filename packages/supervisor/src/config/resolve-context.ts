/** The context that the resolution of a fleet and of its pools share: the surroundings, the problems found so far, and the defaults. */
import type { ProcessPolicy, RuntimeName } from "../core/model.js";
import type { Runtimes } from "../runtime/runtimes.js";
import { defaultsOf, describeField } from "./fields.js";
import { type PoolInput, policyFields } from "./schema.js";
import type { SecretContext } from "./secrets.js";
import type { Finding, FindingPlace } from "./validate.js";

export interface ResolveContext {
  /** The folder from which relative paths start. */
  baseDir: string;
  /** The folder for relative sockets in `listen`: the same folder, but with symbolic links kept. */
  listenDir: string;
  /** The port of 127.0.0.1. Default: the port of DEFAULT_LISTEN. */
  defaultPort?: number | undefined;
  /** The fleet's default name. */
  defaultName: string;
  runtimes: Runtimes;
  /** $CREDENTIALS_DIRECTORY, if it is set. */
  credentialsDir?: string | undefined;
  /** Whether the fleet is only checked, so that secrets for the fleet's user alone are no problem. */
  isOnlyChecked?: boolean | undefined;
  /** The problems found so far. Each key is reported at most once. */
  findings: Finding[];
  /** Returns the path in the configuration of a value in the validated input. Default: the same. */
  original?(path: (string | number)[]): (string | number)[];
}

type PolicyInput = Pick<PoolInput, keyof ProcessPolicy>;

const policyDefaults = defaultsOf(policyFields);
const backoffDefaults = defaultsOf(fieldsOf(policyFields.backoff)) as unknown as ProcessPolicy["backoff"];
const budgetDefaults = defaultsOf(fieldsOf(policyFields.restartBudget)) as unknown as ProcessPolicy["restartBudget"];

export function resolvePolicy(outer: PolicyInput, inner: PolicyInput): ProcessPolicy {
  const merged = { ...policyDefaults, ...defined(pickPolicy(outer)), ...defined(pickPolicy(inner)) };
  return {
    ...(merged as unknown as ProcessPolicy),
    backoff: { ...backoffDefaults, ...defined(outer.backoff), ...defined(inner.backoff) },
    restartBudget: { ...budgetDefaults, ...defined(outer.restartBudget), ...defined(inner.restartBudget) },
  };
}

function pickPolicy(input: PolicyInput): PolicyInput {
  const keys = Object.keys(policyFields) as (keyof ProcessPolicy)[];
  return Object.fromEntries(keys.map((key) => [key, input[key]])) as PolicyInput;
}

export function resolveRuntime(
  own: RuntimeName | undefined,
  shared: RuntimeName | undefined,
  path: string[],
  context: ResolveContext,
): RuntimeName {
  const wanted = own ?? shared;
  if (wanted === undefined) return context.runtimes.preferred;
  const at = [...(own === undefined ? [] : path), "runtime"];
  if (context.runtimes[wanted] === undefined) find(context, at, `${wanted} is not installed here`);
  return wanted;
}

/**
 * Adds a problem, unless the key or a table around it already has one. A problem in another file is added unless it is already known.
 */
export function find(
  { findings, original }: ResolveContext,
  validPath: (string | number)[],
  message: string,
  place?: FindingPlace,
): void {
  const path = original?.(validPath) ?? validPath;
  const known = findings.some((finding) =>
    place === undefined
      ? finding.path.every((part, at) => part === path[at])
      : finding.place?.file === place.file && finding.place.line === place.line,
  );
  if (!known) findings.push({ path, message, place });
}

/** Returns a function that adds problems with keys below `path`. */
export function reporter(context: ResolveContext, ...path: (string | number)[]) {
  return (at: (string | number)[], message: string, place?: FindingPlace) =>
    find(context, [...path, ...at], message, place);
}

/** Returns the context in which secrets below `path` are read. */
export function secretContext(context: ResolveContext, ...path: (string | number)[]): SecretContext {
  const { baseDir, credentialsDir, isOnlyChecked = false } = context;
  return { baseDir, credentialsDir, isOnlyChecked, report: reporter(context, ...path) };
}

export function defaultOf<T = number>(fields: Record<string, Parameters<typeof describeField>[0]>, key: string): T {
  const { [key]: field } = fields;
  return (field && describeField(field).default) as T;
}

function fieldsOf(field: typeof policyFields.backoff | typeof policyFields.restartBudget) {
  return field.unwrap().shape as Parameters<typeof defaultsOf>[0];
}

/** Returns `values` without undefined keys, ready to be spread over defaults. */
export function defined<T extends object>(values: T | undefined): Partial<{ [K in keyof T]-?: NonNullable<T[K]> }> {
  const entries = Object.entries(values ?? {}).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<{ [K in keyof T]-?: NonNullable<T[K]> }>;
}
