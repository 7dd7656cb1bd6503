/** Processes with `maxRequests` requests are replaced, in every kind of pool, without a failed request or a missing instance. */
import { describe, expect, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { RUNTIMES, startFleet } from "./support/fleet.js";
import { get } from "./support/raw-http.js";

const FETCH = 'export default { fetch: () => new Response("fetch") };\n';
const NODE = 'export default (req, res) => res.end("node");\n';
const WSGI = `
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi"]
`;
const ASGI = `
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})
`;
const COMMAND = `
import http from "node:http";
http.createServer((req, res) => res.end("command")).listen(process.env.PORT, process.env.HOST);
`;

const attempts = ({ pools }: Status) =>
  Object.fromEntries(pools.map(({ name, instances }) => [name, instances.map(({ attempt }) => attempt)]));

describe.each(RUNTIMES)("recycling on %s", (runtime) => {
  test("replaces what has had maxRequests, in pools of every kind", async () => {
    const python = runtime === "bun" ? findPython() : undefined;
    const asgiPython = findPython("uvicorn");
    const two = { instances: 2, maxSurge: 1 };
    const pools = {
      fetch: { app: "./app.js", ...two, routes: ["/fetch/"] },
      node: { app: "./node.js", ...two, routes: ["/node/"] },
      endless: { app: "./app.js", instances: 1, routes: ["/endless/"], maxRequests: 0 },
      // The supervisor decides, independent of their runtime.
      ...(runtime === "bun" && {
        files: { static: "./public", routes: ["/files/"] },
        far: { proxy: "http://127.0.0.1:9", routes: ["/far/"] },
        command: { command: ["node", "./command.mjs"], routes: ["/command/"] },
      }),
      ...(asgiPython !== undefined && {
        asgi: { asgi: "async_app", python: asgiPython, ...two, routes: ["/asgi/"] },
      }),
      ...(python !== undefined && { wsgi: { wsgi: "site_app", python, ...two, routes: ["/wsgi/"] } }),
    };
    const project = await startFleet({
      runtime,
      app: FETCH,
      files: {
        ...{ "node.js": NODE, "public/a.txt": "a", "command.mjs": COMMAND },
        ...{ "site_app.py": WSGI, "async_app.py": ASGI },
      },
      config: { pools, maxRequests: 10, recycleJitter: 0.5, minReadyMs: 10 },
    });
    const names = Object.keys(pools);
    const before = attempts(await project.status());
    const least = Object.fromEntries(names.map((name) => [name, Number.POSITIVE_INFINITY]));
    const failed: string[] = [];
    let isOver = false;
    const ask = async (name: string) => {
      while (!isOver) {
        const { status } = await get(project.port, `/${name}/${name === "files" ? "a.txt" : ""}`);
        if (status !== (name === "far" ? 502 : 200)) failed.push(`${name}: ${status}`);
      }
    };
    const clients = names.map(ask);
    const status = await project.statusWhere("each slot to be recycled", (now) => {
      for (const { name, ready } of now.pools) least[name] = Math.min(least[name] ?? 0, ready);
      return now.pools.every(
        ({ name, instances }) => name === "endless" || instances.every(({ recycles }) => recycles >= 1),
      );
    });
    isOver = true;
    await Promise.all(clients);
    expect(failed).toEqual([]);
    for (const { name, instances, wanted } of status.pools) {
      expect(least[name], `${name} has had that many ready at the least`).toBe(wanted);
      for (const { restarts, lastExit } of instances)
        expect({ restarts, lastExit }).toEqual({ restarts: 0, lastExit: null });
    }
    expect(status.pools.find(({ name }) => name === "endless")?.instances[0]).toMatchObject({
      attempt: 1,
      recycles: 0,
    });
    expect(before.endless).toEqual([1]);
    const { stdout } = await project.cli(["events", "-n", "1000"]);
    for (const name of names) {
      const event = new RegExp(`${name}\\.1 +is being recycled: it has handled \\d+ requests \\(maxRequests\\)`);
      if (name === "endless") expect(stdout).not.toMatch(event);
      else expect(stdout).toMatch(event);
    }
    // An operator's command has priority.
    for (const command of [["restart", "fetch"], ["scale", "node", "3"], ["reload"]]) {
      const { code, output } = await project.cli(command);
      expect(`${code} ${output}`).toMatch(/^0 /);
    }
  });
});
