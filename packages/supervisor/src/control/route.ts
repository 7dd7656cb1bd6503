/** The definition of a route of the control socket: its path, the shape of its body, and how it responds. */
import type { Caller } from "../core/history.js";
import type { OperationResult, ProgressListener, SupervisorApi } from "./api.js";
import type { Line, Subscribe } from "./responses.js";

/** The type of a body's key. Keys that end in `?` are optional. */
type BodyKey = keyof BodyKinds;

/** The keys a body may have. */
export type BodyShape = Readonly<Record<string, BodyKey>>;

interface BodyKinds {
  "count?": number | undefined;
  "change?": number | undefined;
  "flag?": boolean | undefined;
  "text?": string | undefined;
  "texts?": Record<string, string> | undefined;
  "table?": object | undefined;
  "list?": string[] | undefined;
}

/** The type of a validated body of that shape. */
type BodyOf<Shape extends BodyShape> = { [Key in keyof Shape]: BodyKinds[Shape[Key]] };

const RULES: Record<BodyKey, { accepts: (value: unknown) => boolean; rule: string }> = {
  "count?": {
    accepts: (value) => value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0),
    rule: "a whole number from 0",
  },
  "change?": {
    accepts: (value) => value === undefined || Number.isSafeInteger(value),
    rule: "a whole number, below 0 for fewer",
  },
  "flag?": {
    accepts: (value) => value === undefined || typeof value === "boolean",
    rule: "true or false",
  },
  "text?": { accepts: (value) => value === undefined || typeof value === "string", rule: "text" },
  "texts?": { accepts: (value) => value === undefined || isTable(value, isText), rule: "a table of texts" },
  "list?": {
    accepts: (value) => value === undefined || (Array.isArray(value) && value.every(isText)),
    rule: "a list of texts",
  },
  "table?": { accepts: (value) => value === undefined || isTable(value, () => true), rule: "a table" },
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

/** The validated input of a route. */
export interface RouteInput<Body> {
  supervisor: SupervisorApi;
  /** The named parts of the path, decoded. */
  params: Record<string, string>;
  query: URLSearchParams;
  body: Body;
  /** The caller, for the history. */
  by: Caller;
}

type Reply<Body> =
  /** Responds with one JSON document. */
  | { kind: "document"; read(input: RouteInput<Body>): object | Promise<object> }
  /** Responds with the metrics, in a format that the field Accept allows. */
  | { kind: "metrics" }
  /** Responds with the page, which contains no data. */
  | { kind: "page" }
  /** Responds with the stream that the page follows. */
  | { kind: "stream" }
  /** Responds with progress lines while it runs, then with the result. */
  | { kind: "operation"; run(input: RouteInput<Body>, onProgress: ProgressListener): Promise<OperationResult> }
  /** Responds with the stored lines; with `follow=1` also with new ones. */
  | { kind: "lines"; open(input: RouteInput<Body>): { recent: Line[]; subscribe: Subscribe } };

export interface Route {
  method: "GET" | "POST";
  /** For example `/v1/pools/:pool/scale`. */
  path: string;
  /** The accepted query parameters; every operation also accepts `timeoutMs`. */
  query: readonly string[];
  body: BodyShape;
  reply: Reply<never>;
}

export function route<const Shape extends BodyShape>(
  method: Route["method"],
  path: string,
  body: Shape,
  reply: Reply<BodyOf<Shape>>,
): Route {
  return { method, path, query: QUERIES[reply.kind], body, reply: reply as Reply<never> };
}

const QUERIES: Record<Reply<never>["kind"], readonly string[]> = {
  ...{ document: [], metrics: [], page: [], stream: [], operation: ["timeoutMs"] },
  lines: ["follow", "name", "lines"],
};

/** Returns the named parts of `path`; undefined if it does not match the pattern. */
export function matchPath(pattern: string, path: string): Record<string, string> | undefined {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return undefined;
  const params: Record<string, string> = {};
  for (const [at, part] of wanted.entries()) {
    const actual = given[at] ?? "";
    if (!part.startsWith(":")) {
      if (part !== actual) return undefined;
    } else {
      try {
        params[part.slice(1)] = decodeURIComponent(actual);
      } catch {
        return undefined; // A malformed percent escape matches nothing.
      }
    }
  }
  return params;
}
