/** A WSGI instance under a supervisor: its reports, its drain, its start errors, its timers and jobs. */
import { existsSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { expect, test as sequential } from "vitest";
import { inTime } from "../../../test/support/wait.js";
import { eventually } from "./harness.js";
import { bodyOf, PythonInstance } from "./python-instance.js";

/** Concurrent, because each has a separate instance and mostly waits. */
const test = sequential.concurrent;

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

test("sends hello, listens with mode 0600, then reports ready; shows the app none of the control channel's secrets", async (context) => {
  const instance = await PythonInstance.start(context);
  const { supervisor } = instance;
  expect(supervisor.heard.map((message) => message.type).slice(0, 2)).toEqual(["hello", "ready"]);
  expect(supervisor.heard[0]).toMatchObject({
    channelVersion: 1,
    role: "instance",
    name: "web.1",
    token: "secret",
    pid: instance.program.child.pid,
    runtime: expect.stringMatching(/^python 3\.\d+\.\d+$/),
    socket: supervisor.target.path,
  });
  expect(statSync(supervisor.target.path).mode & 0o777).toBe(0o600);
  const variables = bodyOf(await instance.get("/variables")).split("\n");
  expect(variables).toEqual(expect.arrayContaining(["PACELINE_INSTANCE", "PACELINE_INDEX", "PACELINE_GENERATION"]));
  for (const name of ["PACELINE_CHANNEL", "PACELINE_TOKEN", "PACELINE_SPEC", "PACELINE_ATTEMPT"]) {
    expect(variables).not.toContain(name);
  }
});

test("counts exactly: all requests, errors, latencies, and what is in flight", async (context) => {
  const instance = await PythonInstance.start(context);
  const { supervisor } = instance;
  for (let n = 0; n < 50; n++) await instance.get("/");
  for (const path of ["/throws", "/throws-later", "/changes-its-mind", "/splits"]) await instance.get(path);
  const go = join(supervisor.directory, "go");
  const waiting = instance.wire().send(`GET /waits?${go} HTTP/1.1\r\nHost: a\r\n\r\n`);
  await supervisor.hears("stats", (it) => it.inFlight === 1 && it.requestsTotal === 54 && it.errorsTotal === 4);
  writeFileSync(go, "");
  await waiting.gets(/waited$/);
  await supervisor.hears("stats", (it) => it.inFlight === 0 && it.requestsTotal === 55);
  const stats = supervisor.heard.filter((it) => it.type === "stats");
  const counts = stats.flatMap((it) => (it.latency as number[]).filter((_, index) => index % 2 === 1));
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(55);
});

test("stops reporting when nothing happens, and reports again with the next request", async (context) => {
  const instance = await PythonInstance.start(context);
  const { supervisor } = instance;
  await instance.get("/");
  await supervisor.hears("stats", (it) => it.requestsTotal === 1);
  // Two equal reports in succession: after the second one nothing is new.
  await eventually(
    "a second one",
    () => supervisor.heard.filter((it) => it.requestsTotal === 1).length > 1 || undefined,
  );
  await instance.get("/");
  await supervisor.hears("stats", (it) => it.requestsTotal === 2);
});

test("drains: responds with Connection: close, continues to accept until it is released, reports, exits with 0", async (context) => {
  const instance = await PythonInstance.start(context);
  const { supervisor, program } = instance;
  const kept = instance.wire().send(GET);
  await kept.gets(/hello$/);
  const go = join(supervisor.directory, "go");
  const slow = instance.wire().send(`GET /waits?${go} HTTP/1.1\r\nHost: a\r\n\r\n`);
  await program.line(/^# waits began/);
  supervisor.say({ type: "drain", deadlineMs: 60_000 });
  // Messages are handled in order, so the drain was handled, too.
  supervisor.say({ type: "ping" });
  await supervisor.hears("pong");
  kept.send(GET);
  writeFileSync(go, "");
  expect(await slow.closed()).toMatch(/waited$/);
  expect(await kept.closed()).toMatch(/hello[\s\S]*\r\nConnection: close\r\n\r\nhello$/);
  expect(await instance.says(GET)).toMatch(/\r\nConnection: close\r\n\r\nhello$/);
  supervisor.say({ type: "released" });
  expect(await program.exited).toEqual({ code: 0, signal: null });
  expect(supervisor.heard.at(-1)).toMatchObject({ type: "stats", inFlight: 0, requestsTotal: 4 });
  expect(existsSync(supervisor.target.path)).toBe(false);
});

test("exits at the drain's deadline, although a view runs, and reports what it cut off", async (context) => {
  const instance = await PythonInstance.start(context);
  const { supervisor, program } = instance;
  const cut = instance.wire().send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n");
  await program.line(/^# waits began/);
  supervisor.say({ type: "drain", deadlineMs: 300 });
  expect(await program.exited).toEqual({ code: 0, signal: null });
  expect(await cut.closed()).toBe("");
  expect(program.output).toContain("stopped at the deadline with 1 requests in flight");
});

test("on SIGTERM finishes the request and does not wait for a release; ignores SIGINT", async (context) => {
  const instance = await PythonInstance.start(context);
  const go = join(instance.supervisor.directory, "go");
  instance.program.kill("SIGINT");
  const slow = instance.wire().send(`GET /waits?${go} HTTP/1.1\r\nHost: a\r\n\r\n`);
  await instance.program.line(/^# waits began/);
  instance.program.kill("SIGTERM");
  writeFileSync(go, "");
  expect(await slow.closed()).toMatch(/waited$/);
  expect(await instance.program.exited).toEqual({ code: 0, signal: null });
});

test("a connection that is made while it exits on SIGTERM is refused or served, never reset", async (context) => {
  const instance = await PythonInstance.start(context);
  const { path } = instance.supervisor.target;
  let served = 0;
  let cut = 0;
  let isEnding = false;
  /** Connects until it is refused. */
  const client = async () => {
    for (let isRefused = false; !isRefused; ) {
      await new Promise<void>((resolve) => {
        let text = "";
        let isConnected = false;
        const socket = connect({ path }, () => {
          isConnected = true;
          socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        });
        socket.on("data", (chunk) => {
          text += chunk;
        });
        socket.on("error", () => {});
        socket.on("close", () => {
          if (!isConnected) isRefused = true;
          else if (text.endsWith("hello")) served++;
          else cut++;
          resolve();
        });
      });
      if (served < 300 || isEnding) continue;
      isEnding = true;
      instance.program.kill("SIGTERM");
    }
  };
  await Promise.all(Array.from({ length: 40 }, client));
  expect(await instance.program.exited).toEqual({ code: 0, signal: null });
  expect([served >= 300, cut]).toEqual([true, 0]);
});

test("continues to serve without a supervisor for the grace period, reconnects to one, and exits without one", async (context) => {
  const orphanGraceMs = 2000;
  const outlive = async () => {
    const startedAt = performance.now();
    const instance = await PythonInstance.spawn(context, { orphanGraceMs });
    await Promise.race([instance.supervisor.hears("ready"), instance.program.exited]);
    await instance.supervisor.vanish();
    const said = await instance.says(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    return { instance, said, tookMs: performance.now() - startedAt };
  };
  const { instance, said } = await inTime(outlive, ({ said, tookMs }) => said === "" && tookMs > orphanGraceMs);
  expect(said).toMatch(/hello$/);
  expect(await instance.program.exited).toEqual({ code: 0, signal: null });
  expect(instance.output).toMatch(/no supervisor came back/);
});

test("reports ready to a new supervisor", async (context) => {
  const { supervisor } = await PythonInstance.start(context);
  await supervisor.vanish();
  await supervisor.listen();
  await supervisor.hears("hello", (it) => it.phase === "ready");
});

test("exits when the supervisor rejects it", async (context) => {
  const instance = await PythonInstance.start(context);
  instance.supervisor.say({ type: "refused", reason: "unknown token" });
  expect(await instance.program.exited).toEqual({ code: 0, signal: null });
  expect(instance.output).toMatch(/refused this process: unknown token/);
});

test("reports why it cannot start, and exits with 1", async (context) => {
  for (const [wsgi, message] of [
    ["nowhere.wsgi:application", /there is no module 'nowhere' on sys\.path/],
    ["wsgi_app:missing", /the module wsgi_app has no missing/],
    ["wsgi_app:not_callable", /is no WSGI callable, but str/],
    ["wsgi_broken:application", /failed to load: RuntimeError: no database/],
    [{ "/": "wsgi_app:application", "/x/": "wsgi_broken:application" }, /no database/],
  ] as const) {
    const instance = await PythonInstance.spawn(context, { wsgi });
    const fault = await instance.supervisor.hears("fault");
    expect(fault.message).toMatch(message);
    expect(await instance.program.exited).toEqual({ code: 1, signal: null });
    expect(instance.output).toContain(`paceline: ${fault.message}`);
    expect(instance.supervisor.heard.some((it) => it.type === "ready")).toBe(false);
    if (`${wsgi}`.includes("broken")) expect(instance.output).toMatch(/wsgi_broken\.py", line 3/);
  }
});

test("a factory is called for the app", async (context) => {
  const instance = await PythonInstance.start(context, { wsgi: "wsgi_app:factory()" });
  expect(await instance.get("/")).toMatch(/hello$/);
});

test("views run on the main thread", async (context) => {
  const instance = await PythonInstance.start(context);
  expect(bodyOf(await instance.get("/threads"))).toMatch(/^True \d$/);
});

const ran = async (instance: PythonInstance): Promise<string[]> => JSON.parse(bodyOf(await instance.get("/ran")));

test("timers run between requests; one that fails or was stopped does not affect the others", async (context) => {
  const instance = await PythonInstance.start(context);
  await instance.get("/timers");
  const isRepeated = async () => (await ran(instance)).filter((name) => name === "every").length > 2;
  await eventually("three runs", async () => (await isRepeated()) || undefined);
  const names = await ran(instance);
  expect(names.filter((name) => name === "after")).toHaveLength(1);
  expect(names).not.toContain("stopped");
  await instance.program.line(/the timer failing failed:/);
  await instance.program.line(/ValueError: a timer that fails/);
});

test("deferred jobs run when the server is idle, in their order; combined ones once; from any thread", async (context) => {
  const instance = await PythonInstance.start(context);
  expect(bodyOf(await instance.get("/defers"))).toBe("[]");
  await eventually("four jobs", async () => (await ran(instance)).length === 4 || undefined);
  expect(await ran(instance)).toEqual(
    ["save {", "save plain", "save plain", "save from a thread"].map((it) => expect.stringContaining(it)),
  );
  await instance.program.line(/the deferred job failing_job failed:/);
});

test("a drain waits for deferred jobs; jobs that its deadline cuts off are reported by name", async (context) => {
  const waiting = await PythonInstance.start(context);
  const go = join(waiting.supervisor.directory, "go");
  await waiting.get(`/defers-for-long?${go}`);
  await waiting.program.line(/^# job began/);
  await waiting.supervisor.hears("stats", (it) => (it.deferred as { jobs: number } | undefined)?.jobs === 2);
  waiting.program.kill("SIGTERM");
  writeFileSync(go, "");
  expect(await waiting.program.exited).toEqual({ code: 0, signal: null });
  expect(waiting.program.output).toContain("# job ended");
  const cut = await PythonInstance.start(context);
  await cut.get("/defers-for-long?/nowhere/at/all");
  await cut.program.line(/^# job began/);
  cut.supervisor.say({ type: "drain", deadlineMs: 300 });
  expect(await cut.program.exited).toEqual({ code: 0, signal: null });
  expect(cut.output).toContain("deferred jobs are lost: 1 queued (save × 1); under way: wait_for_file");
});
