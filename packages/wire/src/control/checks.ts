/** Checks for control messages, which may contain anything regardless of their type, and the error of failed checks. */

export type Fields = Record<string, unknown>;

const MAX_LIST = 100_000;

/** Parses one line. @throws the error that `fail` creates for the reason */
export function parseLine(line: string, fail: (reason: string, cause?: unknown) => Error): Fields {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    // Its text may have a secret, such as a token.
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

export function isList(value: unknown, accepts: (item: unknown) => boolean = () => true): boolean {
  return Array.isArray(value) && value.length <= MAX_LIST && value.every(accepts);
}

/** Whether the value is absent or accepted. */
export function isOptional(value: unknown, accepts: (value: unknown) => boolean): boolean {
  return value === undefined || accepts(value);
}

export function areTexts(fields: Fields, names: readonly string[]): boolean {
  return names.every((name) => isText(fields[name]));
}

export function areAmounts(fields: Fields, names: readonly string[]): boolean {
  return names.every((name) => isAmount(fields[name]));
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
