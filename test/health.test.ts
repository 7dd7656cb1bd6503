/** readyPath, warmup and healthPath mean the same in every kind of pool: ready or not, killed, and a reload rolled back. */
import { existsSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { allReady, Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { freePort } from "./support/ports.js";
import { needs } from "./support/processes.js";
import { waitFor } from "./support/wait.js";

/** Responds with 503 on /ready until a file `up` exists, and with 500 on /health while `sick` exists, or for a bad version. */
const STATUS = `
import { existsSync } from "node:fs";
const there = (name) => existsSync(new URL("./" + name, import.meta.url));
const statusOf = (path) => path.endsWith("/warm") ? (console.log("warm"), 404) : path.endsWith("/broken") ? 500
  : path.endsWith("/ready") ? (there("up") ? 200 : 503) : path.endsWith("/health") && (there("sick") || process.env.VERSION === "bad") ? 500 : 200;
`;
const FETCH = `${STATUS}
export default { fetch: (request) => new Response("x", { status: statusOf(new URL(request.url).pathname) }) };
`;
const NODE = `${STATUS}
export default (req, res) => {
  res.statusCode = statusOf(req.url);
  res.end("x");
};
`;
const COMMAND = `${STATUS}
import http from "node:http";
const server = http.createServer((req, res) => res.writeHead(statusOf(req.url)).end("x")).listen(process.env.PORT, process.env.HOST);
`;
/** Stops listening when it is stopped, and takes its time: it is checked, for a reload, during that time. */
const SLOW_END = `
process.on("SIGTERM", () => server.close() && setTimeout(() => process.exit(), 1500));
`;
const WSGI = `
import os
def application(environ, start_response):
    path = environ["PATH_INFO"]
    ok = os.path.exists("up") if path == "/ready" else not os.path.exists("sick") if path == "/health" else path != "/broken"
    if path == "/warm":
        print("warm", flush=True)
    start_response("200 OK" if ok else "500 Internal Server Error", [])
    return [b"x"]
`;
const ASGI = `
import os
async def app(scope, receive, send):
    path = scope["path"]
    ok = os.path.exists("up") if path == "/ready" else not os.path.exists("sick") if path == "/health" else path != "/broken"
    if path == "/warm":
        print("warm", flush=True)
    await send({"type": "http.response.start", "status": 200 if ok else 500, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})
`;

/** An upstream for the proxy, which responds like the others. */
async function upstream(project: Project): Promise<number> {
  const port = await freePort();
  const there = (name: string) => existsSync(join(project.folder, name));
  const server = createServer((request, response) => {
    const isBad =
      request.url === "/ready"
        ? !there("up")
        : request.url === "/broken" || (request.url === "/health" && there("sick"));
    response.writeHead(isBad ? 500 : 200).end("x");
  });
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return port;
}

describe.each(RUNTIMES)("readyPath and healthPath on %s", (runtime) => {
  test("decide for every kind when an instance is ready and when it is ended, and end a reload", async (context) => {
    if (runtime === "bun") needs(context, "python3");
    const files = { "node.js": NODE, "command.mjs": COMMAND + SLOW_END, "site_app.py": WSGI, "async_app.py": ASGI };
    const project = await Project.make({ runtime, app: FETCH, files });
    const python = runtime === "bun" ? findPython("uvicorn") : undefined;
    const common = {
      instances: 1,
      readyPath: "/ready",
      healthPath: "/health",
      healthIntervalMs: 300,
      healthFailures: 2,
      warmup: ["/warm", "/broken"],
      // None of these limits is exceeded on a busy machine.
      ...{ healthTimeoutMs: 60_000, warmupTimeoutMs: 60_000, readyTimeoutMs: 120_000 },
    };
    const pools = {
      lane: { app: "./app.js", routes: ["/"], ...common },
      http1: { app: "./app.js", protocol: "http1", routes: ["/http1/"], ...common },
      node: { app: "./node.js", routes: ["/node/"], ...common },
      command: { command: ["node", "./command.mjs"], routes: ["/command/"], ...common, minReadyMs: 1000 },
      // A proxy runs on Node in any case.
      ...(runtime === "bun" && {
        far: { proxy: `http://127.0.0.1:${await upstream(project)}`, routes: ["/far/"], ...common },
      }),
      // A file is healthy if it exists.
      files: { static: ".", routes: ["/files/"], ...common, readyPath: "/files/up", healthPath: "/files/well" },
      ...(runtime === "bun" && { wsgi: { wsgi: "site_app", routes: ["/wsgi/"], ...common } }),
      ...(python !== undefined && { asgi: { asgi: "async_app", python, routes: ["/asgi/"], ...common } }),
    };
    const config = { pools, restartBudget: { maxFailures: 100 }, backoff: { initialMs: 50, maxMs: 100 } };
    project.writeConfig(config);
    project.write("well", "");
    project.startInForeground();
    const starting = await project.statusWhere(
      "all to listen",
      ({ pools: all }) => all.length > 0 && all.every(({ instances }) => (instances[0]?.uptimeSeconds ?? 0) > 2),
    );
    expect(starting.pools.map(({ instances }) => instances[0]?.state)).toEqual(
      Object.keys(pools).map(() => "starting"),
    );
    expect(await project.logs()).not.toContain("| warm");
    project.write("up", "");
    await project.ready();
    const events = await project.events();
    for (const name of Object.keys(pools)) {
      // A missing file is a response as well.
      const cold = name === "files" ? "is ready" : "takes traffic before it is warm: GET /broken returned 500";
      expect(events).toMatch(new RegExp(` ${name}\\.1 +${cold}`));
    }
    const printing = Object.keys(pools).filter((name) => name !== "files" && name !== "far");
    await waitFor("four rounds of each kind", async () => {
      const lines = (await project.logs()).split("\n");
      return printing.every((name) => lines.filter((line) => line === `${name}.1 | warm`).length > 3);
    });

    project.write("sick", "");
    rmSync(join(project.folder, "well"));
    const sick = await project.statusWhere("all to be ended", ({ pools: all }) =>
      all.every(({ instances }) => instances[0]?.lastExit != null),
    );
    for (const { name, instances } of sick.pools) {
      const program = name === "command" ? "node is unhealthy" : "unhealthy";
      const problem = name === "files" ? "GET /files/well returned 404" : "GET /health returned 500";
      expect(instances[0]?.lastExit?.reason, name).toContain(`${program}: ${problem}, 2 times in a row`);
    }
    rmSync(join(project.folder, "sick"));
    project.write("well", "");
    await project.statusWhere("all to be well", allReady);

    project.writeConfig({ ...config, env: { VERSION: "bad" } });
    const reloads = await Promise.all(["lane", "node", "command"].map((pool) => project.reload(pool)));
    for (const { code, output } of reloads) {
      expect(code).toBe(1);
      expect(output).toMatch(
        /the new \w+\.1 (is ready, but|was ready, but did not stay ready:) .*GET \/health returned 500.*; the old instances keep serving/,
      );
    }
    expect((await project.statusWhere("no replacement to be left", allReady)).pools[0]).toMatchObject({
      generation: 1,
    });
  });
});

test("a reload goes through while instances are asked at intervals shorter than a response takes", async () => {
  const app = `export default {
  async fetch(request) {
    if (request.url.endsWith("/health")) await new Promise((resolve) => setTimeout(resolve, 300));
    return new Response("x");
  },
};
`;
  const health = { healthPath: "/health", healthIntervalMs: 50, healthTimeoutMs: 60_000, healthFailures: 1 };
  const project = await startFleet({ runtime: "bun", app, config: health });
  const { code, output } = await project.reload();
  expect(code, output).toBe(0);
  const { pools } = await project.ready();
  expect(pools[0]?.instances.map(({ restarts }) => restarts)).toEqual([0, 0]);
});
