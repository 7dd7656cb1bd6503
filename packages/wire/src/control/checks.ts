/** Checks for control messages, whose contents may differ from their type, and the error of failed checks. */

export type Fields = Record<string, unknown>;

/** Whether a value is accepted. */
export type Check = (value: unknown) => boolean;

/** The checks of an object's fields. Other fields are allowed, such as those of a later version. */
export type Checks<Of> = { readonly [Name in keyof Of]?: Check };

const MAX_LIST = 100_000;

/**
 * Parses one line.
 * @throws the error that `fail` creates for the reason
 */
export function parseLine(line: string, fail: (reason: string, cause?: unknown) => Error): Fields {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    // The text is left out, because it may contain a secret such as a token.
    throw fail(`not JSON: it has ${line.length} characters`, cause);
  }
  if (!isFields(value)) throw fail("not an object");
  return value;
}

export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isText(value: unknown): value is string {
  return typeof value === "string";
}

/** A number of bytes, milliseconds or things. */
export function isAmount(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

export function isFlag(value: unknown): value is boolean {
  return typeof value === "boolean";
}

/** A number of at least 1. */
export function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

export const isList = listOf(() => true);

export function listOf(accepts: Check): Check {
  return (value) => Array.isArray(value) && value.length <= MAX_LIST && value.every(accepts);
}

/** Accepts an absent value, too. */
export function optional(accepts: Check): Check {
  return (value) => value === undefined || accepts(value);
}

export function orNull(accepts: Check): Check {
  return (value) => value === null || accepts(value);
}

export function oneOf(...values: readonly unknown[]): Check {
  return (value) => values.includes(value);
}

/** Accepts an object whose fields are accepted. */
export function fieldsOf<Of extends object>(checks: Checks<Of>): Check {
  return (value) => isFields(value) && badField(value, checks) === undefined;
}

/** Returns the first field that is not accepted. */
function badField<Of extends object>(value: Fields, checks: Checks<Of>): string | undefined {
  return Object.keys(checks).find((name) => !(checks[name as keyof Of] as Check)(value[name]));
}

/** Returns what is wrong with a message; undefined if it is valid. */
export function problemIn<Of extends object>(message: Fields, checks: Checks<Of>): string | undefined {
  const bad = badField(message, checks);
  return bad === undefined ? undefined : `no good ${bad}`;
}

/**
 * An error of the control channel, with a `code`:
 * - `bad-environment`: the supervisor's variables are set but invalid.
 * - `bad-message`: a line is not a message that this version knows.
 */
export class ChannelError extends Error {
  override readonly name = "ChannelError";
  readonly code: "bad-environment" | "bad-message";

  constructor(code: ChannelError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
