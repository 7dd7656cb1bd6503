/** Pools in tcp and direct mode, as a fleet: programs with any protocol, and instances that share an address. */
import net from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { Project, RUNTIMES } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { freePort } from "./support/ports.js";
import { needs, signal } from "./support/processes.js";
import { RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const PATIENT = { limits: { upstreamConnectTimeoutMs: 60_000 } };

const ECHO = `import net from "node:net";
const { PORT, PACELINE_INSTANCE } = process.env;
net.createServer((socket) => {
  socket.write(PACELINE_INSTANCE + "#" + process.pid + "\\n");
  socket.on("error", () => {}).pipe(socket);
}).listen(Number(PORT), "127.0.0.1");
`;

/** Connects, and waits for the first line, which says which process responds. */
async function greet(port: number) {
  const socket = net.connect(port, "127.0.0.1");
  let received = "";
  socket.on("error", () => {});
  socket.on("data", (bytes) => {
    received += bytes;
  });
  onTestFinished(() => void socket.destroy());
  await waitFor("a greeting", () => {
    if (socket.closed) throw new Error("the connection was closed without a greeting");
    return received.includes("\n");
  });
  const name = received.trim();
  const echoes = async (text: string) => {
    socket.write(text);
    await waitFor("an echo", () => received.endsWith(text));
  };
  const closed = () => waitFor("the end of a connection", () => socket.closed);
  return { name, echoes, closed, end: () => socket.destroy() };
}

test.each(RUNTIMES)("a program in tcp mode on %s: turns, counts, reloads and restarts", async (runtime) => {
  const port = await freePort();
  const db = { command: ["node", "echo.mjs"], mode: "tcp", bind: `${port}`, instances: 2, minReadyMs: 0 };
  const project = await Project.make({
    runtime,
    app: "export default { fetch: () => new Response('ok') };",
    files: { "echo.mjs": ECHO },
    // A busy machine may take longer than the default to start a process.
    config: { pools: { web: { app: "./app.js", instances: 1 }, db }, balancer: PATIENT },
  });
  await project.start();
  const clients = [await greet(port), await greet(port)];
  const former = clients.map(({ name }) => name);
  expect(former.map((name) => name.slice(0, 4)).sort()).toEqual(["db.1", "db.2"]);
  const { listen } = await project.statusWhere("the connections", ({ pools }) => {
    const counts = pools.find(({ name }) => name === "db")?.instances.map(({ inFlight }) => inFlight);
    return `${counts}` === "1,1";
  });
  expect(listen).toContain(`tcp://127.0.0.1:${port}`);

  // Old connections continue in their processes, and new ones reach the new processes.
  const reloading = project.reload("db");
  await waitFor("a new process", async () => {
    const client = await greet(port);
    client.end();
    return !former.includes(client.name);
  });
  for (const client of clients) await client.echoes("still here");
  for (const client of clients) client.end();
  expect((await reloading).code).toBe(0);

  // A client that connects while nothing listens waits for the restart.
  await project.scale("db", 1);
  const alone = await greet(port);
  signal(Number(alone.name.split("#")[1]), "SIGKILL");
  await alone.closed();
  const next = await greet(port);
  expect(next.name).toMatch(/^db\.1#/);
  expect(next.name).not.toBe(alone.name);
});

const WHO = `export default {
  fetch: () => new Response("ok", { headers: { "x-instance": process.env.PACELINE_INSTANCE } }),
};`;

test.each(RUNTIMES)(
  "instances in direct mode on %s share the address, also in a reload and after a crash",
  async (runtime) => {
    const project = await Project.make({ runtime, app: WHO, config: { mode: "direct", instances: 3, minReadyMs: 0 } });
    const started = await project.startDetached();
    if (runtime === "node" && started.code === 2) {
      expect(started.output).toContain('mode: "direct" needs Bun, or Node from 22.12 on');
      return;
    }
    expect(started.output).toContain(`http://127.0.0.1:${project.port}`);
    const { balancers } = await project.status();
    expect(balancers).toEqual([]);
    const load = project.load({ mode: "connect-anew", clients: 8, delayMs: 60, expectBody: "ok" });
    const kept = project.load({ mode: "keep-alive", clients: 4, delayMs: 60, expectBody: "ok" });
    await load.until("all instances", ({ byInstance }) => Object.keys(byInstance).length === 3);
    expect((await project.reload()).code).toBe(0);
    await load.moreConnections(200);
    expect(failures(await load.stop())).toEqual(NO_FAILURES);
    expect(failures(await kept.stop())).toEqual(NO_FAILURES);

    const counted = async () => {
      const status = await project.status();
      return status.requestsTotal > 0 && status;
    };
    const { pools, requestsTotal } = await waitFor("the first counts", counted);
    expect(requestsTotal).toBe(pools[0]?.requestsTotal);
    signal(pools[0]?.instances[0]?.pid as number, "SIGKILL");
    const after = project.load({ mode: "connect-anew", clients: 4, delayMs: 60, expectBody: "ok" });
    await after.until("all instances again", ({ byInstance }) => Object.keys(byInstance).length === 3);
    await after.stop();
  },
);

test("a stop refuses clients of all modes first, and a pool in tcp mode has its own time for what lasts", async () => {
  const [shared, port] = [await freePort(), await freePort()];
  const direct = { app: "./app.js", mode: "direct", bind: `127.0.0.1:${shared}`, instances: 1 };
  const db = { command: ["node", "echo.mjs"], mode: "tcp", bind: `${port}`, instances: 1, drainTimeoutMs: 10_000 };
  const config = { pools: { direct, db }, listen: undefined, balancer: { ...PATIENT, drainTimeoutMs: 600_000 } };
  const project = await Project.make({ runtime: "bun", app: WHO, files: { "echo.mjs": ECHO }, config });
  await project.start();
  const client = await greet(port);
  const stopping = project.stop();
  const refuses = async (name: string, at: number) => {
    const isRefused = () =>
      new Promise<boolean>((resolve) => {
        const socket = net.connect(at, "127.0.0.1");
        socket.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code === "ECONNREFUSED"));
        socket.once("connect", () => {
          socket.resetAndDestroy();
          resolve(false);
        });
      });
    await waitFor(`${name} to refuse clients`, isRefused);
  };
  await Promise.all([refuses("direct", shared), refuses("db", port)]);
  await client.echoes("it lasts");
  await client.closed();
  expect((await stopping).code).toBe(0);
});

