/** What an app has started ends with its instance, in sessions of its own too, however the instance ends. */
import { describe, expect, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { RUNTIMES, startFleet } from "./support/fleet.js";
import { commandLine, needs, signal } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

/** Starts a process in a session of its own, which leaves its parent too, and says its pid. */
const APP = `
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
export default {
  async fetch() {
    const child = spawn("setsid", ["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"], { detached: true, stdio: ["ignore", "pipe", "ignore"] });
    child.unref();
    for await (const line of createInterface({ input: child.stdout })) return new Response(line);
  },
};
`;
const WSGI = `
import subprocess
def application(environ, start_response):
    command = ["setsid", "sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]
    pid = subprocess.run(command, stdout=subprocess.PIPE, start_new_session=True).stdout.strip()
    start_response("200 OK", [])
    return [pid]
`;
const ASGI = `
from site_app import application
async def app(scope, receive, send):
    body = application({}, lambda status, headers: None)[0]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
`;

const isRunning = (pid: number) => commandLine(pid).includes("sleep");

describe.each(RUNTIMES)("what an app started on %s", { timeout: 60_000 }, (runtime) => {
  test("ends with a kill, a reload and a stop", async (context) => {
    needs(context, "setsid");
    if (runtime === "bun") needs(context, "python3");
    const python = findPython("uvicorn");
    const pools = {
      web: { app: "./app.js", instances: 1, routes: ["/"] },
      ...(runtime === "bun" && { wsgi: { wsgi: "site_app", instances: 1, routes: ["/wsgi/"] } }),
      ...(runtime === "bun" &&
        python !== undefined && { asgi: { asgi: "async_app:app", python, instances: 1, routes: ["/asgi/"] } }),
    };
    const project = await startFleet({
      runtime,
      app: APP,
      files: { "site_app.py": WSGI, "async_app.py": ASGI },
      config: { pools },
    });
    const paths = Object.keys(pools).map((name) => (name === "web" ? "/" : `/${name}/`));
    const started = async () => {
      const pids = await Promise.all(paths.map(async (path) => Number((await get(project.port, path)).body)));
      expect(pids.every(isRunning)).toBe(true);
      return pids;
    };
    const gone = (pids: number[]) => waitFor("what was started to be gone", () => !pids.some(isRunning));

    const first = await started();
    for (const { instances } of (await project.status()).pools) signal(instances[0]?.pid ?? 0, "SIGKILL");
    await gone(first);
    const { stdout } = await project.cli(["events"]);
    expect(stdout).toMatch(/web\.1 +left a process behind, now ended/);
    await project.ready();

    const second = await started();
    expect((await project.cli(["reload"])).code).toBe(0);
    await gone(second);

    const third = await started();
    expect((await project.cli(["stop"])).code).toBe(0);
    // Before the supervisor has ended.
    expect(third.some(isRunning)).toBe(false);
  });
});
