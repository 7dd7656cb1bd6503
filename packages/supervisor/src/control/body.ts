/** Checks the JSON bodies of the control socket, which are small enough to do without the library that checks configurations. */

/** What a key of a body must hold; one whose kind ends in `?` may be absent. */
export type BodyKey = keyof BodyKinds;

/** The keys a body may have. */
export type BodyShape = Readonly<Record<string, BodyKey>>;

interface BodyKinds {
  "count?": number | undefined;
  "change?": number | undefined;
  "text?": string | undefined;
  "texts?": Record<string, string> | undefined;
}

/** What a body of that shape holds once it was checked. */
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

/** Everything that is wrong with a body; empty when it is right. */
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
