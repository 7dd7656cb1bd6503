/** An instance that serves an ASGI app with the user's own server: its reports, its drain, and its start errors. */
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test as sequential, type TestContext } from "vitest";
import { WebSocket } from "ws";
import { findPython } from "./python.js";
import { bodyOf, PythonInstance } from "./python-instance.js";

/** Concurrent, because each has a separate instance and mostly waits. */
const test = sequential.concurrent;

const FAULTS_OF_THE_APP: [string, object, RegExp][] = [
  ["asgi_app:says_two_lines", {}, /^asgi_app:says_two_lines failed to start: no database at db\.internal$/],
  ["wsgi_app:application", {}, /is a WSGI app.*`wsgi`/],
];

const SERVERS = (["uvicorn", "hypercorn"] as const).map((server) => ({ server, python: findPython(server) }));

describe.concurrent.each(SERVERS)("ASGI in $server", ({ server, python }) => {
  async function spawn(context: TestContext, app = "asgi_app:app", spec: object = {}): Promise<PythonInstance> {
    if (python === undefined) context.skip(`${server} is not installed for a Python here`);
    return await PythonInstance.spawn(context, { asgi: { app, server, options: {} }, ...spec }, {}, python);
  }

  async function start(context: TestContext, spec: object = {}): Promise<PythonInstance> {
    const instance = await spawn(context, "asgi_app:app", spec);
    await instance.supervisor.hears("ready");
    return instance;
  }

  test("is ready when its lifespan has started, on a socket of mode 0600; reports the client, counts, lets no child serve, obeys SIGTERM", async (context) => {
    const instance = await start(context);
    const { supervisor, program } = instance;
    await program.line(/^# lifespan\.startup$/);
    expect(statSync(supervisor.target.path).mode & 0o777).toBe(0o600);

    const fields = "X-Forwarded-For: 9.9.9.9, 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /sh%20op\r\n";
    const seen = JSON.parse(bodyOf(await instance.get("/scope", fields)));
    expect(seen).toMatchObject({ client: ["9.9.9.9", 0], scheme: "https", root_path: "/sh op" });
    expect(["/scope", "/sh op/scope"]).toContain(seen.path);

    expect(await instance.get("/throws")).toMatch(/^HTTP\/1\.1 500 /);
    expect(await instance.get("/fails")).toMatch(/^HTTP\/1\.1 503 /);
    expect(bodyOf(await instance.get("/forks"))).toBe("the child exited with 1");
    // An app that waits until its client disconnects is notified.
    const left = instance.wire().send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    await left.gets(/data: x/);
    await supervisor.hears("stats", (it) => it.requestsTotal === 4 && it.errorsTotal === 2 && it.inFlight === 1);
    left.destroy();
    await supervisor.hears("stats", (it) => it.requestsTotal === 5 && it.errorsTotal === 2 && it.inFlight === 0);
    await program.line(/^Traceback/);
    expect(program.output.filter((line) => line.startsWith("Traceback"))).toHaveLength(1);

    const go = join(supervisor.directory, "go");
    expect(bodyOf(await instance.get(`/background?${go}`, "", "POST"))).toBe("accepted");
    program.kill("SIGINT");
    program.kill("SIGTERM");
    writeFileSync(go, "");
    expect(await program.exited).toEqual({ code: 0, signal: null });
    expect(program.output.slice(-2)).toEqual(["# background done", "# lifespan.shutdown"]);
  });

  test("drains: background work, WebSockets and event streams end in good order, then its lifespan", async (context) => {
    const instance = await start(context);
    const { supervisor, program } = instance;
    const go = join(supervisor.directory, "go");
    expect(bodyOf(await instance.get(`/background?${go}`, "", "POST"))).toBe("accepted");
    const socket = new WebSocket(`ws+unix:${supervisor.target.path}:/ws`);
    const closed = new Promise((resolve, reject) => {
      socket.on("close", resolve);
      socket.on("error", reject);
    });
    const heard = new Promise((resolve) => socket.on("message", (data) => resolve(String(data))));
    socket.on("open", () => socket.send("hello"));
    expect(await heard).toBe("hello");
    const events = instance.wire().send("GET /events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    await events.gets(/data: x/);
    supervisor.say({ type: "drain", deadlineMs: 20_000 });
    expect(await events.closed()).toMatch(/\r\n0\r\n\r\n$/);
    expect(await closed).toBe(1012);
    // It serves until no balancer has a connection.
    expect(bodyOf(await instance.get("/hello"))).toBe("hello");
    supervisor.say({ type: "released" });
    writeFileSync(go, "");
    expect(await program.exited).toEqual({ code: 0, signal: null });
    const lines = program.output.filter((line) => line.startsWith("# ") && !line.includes("startup"));
    // hypercorn reports 1000 to the app, whatever was sent.
    const code = server === "uvicorn" ? 1012 : 1000;
    expect(lines).toEqual([`# disconnected with ${code}`, "# background done", "# lifespan.shutdown"]);
    expect(instance.output).not.toContain("Traceback");
    expect(supervisor.heard.at(-1)).toMatchObject({ type: "stats", inFlight: 0, requestsTotal: 4 });
  });

  test("at the drain's deadline the remaining requests are cut off, and the lifespan still ends", async (context) => {
    const instance = await start(context);
    const { supervisor, program } = instance;
    const endless = instance.wire().send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    await program.line(/^# endless began/);
    supervisor.say({ type: "drain", deadlineMs: 300 });
    expect(await program.exited).toEqual({ code: 0, signal: null });
    expect(await endless.closed()).not.toMatch(/\r\n0\r\n\r\n$/);
    expect(program.output).toContain("stopped at the deadline with 1 requests in flight");
    expect(program.output).toContain("# lifespan.shutdown");
  });

  test("sends signs of life and reports only when its event loop has turned; names what blocks it", async (context) => {
    const instance = await start(context);
    const { supervisor, program } = instance;
    supervisor.say({ type: "describeOverdue" });
    supervisor.say({ type: "ping" });
    await supervisor.hears("pong");
    expect(instance.output).not.toContain("Fatal");
    const waits = instance.wire().send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    await waits.gets(/\.\r\n/);
    const go = join(supervisor.directory, "go");
    const blocked = instance.wire().send(`GET /blocks?${go} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    await program.line(/^# blocks/);
    // Earlier reports have been received by then; the thread of the control channel responds by itself.
    supervisor.say({ type: "probe", id: 6, path: "/", host: "a" });
    await supervisor.hears("probed");
    const before = supervisor.heard.length;
    supervisor.say({ type: "ping" });
    // So it has read the ping.
    supervisor.say({ type: "probe", id: 7, path: "/", host: "a" });
    await supervisor.hears("probed", ({ id }) => id === 7);
    expect(supervisor.heard.slice(before).map(({ type }) => type)).toEqual(["probed"]);
    supervisor.say({ type: "describeOverdue" });
    await program.line(/^Fatal Python error: GET \/blocks blocks the event loop$/);
    await program.line(/ in _blocks$/);
    writeFileSync(go, "");
    expect(await blocked.closed()).toMatch(/unblocked/);
    await supervisor.hears("pong", (it) => supervisor.heard.indexOf(it) > before);
  });

  test("names the request that crashes its process", async (context) => {
    const instance = await start(context);
    const { program } = instance;
    const response = await instance.get("/exits");
    // uvicorn 0.17 treats it as an error of the app.
    const isCaught = server === "uvicorn" && response.startsWith("HTTP/1.1 500 ");
    if (isCaught) await instance.get("/exits_at_once");
    expect((await program.exited).code).not.toBe(0);
    expect(program.output.filter((line) => line.includes("the app ended this process with"))).toEqual([
      isCaught
        ? expect.stringMatching(/^GET \/exits_at_once: .* os\._exit\(7\) in _exits_at_once \(asgi_app\.py:\d+\)$/)
        : expect.stringMatching(/^GET \/exits: .* sys\.exit\(3\)$/),
    ]);
  });

  test.for(["fastapi", "django", "quart"])("%s finds its routes behind any prefix", async (framework, context) => {
    const python = findPython(server, framework);
    if (python === undefined) context.skip(`${framework} and ${server} are not installed for a Python here`);
    const asgi = { app: `asgi_${framework}:app`, server, options: {} };
    const instance = await PythonInstance.spawn(context, { asgi }, {}, python);
    await instance.supervisor.hears("ready");
    for (const prefix of ["/a", "/acc", "/other", "/acc/a", "/sh%20op"]) {
      const response = await instance.get("/acc", `X-Forwarded-Prefix: ${prefix}\r\n`);
      const root = decodeURIComponent(prefix);
      expect(bodyOf(response), `${framework} ${prefix} ${response}`).toBe(`${root} acc`);
    }
    expect(bodyOf(await instance.get("/acc"))).toBe(" acc");
  });

  test("reports why it cannot start, and exits with 1", async (context) => {
    const faults: [string, object, RegExp][] = [
      ["asgi_app:fails_to_start", {}, /^asgi_app:fails_to_start failed to start: .*no database/],
      // The server is not involved.
      ...(server === "uvicorn" ? FAULTS_OF_THE_APP : []),
      ["asgi_app:raises_in_lifespan", {}, /failed to start: RuntimeError: no database at db\.internal$/],
      ["asgi_app:exits_in_lifespan", {}, /failed to start: SystemExit: no database$/],
      [
        "asgi_app:app",
        server === "uvicorn" ? { loop: "nope" } : { loglevel: "nope" },
        /nope.* \(asgiOptions: lo\w+\)$/i,
      ],
      ["asgi_app:app", { nonsense: 1 }, /^asgiOptions: \w+.* has no option 'nonsense'$/],
    ];
    for (const [app, options, message] of faults) {
      const instance = await spawn(context, app, { asgi: { app, server, options } });
      const fault = await instance.supervisor.hears("fault");
      expect(fault.message).toMatch(message);
      expect(await instance.program.exited).toEqual({ code: 1, signal: null });
      expect(instance.output).toContain(`paceline: ${fault.message}`);
    }
    const app = "asgi_app:waits_in_lifespan";
    const waits = await spawn(context, app, { asgi: { app, server, options: {} }, readyTimeoutMs: 100 });
    const isOfLifespan = (it: { [name: string]: unknown }) => `${it.message}`.startsWith("the startup of its lifespan");
    expect((await waits.supervisor.hears("fault", isOfLifespan)).message).toMatch(
      /has not completed: it waits in waits_in_lifespan \(asgi_app\.py:\d+\)$/,
    );
    // An app that raises an exception before any request has no lifespan.
    const without = await spawn(context, "asgi_app:without_lifespan");
    await without.supervisor.hears("ready");
    expect(bodyOf(await without.get("/hello"))).toBe("hello");
  });
});
