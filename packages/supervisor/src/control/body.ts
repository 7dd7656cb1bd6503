/** Validates the JSON bodies of the control socket. They are small enough not to need the validation library. */

/** The type of a body's key; those that end in `?` are optional. */
export type BodyKey = keyof BodyKinds;

/** The keys a body may have. */
export type BodyShape = Readonly<Record<string, BodyKey>>;

interface BodyKinds {
  "count?": number | undefined;
  "change?": number | undefined;
  "text?": string | undefined;
  "texts?": Record<string, string> | undefined;
}

/** The type of a validated body of that shape. */
export type BodyOf<Shape extends BodyShape> = { [Key in keyof Shape]: BodyKinds[Shape[Key]] };

const RULES: Record<BodyKey, { accepts: (value: unknown) => boolean; rule: string }> = {
  "count?": {
    accepts: (value) => value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0),
    rule: "a whole number from 0",
  },
  "change?": {
    accepts: (value) => value === undefined || Number.isSafeInteger(value),
    rule: "a whole number, below 0 for fewer",
  },
  "text?": { accepts: (value) => value === undefined || typeof value === "string", rule: "text" },
  "texts?": { accepts: (value) => value === undefined || isTable(value, isText), rule: "a table of texts" },
};

/** Returns every problem of a body; empty if it is valid. */
export function bodyProblems(shape: BodyShape, body: unknown): string[] {
  if (!isTable(body, () => true)) return ["must be an object"];
  const unknown = Object.keys(body).filter((key) => !Object.hasOwn(shape, key));
  const wrong = Object.entries(shape).filter(([key, kind]) => !RULES[kind].accepts(body[key]));
  return [
    ...wrong.map(([key, kind]) => `${key}: must be ${RULES[kind].rule}`),
    ...unknown.map((key) => `unknown key ${JSON.stringify(key)}`),
  ];
}

function isTable(value: unknown, accepts: (item: unknown) => boolean): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.values(value).every(accepts);
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}
