/** All that the control socket answers, in one list; docs/http-api.md explains each entry. */

import { isAbout, isLineOf, unknownName } from "../core/words.js";
import type { OperationResult, ProgressListener, SupervisorApi } from "./api.js";
import type { BodyOf, BodyShape } from "./body.js";
import { ControlError, type Subscribe } from "./responses.js";

/** What a route is given; all of it is checked. */
export interface RouteInput<Body> {
  supervisor: SupervisorApi;
  /** The named parts of the path, decoded. */
  params: Record<string, string>;
  query: URLSearchParams;
  body: Body;
}

export type Reply<Body> =
  /** One JSON document, at once. */
  | { kind: "document"; read(input: RouteInput<Body>): object }
  /** Progress lines while it runs, then the result. */
  | { kind: "operation"; run(input: RouteInput<Body>, onProgress: ProgressListener): Promise<OperationResult> }
  /** The lines there are, and with `follow=1` those that come. */
  | { kind: "lines"; open(input: RouteInput<Body>): { recent: object[]; subscribe: Subscribe } };

export interface Route {
  method: "GET" | "POST";
  /** Such as `/v1/pools/:pool/scale`. */
  path: string;
  /** The query parameters it knows; `timeoutMs` comes with every operation. */
  query: readonly string[];
  body: BodyShape;
  reply: Reply<never>;
}

function route<const Shape extends BodyShape>(
  method: Route["method"],
  path: string,
  body: Shape,
  reply: Reply<BodyOf<Shape>>,
): Route {
  const query = { document: [], operation: ["timeoutMs"], lines: ["follow", "name", "lines"] }[reply.kind];
  return { method, path, query, body, reply: reply as Reply<never> };
}

const none = {};

export const routes: readonly Route[] = [
  route("GET", "/v1/status", none, {
    kind: "document",
    read: ({ supervisor }) => supervisor.status(),
  }),
  route("GET", "/v1/ready", none, {
    kind: "operation",
    run: ({ supervisor }) => supervisor.waitReady(),
  }),
  route(
    "POST",
    "/v1/pools/:pool/scale",
    { instances: "count?", by: "change?" },
    {
      kind: "operation",
      run: async ({ supervisor, params, body: { instances, by } }, onProgress) => {
        if (instances !== undefined && by === undefined)
          return supervisor.scale(params.pool ?? "", { instances }, onProgress);
        if (by !== undefined && instances === undefined) return supervisor.scale(params.pool ?? "", { by }, onProgress);
        return { ok: false, code: "invalid", message: "invalid body: it must have either instances or by" };
      },
    },
  ),
  route(
    "POST",
    "/v1/reload",
    { pool: "text?", environment: "texts?" },
    {
      kind: "operation",
      run: ({ supervisor, body }, onProgress) => supervisor.reload(body.pool, body.environment, onProgress),
    },
  ),
  route(
    "POST",
    "/v1/restart",
    { target: "text?" },
    {
      kind: "operation",
      run: ({ supervisor, body }, onProgress) => supervisor.restart(body.target, onProgress),
    },
  ),
  route("POST", "/v1/stop", none, {
    kind: "operation",
    run: ({ supervisor }) => supervisor.stop(),
  }),
  route("GET", "/v1/logs", none, {
    kind: "lines",
    open: ({ supervisor, query }) => {
      const name = query.get("name") ?? undefined;
      const recent = supervisor.recentLog(name);
      checkName(supervisor, name, recent);
      return {
        recent,
        subscribe: (onLines) => supervisor.onLog((lines) => onLines(lines.filter((line) => isLineOf(line, name)))),
      };
    },
  }),
  route("GET", "/v1/events", none, {
    kind: "lines",
    open: ({ supervisor, query }) => {
      const name = query.get("name") ?? undefined;
      const recent = supervisor.recentEvents().filter((event) => isAbout(event.subject, name));
      checkName(supervisor, name, recent);
      return {
        recent,
        subscribe: (onLines) => supervisor.onEvent((event) => isAbout(event.subject, name) && onLines([event])),
      };
    },
  }),
];

/** A name that is mistyped would be waited for for ever; one that is gone may still have lines. */
function checkName(supervisor: SupervisorApi, name: string | undefined, recent: readonly object[]): void {
  if (name === undefined || recent.length > 0) return;
  const names = supervisor.names();
  if (!names.includes(name)) throw new ControlError(400, "invalid", unknownName(name, names));
}

/** The parts of `path` that the route's pattern names, or undefined when it does not match. */
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
        return undefined; // A stray percent sign names nothing.
      }
    }
  }
  return params;
}
