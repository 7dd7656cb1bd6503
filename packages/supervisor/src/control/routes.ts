/** Every route of the control socket in one list; docs/http-api.md explains each. */
import type { DumpKind } from "@paceline/wire";
import { isAbout, isLineOf, unknownName } from "../core/words.js";
import type { NamedRelease, Status, SupervisorApi, SupervisorProgram } from "./api.js";
import { ControlError, jsonForAll } from "./responses.js";
import { type Route, route } from "./route.js";

/** The only program to which a fleet is handed over, of any version. */
const SUPERVISOR = "/programs/cli/main.js";

function isSupervisor({ command, args }: Pick<SupervisorProgram, "command" | "args">): boolean {
  return command.startsWith("/") && args.at(-1)?.endsWith(SUPERVISOR) === true;
}

/** Returns why the paths of a release cannot be read. */
function pathProblem({ dir, config, envFile }: NamedRelease): string | undefined {
  const relative = [dir, config, envFile].find((path) => path !== undefined && !path.startsWith("/"));
  return relative === undefined ? undefined : `${relative} is not an absolute path`;
}

const none = {};

export const routes: readonly Route[] = [
  route("GET", "/v1/status", none, {
    kind: "document",
    read: ({ supervisor }) => supervisor.status(),
  }),
  route("GET", "/v1/watch", none, {
    kind: "lines",
    open: ({ supervisor }) => {
      let since = 0;
      const lineOf = (status: Status) => {
        const history = supervisor.history("seconds", since);
        since = history.now;
        return `${jsonForAll(status).slice(0, -1)},"history":${JSON.stringify(history)}}`;
      };
      return {
        recent: [lineOf(supervisor.status())],
        subscribe: (onLines) => supervisor.onStatus((status) => onLines([lineOf(status)])),
      };
    },
  }),
  {
    ...route("GET", "/v1/history", none, {
      kind: "document",
      read: ({ supervisor, query }) => {
        const zoom = query.get("zoom") ?? "seconds";
        if (zoom !== "seconds" && zoom !== "minutes")
          throw new ControlError(400, "invalid", "zoom must be seconds or minutes");
        return supervisor.history(zoom, Number(query.get("since") ?? 0));
      },
    }),
    query: ["zoom", "since"],
  },
  {
    ...route("GET", "/v1/open-requests", none, {
      kind: "document",
      read: ({ supervisor, query }) => supervisor.openRequests(query.get("name") ?? undefined),
    }),
    query: ["name"],
  },
  route("GET", "/v1/deaths", none, { kind: "document", read: ({ supervisor }) => supervisor.deaths() }),
  route("GET", "/metrics", none, { kind: "metrics" }),
  route("GET", "/", none, { kind: "page" }),
  route("GET", "/v1/stream", none, { kind: "stream" }),
  route("GET", "/v1/page", none, { kind: "document", read: ({ supervisor }) => supervisor.page() }),
  route("GET", "/v1/deaths/:id", none, {
    kind: "document",
    read: ({ supervisor, params: { id = "" } }) => found(supervisor.records.death(Number(id)), `no death ${id}`),
  }),
  route("GET", "/v1/operations", none, {
    kind: "document",
    read: ({ supervisor }) => ({ operations: supervisor.records.operations() }),
  }),
  route("GET", "/v1/operations/:id", none, {
    kind: "document",
    read: ({ supervisor, params: { id = "" } }) =>
      found(supervisor.records.operation(Number(id)), `no operation ${id} in the history`),
  }),
  route("GET", "/v1/alerts", none, {
    kind: "document",
    read: ({ supervisor }) => supervisor.alerts(),
  }),
  route("POST", "/v1/alerts/test", none, {
    kind: "operation",
    run: ({ supervisor }, onProgress) => supervisor.testAlerts(onProgress),
  }),
  route("GET", "/v1/certificates", none, {
    kind: "document",
    read: ({ supervisor }) => ({ certificates: supervisor.certificates.views() }),
  }),
  route(
    "POST",
    "/v1/certificates/renew",
    { name: "text?" },
    {
      kind: "operation",
      run: ({ supervisor, body }, onProgress) => supervisor.certificates.renew(body.name, onProgress),
    },
  ),
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
      run: async ({ supervisor, params, body: { instances, by }, by: caller }, onProgress) => {
        if (instances !== undefined && by === undefined)
          return supervisor.scale(params.pool ?? "", { instances }, onProgress, caller);
        if (by !== undefined && instances === undefined)
          return supervisor.scale(params.pool ?? "", { by }, onProgress, caller);
        return { ok: false, code: "invalid", message: "invalid body: it must have either instances or by" };
      },
    },
  ),
  route(
    "POST",
    "/v1/reload",
    { pool: "text?", environment: "texts?", config: "table?" },
    {
      kind: "operation",
      run: async ({ supervisor, body, by }, onProgress) => {
        const problem = body.config === undefined ? undefined : supervisor.replaceConfig(body.config);
        if (problem !== undefined) return { ok: false, code: "invalid", message: problem };
        return supervisor.reload(body.pool, body.environment, onProgress, by);
      },
    },
  ),
  route(
    "POST",
    "/v1/diff",
    {
      ...({ pool: "text?", environment: "texts?" } as const),
      ...({ dir: "text?", config: "text?", envFile: "text?" } as const),
    },
    {
      kind: "operation",
      run: async ({ supervisor, body: { pool, environment, ...release } }) => {
        const problem = pathProblem(release);
        if (problem !== undefined) return { ok: false, code: "invalid", message: problem };
        const isNamed = Object.values(release).some((path) => path !== undefined);
        return supervisor.diff(pool, environment, isNamed ? release : undefined);
      },
    },
  ),
  route(
    "POST",
    "/v1/restart",
    { target: "text?" },
    {
      kind: "operation",
      run: ({ supervisor, body, by }, onProgress) => supervisor.restart(body.target, onProgress, by),
    },
  ),
  route(
    "POST",
    "/v1/instances/:name/drain",
    { force: "flag?", wait: "flag?" },
    {
      kind: "operation",
      run: ({ supervisor, params: { name = "" }, body: { force = false, wait = false }, by }, onProgress) =>
        supervisor.turn({ do: "drain", name, isForced: force, waits: wait }, onProgress, by),
    },
  ),
  ...(["undrain", "eject", "readmit"] as const).map((what) =>
    route("POST", `/v1/instances/:name/${what}`, none, {
      kind: "operation",
      run: ({ supervisor, params: { name = "" }, by }, onProgress) =>
        supervisor.turn({ do: what, name }, onProgress, by),
    }),
  ),
  route(
    "POST",
    "/v1/instances/:name/weight",
    { weight: "count?" },
    {
      kind: "operation",
      run: async ({ supervisor, params: { name = "" }, body: { weight }, by }, onProgress) =>
        weight === undefined
          ? { ok: false, code: "invalid", message: "invalid body: it must have a weight" }
          : supervisor.turn({ do: "weight", name, weight }, onProgress, by),
    },
  ),
  route(
    "POST",
    "/v1/deploy",
    {
      ...({ dir: "text?", config: "text?", envFile: "text?", onNoTraffic: "text?" } as const),
      ...({ canaryPercent: "count?", judgeMs: "count?", keepWarmMs: "count?" } as const),
    },
    {
      kind: "operation",
      run: async ({ supervisor, body: { onNoTraffic, ...body }, by }, onProgress) => {
        const { canaryPercent = 1 } = body;
        const choice = (["promote", "rollback"] as const).find((each) => each === onNoTraffic);
        const problem =
          pathProblem(body) ??
          (canaryPercent < 1 || canaryPercent > 100
            ? "canaryPercent must be from 1 to 100"
            : onNoTraffic === undefined || choice !== undefined
              ? undefined
              : "onNoTraffic must be promote or rollback");
        if (problem !== undefined) return { ok: false, code: "invalid", message: problem };
        return supervisor.deploy({ ...body, onNoTraffic: choice }, onProgress, by);
      },
    },
  ),
  route(
    "POST",
    "/v1/rollback",
    { release: "text?" },
    {
      kind: "operation",
      run: ({ supervisor, body, by }, onProgress) => supervisor.rollback(body.release, onProgress, by),
    },
  ),
  route("POST", "/v1/deploy/promote", none, {
    kind: "operation",
    run: async ({ supervisor }) => supervisor.steerDeploy("promote"),
  }),
  route(
    "POST",
    "/v1/deploy/hold",
    { hold: "flag?" },
    {
      kind: "operation",
      run: async ({ supervisor, body: { hold = true } }) => supervisor.steerDeploy(hold ? "hold" : "resume"),
    },
  ),
  route(
    "POST",
    "/v1/hand-over",
    { version: "text?", command: "text?", args: "list?" },
    {
      kind: "operation",
      run: async ({ supervisor, body: { version, command, args }, by }) => {
        const program = { command: command ?? "", args: args ?? [] };
        if (version !== undefined && isSupervisor(program)) return supervisor.handOver({ version, ...program }, by);
        return {
          ok: false,
          code: "invalid",
          message: "invalid body: it must have a version, and a supervisor as command and args",
        };
      },
    },
  ),
  route(
    "POST",
    "/v1/dump",
    { target: "text?", what: "text?", durationMs: "count?" },
    {
      kind: "operation",
      run: async ({ supervisor, body: { target = "", what = "", durationMs = 0 } }) => {
        const kind = DUMP_KINDS.find((each) => each === what);
        const problem = kind === undefined ? "what must be stack, heap or cpu" : durationOf(kind, durationMs);
        if (kind === undefined || problem !== undefined) return { ok: false, code: "invalid", message: problem ?? "" };
        return supervisor.dump(target, kind, durationMs);
      },
    },
  ),
  route(
    "POST",
    "/v1/lock",
    { reason: "text?" },
    { kind: "operation", run: async ({ supervisor, body: { reason = "" }, by }) => supervisor.lock(reason, by) },
  ),
  route("POST", "/v1/unlock", none, {
    kind: "operation",
    run: async ({ supervisor, by }) => supervisor.unlock(by),
  }),
  route("POST", "/v1/stop", none, {
    kind: "operation",
    run: ({ supervisor, by }) => supervisor.stop(by),
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
  route("GET", "/v1/requests", none, {
    kind: "lines",
    open: ({ supervisor }) => ({ recent: [], subscribe: (onLines) => supervisor.onRecorded(onLines) }),
  }),
];

const DUMP_KINDS: readonly DumpKind[] = ["stack", "heap", "cpu"];
const MAX_PROFILE_MS = 300_000;

function durationOf(what: DumpKind, durationMs: number): string | undefined {
  const isValid = what === "cpu" ? durationMs > 0 && durationMs <= MAX_PROFILE_MS : durationMs === 0;
  return isValid ? undefined : `durationMs must be from 1 to ${MAX_PROFILE_MS} for cpu, and 0 otherwise`;
}

function found(document: object | undefined, missing: string): object {
  if (document === undefined) throw new ControlError(404, "not_found", missing);
  return document;
}

/** Refuses an unknown name, because following it would wait forever. A name with stored lines is accepted. */
function checkName(supervisor: SupervisorApi, name: string | undefined, recent: readonly object[]): void {
  if (name === undefined || recent.length > 0) return;
  const names = supervisor.names();
  if (!names.includes(name)) throw new ControlError(400, "invalid", unknownName(name, names));
}
