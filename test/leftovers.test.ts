/** Processes started by an app are killed with its instance, even in separate sessions, however the instance exits. */
import { describe, expect, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { RUNTIMES, startFleet } from "./support/fleet.js";
import { commandLine, kill, needs, signal } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

/** Starts a process in a separate session, which also leaves its parent, and prints its pid. */
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

/** In a separate session and in the instance's session; the third was started while the app was loading. */
const START = `
import { spawn } from "node:child_process";
const sleep = (detached) => spawn("sleep", ["600"], { detached, stdio: "ignore" });
const early = sleep(true);
export const start = async () => [sleep(false), sleep(true), early].map(({ pid }) => pid).join(" ");
`;
const STARTS = `
import subprocess
def sleep(is_apart):
    return subprocess.Popen(["sleep", "600"], start_new_session=is_apart)
early = sleep(True)
def application(environ, start_response):
    start_response("200 OK", [])
    return [" ".join(str(it.pid) for it in (sleep(False), sleep(True), early)).encode()]
`;
const FAPWS = `
import fapws._evwsgi as evwsgi
from fapws import base
from starts import application
evwsgi.start("0.0.0.0", "8080")
evwsgi.set_base_module(base)
evwsgi.wsgi_cb(("/", application))
evwsgi.run()
`;
const ASGI_STARTS = ASGI.replace("site_app", "starts");

const isRunning = (pid: number) => commandLine(pid).includes("sleep");

describe.each(RUNTIMES)("what an app started on %s", (runtime) => {
  test("ends with a kill, a reload and a stop", async (context) => {
    needs(context, "setsid");
    if (runtime === "bun") needs(context, "python3");
    // The Python part does not depend on the runtime.
    const python = runtime === "bun" ? findPython("uvicorn") : undefined;
    const pools = {
      web: { app: "./app.js", instances: 1, routes: ["/"] },
      ...(runtime === "bun" && { wsgi: { wsgi: "site_app", instances: 1, routes: ["/wsgi/"] } }),
      ...(python !== undefined && { asgi: { asgi: "async_app:app", python, instances: 1, routes: ["/asgi/"] } }),
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
      await waitFor("what was started to run", () => pids.every(isRunning));
      return pids;
    };
    const gone = (pids: number[]) => waitFor("what was started to be gone", () => !pids.some(isRunning));

    const first = await started();
    for (const { instances } of (await project.status()).pools) signal(instances[0]?.pid ?? 0, "SIGKILL");
    await gone(first);
    await waitFor("the event", async () =>
      /web\.1 +left a process behind, which was killed/.test(await project.events()),
    );
    await project.ready();

    const second = await started();
    expect((await project.reload()).code).toBe(0);
    await gone(second);

    const third = await started();
    expect((await project.stop()).code).toBe(0);
    // Before the supervisor has exited.
    expect(third.some(isRunning)).toBe(false);
  });

  test("ends with a killed supervisor's fleet: with --replace, a stop, and the end of the grace", async (context) => {
    needs(context, "setsid");
    const { files, pools } = kindsOn(runtime);
    const project = await startFleet({ runtime, app: "", files, config: { pools, orphanGraceMs: 60_000 } });
    const started = async () => {
      const each = Object.keys(pools).map(async (name) => {
        const { body } = await get(project.port, `/${name}/`);
        const pids = body.trim().split(" ").map(Number);
        // A new process has no command line for a moment.
        await waitFor(`${name}: ${body} to run`, () => pids.every(isRunning));
        return pids.map((pid) => ({ name, pid }));
      });
      return (await Promise.all(each)).flat();
    };
    const left = (all: Awaited<ReturnType<typeof started>>) => all.filter(({ pid }) => isRunning(pid));
    const killSupervisor = async () => kill((await project.status()).pid);

    const first = await started();
    await killSupervisor();
    expect(await project.startDetached(["--replace"])).toMatchObject({ code: 0 });
    expect(left(first)).toEqual([]);

    const second = await started();
    await killSupervisor();
    expect((await project.cli(["stop"])).code).toBe(0);
    expect(left(second)).toEqual([]);

    project.writeConfig({ orphanGraceMs: 4000 });
    await project.start();
    const third = await started();
    await killSupervisor();
    await project.nothingLeft();
    expect(left(third)).toEqual([]);
  });
});

/** Pools of every kind whose apps start processes, and their files. */
function kindsOn(runtime: string) {
  const files: Record<string, string> = {
    "start.mjs": START,
    "fetch.js": `import { start } from "./start.mjs"; export default { fetch: async () => new Response(await start()) };`,
    "handler.js": `import { start } from "./start.mjs"; export default async (req, res) => res.end(await start());`,
    "command.mjs": `import { createServer } from "node:http"; import { start } from "./start.mjs";
createServer(async (req, res) => res.end(await start())).listen(process.argv[2]);`,
    "starts.py": STARTS,
    "start.py": FAPWS,
    "starts_async.py": ASGI_STARTS,
  };
  const pool = (name: string, more: object) => [name, { instances: 1, routes: [`/${name}/`], ...more }];
  const pools = [
    pool("fetch", { app: "./fetch.js" }),
    pool("handler", { app: "./handler.js", style: "node" }),
    pool("command", { command: [process.execPath, "./command.mjs", "{socket}"] }),
  ];
  const python = runtime === "bun" ? findPython() : undefined;
  const asyncPython = runtime === "bun" ? findPython("uvicorn") : undefined;
  if (python !== undefined) {
    pools.push(pool("wsgi", { wsgi: "starts", python }), pool("forked", { wsgi: "starts", python, preload: true }));
    pools.push(pool("fapws", { fapws: "./start.py", python }));
  }
  if (asyncPython !== undefined) pools.push(pool("asgi", { asgi: "starts_async:app", python: asyncPython }));
  return { files, pools: Object.fromEntries(pools) as Record<string, object> };
}
