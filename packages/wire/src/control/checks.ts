/** What comes over the control channel may be anything, whatever its type says: the checks that its parsers are made of, and their error. */

export type Fields = Record<string, unknown>;

const MAX_LIST = 100_000;

/** The message in one line. @throws what `fail` makes of the reason */
export function parseLine(line: string, fail: (reason: string, cause?: unknown) => Error): Fields {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw fail(`not JSON: ${line.slice(0, 100)}`, cause);
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

/** Whether it is absent, or accepted. */
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
 * What went wrong with the control channel, by `code`:
 * - `bad-environment`: the variables that a supervisor sets are there but cannot be understood.
 * - `bad-message`: a line from the other side is not a message this version knows.
 */
export class ChannelError extends Error {
  override readonly name = "ChannelError";
  readonly code: "bad-environment" | "bad-message";

  constructor(code: ChannelError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
