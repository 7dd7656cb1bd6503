/** Pools of WSGI apps in practice: idle instances get the requests, prefixes, reloads, and error messages. */
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { Project } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { pythonFleets } from "./support/python.js";
import { differentBodies, get, RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const python = findPython();

/** `/sleeps?<name>` first creates the file `<name>.begun`, and ends when `<name>.go` exists; every response names the pid. */
const APP = `
import os
import time

count = 0

def wait_for(name):
    open(name + ".begun", "w").close()
    while not os.path.exists(name + ".go"):
        time.sleep(0.02)

class Later:
    def __init__(self, blocks, name):
        self.blocks = blocks
        self.name = name
    def __iter__(self):
        return iter(self.blocks)
    def close(self):
        wait_for(self.name)

def later(path, name, start_response):
    body = f"|{os.getpid()}".encode()
    length = [("Content-Length", str(len(body)))]
    start_response("200 OK", [] if path.endswith("/chunked") else length)
    if path.endswith("/generator"):
        def blocks():
            yield body
            wait_for(name)
        return blocks()
    return Later([body], name)

def application(environ, start_response):
    global count
    name = environ["QUERY_STRING"]
    if environ["PATH_INFO"] == "/sleeps":
        open(name + ".begun", "w").close()
        while not os.path.exists(name + ".go"):
            time.sleep(0.02)
    elif environ["PATH_INFO"] == "/order":
        with open("order.txt", "a") as file:
            file.write(name + "\\n")
    elif environ["PATH_INFO"].lstrip("/").startswith("later/"):
        return later(environ["PATH_INFO"], name, start_response)
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
    return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}|{os.getpid()}".encode()]
`;

const fleet = pythonFleets({
  python,
  missing: "Python 3.9 or newer is not installed",
  pool: { wsgi: "site_app", instances: 4 },
  files: { "site_app.py": APP },
});

/** Requests that each occupy an instance. */
class Sleepers {
  readonly names: string[] = [];
  readonly connections: RawConnection[] = [];

  constructor(
    private readonly project: Project,
    private readonly prefix = "",
  ) {}

  /** Starts that many, and waits until each is in its view. */
  async begin(count: number): Promise<void> {
    for (let n = 0; n < count; n++) {
      const name = randomUUID();
      const connection = await RawConnection.open(this.project.port);
      connection.write(`GET ${this.prefix}/sleeps?${name} HTTP/1.0\r\nHost: a\r\n\r\n`);
      this.names.push(name);
      this.connections.push(connection);
      const begun = join(this.project.folder, `${name}.begun`);
      await waitFor("a sleeper to be in its view", () => existsSync(begun));
    }
  }

  wake(): void {
    for (const name of this.names) writeFileSync(join(this.project.folder, `${name}.go`), "");
  }

  /** The pids of their instances. */
  async pids(): Promise<string[]> {
    return await Promise.all(
      this.connections.map(async (connection) => {
        await connection.end();
        return connection.received.split("|").at(-1) as string;
      }),
    );
  }
}

/**
 * Once: the instances are Python, and what a balancer does with them is the same code above both transports, which the tests of the
 * balancer have.
 */
describe("WSGI behind a balancer", () => {
  const runtime = "bun";

  test("is started from the command line: a file beside its modules, and a FAPWS script with arguments", async (context) => {
    if (python === undefined) context.skip("Python 3.9 or newer is not installed");
    const files = {
      "conf/site.wsgi": `from helper import text
def application(environ, start_response):
    start_response("200 OK", [])
    return [text]
`,
      "conf/helper.py": 'text = b"from beside"\n',
      "start.py": `import sys
import fapws._evwsgi as evwsgi
from fapws import base
evwsgi.start("0.0.0.0", "8080")
evwsgi.set_base_module(base)
evwsgi.wsgi_cb(("/", lambda environ, start_response: [" ".join(sys.argv[1:])]))
evwsgi.run()
`,
    };
    const project = await Project.make({ runtime, app: "", files });
    const options = ["-i", "1", "--python", python as string, "--listen", `127.0.0.1:${project.port}`];
    for (const [named, body] of [
      [["--wsgi", "./conf/site.wsgi"], "from beside"],
      [["--fapws", "./start.py", "--", "--port", "80"], "--port 80"],
    ] as const) {
      const started = await project.startDetached([...options, ...named]);
      expect(`${started.code} ${started.output}`).toMatch(/^0 /);
      expect((await get(project.port)).body).toBe(body);
      expect((await project.stop()).code).toBe(0);
    }
  });

  test("instances in a view get no requests, nor if their clients have given up; a reload brings new code, and loses no request", async (context) => {
    const project = await fleet(context, runtime, { instances: 3 });
    const sleepers = new Sleepers(project);
    await sleepers.begin(2);
    const servedBy = new Set<string>();
    const client = async (requests: number) => {
      const connection = await RawConnection.open(project.port);
      for (let n = 0; n < requests; n++) {
        connection.received = "";
        connection.write("GET /fast HTTP/1.1\r\nHost: a\r\n\r\n");
        // If one went to a sleeping instance, this would fail: they are woken only after the last has arrived.
        await whole(connection);
        servedBy.add(connection.received.split("|").at(-1) as string);
      }
      connection.close();
    };
    await Promise.all(Array.from({ length: 20 }, () => client(25)));
    expect(servedBy.size).toBe(1);
    sleepers.wake();
    const asleep = await sleepers.pids();
    expect(new Set(asleep).size).toBe(2);
    expect(asleep).not.toContain([...servedBy][0]);
    // All of them get their turns again.
    expect(await differentBodies(project.port, 3, "/fast")).toHaveLength(3);

    // A client that gives up leaves its instance busy until its view has ended.
    const left = new Sleepers(project);
    await left.begin(1);
    left.connections[0]?.close();
    await project.statusWhere("the client to be gone", ({ balancers }) => balancers[0]?.inFlight === 0);
    const others = new Set<string>();
    for (let n = 0; n < 20; n++) others.add((await get(project.port)).body);
    expect(others.size).toBeLessThan(3);
    left.wake();
    expect(await differentBodies(project.port, 3)).toHaveLength(3);

    const load = project.load({ mode: "keep-alive", clients: 4 });
    await load.until("some requests", ({ ok }) => ok > 50);
    project.write("site_app.py", APP.replaceAll("{os.getpid()}", "new"));
    const reload = await project.reload();
    expect(reload.code, reload.output).toBe(0);
    expect(failures(await load.stop())).toEqual(NO_FAILURES);
    expect((await get(project.port)).body).toBe("|/|new");
    expect((await project.stop()).code).toBe(0);
    await project.nothingLeft();
  });

  test("what goes on after its response holds its instance and no client", async (context) => {
    if (python === undefined) context.skip("Python 3.9 or newer is not installed");
    const start = `from fapws import _evwsgi, base
from site_app import application
_evwsgi.start("0.0.0.0", "8080")
_evwsgi.set_base_module(base)
_evwsgi.wsgi_cb(("/", application))
_evwsgi.run()
`;
    const pools = {
      wsgi: { wsgi: "site_app", python, instances: 2, routes: ["/wsgi/"], stripPrefix: true },
      threads: { wsgi: "site_app", python, threads: 2, instances: 1, routes: ["/threads/"], stripPrefix: true },
      fapws: { fapws: "./start.py", python, instances: 2, routes: ["/fapws/"], stripPrefix: true },
    };
    const files = { "site_app.py": APP, "start.py": start };
    const project = await Project.make({ runtime, app: "", config: { pools, hangAfterMs: 0 }, files });
    await project.start();
    for (const kind of ["wsgi", "threads", "fapws"])
      for (const shape of ["close", "chunked", "generator", "close/HEAD"]) {
        const method = shape.endsWith("/HEAD") ? "HEAD" : "GET";
        const name = randomUUID();
        const path = `/${kind}/later/${shape.replace("/HEAD", "")}`;
        const client = await RawConnection.open(project.port);
        client.write(`${method} ${path}?${name} HTTP/1.1\r\nHost: a\r\n\r\n`);
        // It continues only after the client has its complete response.
        await client.until(method === "HEAD" ? /\r\n\r\n$/ : /\r\n\r\n(\d\r\n)?\|\d+(\r\n0\r\n\r\n)?$/);
        const own = async () => (await get(project.port, `/${kind}/`)).body;
        await waitFor("it to go on", () => existsSync(join(project.folder, `${name}.begun`)));
        const servedBy = new Set<string>();
        for (let n = 0; n < 4; n++) servedBy.add(await own());
        expect([...servedBy], `${kind} ${shape}`).toHaveLength(1);
        expect(client.received, `${kind} ${shape}`).not.toContain("paceline-working");
        writeFileSync(join(project.folder, `${name}.go`), "");
        if (kind !== "threads") await waitFor("both to answer", async () => servedBy.add(await own()).size === 2);
        client.close();
      }
    await project.statusWhere("none to be at work or replaced", ({ pools }) =>
      pools.every(({ instances }) => instances.every(({ inFlight, attempt }) => inFlight === 0 && attempt === 1)),
    );
  });
});

/** The Python parts do not depend on the balancer's runtime. */
describe("WSGI", () => {
  const runtime = "bun";

  test("while all are in a view, requests wait in their order; over the queue's bound they get 503; SCRIPT_NAME and PATH_INFO make up the path", async (context) => {
    const site = { wsgi: "site_app", python, instances: 1 };
    const pools = {
      one: { ...site, routes: ["/one/"], stripPrefix: true },
      three: { ...site, threads: 3, routes: ["/three/"], stripPrefix: true },
      whole: { ...site, routes: ["/admin/", "admin.example.com/"] },
      stripped: { ...site, routes: ["/stripped/"], stripPrefix: true },
      mounted: { ...site, wsgi: { "/": "site_app", "/m/deep/": "site_app:application" }, routes: ["/m/"] },
    };
    const limits = { maxQueue: 5, upstreamConnectTimeoutMs: 60_000 };
    const project = await fleet(context, runtime, {}, { pools, balancer: { limits } });
    for (const [pool, threads] of [
      ["one", 1],
      ["three", 3],
    ] as const) {
      const sleepers = new Sleepers(project, `/${pool}`);
      await sleepers.begin(threads);
      const waiting: RawConnection[] = [];
      for (let n = 0; n < 5; n++) {
        const connection = await RawConnection.open(project.port);
        connection.write(`GET /${pool}/order?${n} HTTP/1.0\r\nHost: a\r\n\r\n`);
        waiting.push(connection);
        await project.statusWhere("it to wait", ({ balancers }) => balancers[0]?.inFlight === threads + n + 1);
      }
      const refused = await get(project.port, `/${pool}/order?refused`);
      expect(refused.status).toBe(503);
      expect(refused.headers.get("retry-after")).toMatch(/^\d+$/);
      if (threads > 1) {
        // With a thread free again, the others run one by one.
        writeFileSync(join(project.folder, `${sleepers.names[0]}.go`), "");
        await Promise.all(waiting.map((connection) => connection.end()));
      }
      sleepers.wake();
      for (const connection of waiting) await connection.end();
      await sleepers.pids();
      expect(waiting.every(({ received }) => received.startsWith("HTTP/1.1 200 "))).toBe(true);
      const order = join(project.folder, "order.txt");
      expect(readFileSync(order, "utf8")).toBe("0\n1\n2\n3\n4\n");
      rmSync(order);
    }

    const at = async (path: string) => (await get(project.port, path)).body.split("|").slice(0, 2);
    expect(await at("/admin/login/")).toEqual(["", "/admin/login/"]);
    expect(await at("/stripped/login/")).toEqual(["/stripped", "/login/"]);
    expect(await at("/stripped/")).toEqual(["/stripped", "/"]);
    expect(await at("/m/x")).toEqual(["", "/m/x"]);
    expect(await at("/m/deep/x")).toEqual(["/m/deep", "/x"]);
    const { pools: status } = await project.status();
    expect(status.map(({ kind }) => kind)).toEqual(["wsgi", "wsgi", "wsgi", "wsgi", "wsgi"]);
    expect(status[0]?.instances[0]?.runtime).toMatch(/^python 3\.\d+\.\d+$/);
  });
});

/** The one expected response, to its last chunk. */
function whole(connection: RawConnection): Promise<unknown> {
  return connection.until(/\r\n\r\n[\s\S]*\|\d+$/);
}

describe("mistakes", () => {
  const config = (pool: object) => ({ config: { pools: { web: pool } } });
  const make = (pool: object) =>
    Project.make({ runtime: "bun", app: "", ...config(pool), files: { "site_app.py": APP } });

  test("check names the interpreter that is not there, not one, or too old, and names that are no callable", async () => {
    const project = await make({});
    project.write("old", "#!/bin/sh\necho 3.8\n");
    project.write("broken", "#!/bin/sh\necho 'cannot run here' >&2; exit 1\n");
    const { chmodSync } = await import("node:fs");
    for (const name of ["old", "broken"]) chmodSync(join(project.folder, name), 0o755);
    for (const [pool, message] of [
      [
        { wsgi: "site_app", python: "no-such-python" },
        /pools\.web\.python: there is no program "no-such-python" on PATH/,
      ],
      [{ wsgi: "site_app", python: ".venv/bin/python" }, /python: there is no such file: \S+\/\.venv\/bin\/python/],
      [{ wsgi: "site_app", python: "./old" }, /old is Python 3\.8; 3\.9 or newer is needed/],
      [{ wsgi: "site_app", python: "./broken" }, /broken is not a working Python interpreter: cannot run here/],
      [{ wsgi: "site-app" }, /pools\.web\.wsgi: must be a module or a file and its callable/],
      [{ wsgi: {} }, /must name at least one callable/],
      [{ wsgi: { "api/": "site_app" } }, /a prefix begins with "\/"/],
      [{ wsgi: { "/a": "site_app", "/a/": "site_app" } }, /is the same prefix as "\/a"/],
    ] as const) {
      project.writeConfig({ pools: { web: pool } });
      const checked = await project.cli(["check"]);
      expect(checked.output).toMatch(message);
      expect(checked.code).toBe(2);
    }
  });

  test("an app that does not load: start says why, and exits 1", async (context) => {
    if (python === undefined) context.skip("Python 3.9 or newer is not installed");
    const project = await make({ wsgi: "broken_app", python, instances: 1 });
    project.write("broken_app.py", "import no_such_dependency\n");
    const started = await project.startDetached();
    expect(started.code).toBe(1);
    expect(started.output).toContain(
      "broken_app failed to load: ModuleNotFoundError: No module named 'no_such_dependency'",
    );
    expect(started.output).toContain('broken_app.py", line 1');
    await project.nothingLeft();
  });
});