const WSGI = `import os, time
def part():
    yield b"part"
    while not os.path.exists("go"):
        time.sleep(0.01)
    raise RuntimeError("the rest is missing")
def app(environ, start_response):
    if environ["PATH_INFO"] == "/part":
        start_response("200 OK", [])
        return part()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Instance", os.environ["PACELINE_INSTANCE"])])
    names = ("REMOTE_ADDR", "HTTP_X_FORWARDED_FOR", "wsgi.url_scheme")
    return ["|".join(str(environ.get(name)) for name in names).encode()]
`;

test("a WSGI app in direct mode: its clients say nothing of themselves, a reload loses none, no part looks whole", async (context) => {
  if (findPython() === undefined) context.skip("python3 is not installed");
  const project = await Project.make({
    runtime: "bun",
    app: "",
    files: { "site.py": WSGI },
    config: { pools: { web: { wsgi: "site.py:app", mode: "direct", instances: 3, threads: 2 } } },
  });
  await project.start();
  const client = await RawConnection.open(project.port);
  const forged = "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n";
  for (let n = 0; n < 2; n++) {
    client.write(`GET / HTTP/1.1\r\nHost: a\r\n${forged}\r\n`);
    await client.until(new RegExp(`(HTTP/1.1 200[^]*127\\.0\\.0\\.1\\|None\\|http){${n + 1}}$`));
  }
  expect(client.received).not.toContain("paceline-working");
  const part = await RawConnection.open(project.port);
  part.write("GET /part HTTP/1.0\r\n\r\n");
  await part.until(/part$/);
  project.write("go", "");
  expect(await part.end()).toBe("reset");
  const expectBody = "127.0.0.1|None|http";
  const load = project.load({ mode: "connect-anew", clients: 6, delayMs: 60, expectBody });
  const kept = project.load({ mode: "keep-alive", clients: 3, delayMs: 60, expectBody });
  await load.until("all instances", ({ byInstance }) => Object.keys(byInstance).length === 3);
  expect((await project.reload()).code).toBe(0);
  expect(failures(await load.stop())).toEqual(NO_FAILURES);
  expect(failures(await kept.stop())).toEqual(NO_FAILURES);
  expect(await client.end()).toBe("closed");
});

test("Redis behind tcp mode: its protocol passes, and a client waits for a restart", async (context) => {
  needs(context, "redis-server");
  const port = await freePort();
  const command = ["redis-server", "--port", "{port}", "--bind", "{host}", "--save", "", "--appendonly", "no"];
  const cache = {
    command,
    mode: "tcp",
    bind: `${port}`,
    instances: 1,
    healthIntervalMs: 50,
    healthTimeoutMs: 60_000,
    drainTimeoutMs: 50,
  };
  const project = await Project.make({
    runtime: "bun",
    app: "",
    config: { pools: { cache }, balancer: PATIENT, listen: undefined },
  });
  await project.start();
  const one = await RawConnection.open(port);
  one.write("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
  await one.until(/^\+OK\r\n\$1\r\nb\r\n$/);
  one.write(`*2\r\n$4\r\nECHO\r\n$100003\r\n${"x".repeat(100_000)}end\r\n`);
  await one.until(/end\r\n$/);
  expect((await project.restart("cache.1")).code).toBe(0);
  const other = await RawConnection.open(port);
  other.write("*1\r\n$4\r\nPING\r\n");
  await other.until(/^\+PONG\r\n$/);
});
