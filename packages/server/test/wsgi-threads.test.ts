/** A WSGI instance with threads: concurrent requests, its drain with several in flight, and the right one in a traceback. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test as sequential } from "vitest";
import { eventually } from "./harness.js";
import { bodyOf, PythonInstance } from "./python-instance.js";

/** Concurrent, because each has a separate instance and mostly waits. */
const test = sequential.concurrent;

const start = (context: Parameters<typeof PythonInstance.start>[0], threads = 3) =>
  PythonInstance.start(context, { threads });

/** Starts requests whose views wait for a file; returns them and the file when all views have started. */
async function begin(instance: PythonInstance, count: number) {
  const go = join(instance.supervisor.directory, "go");
  const request = `GET /waits?${go} HTTP/1.1\r\nHost: a\r\n\r\n`;
  const wires = Array.from({ length: count }, () => instance.wire().send(request));
  // Threads that print at the same time may share a line.
  await eventually("all views", () => instance.output.split("# waits began").length - 1 === count || undefined);
  return { go, wires };
}

test("handles as many requests at once as it has threads, and the next one when one has ended", async (context) => {
  const instance = await start(context);
  expect(bodyOf(await instance.get("/environ"))).toContain("wsgi.multithread=True");
  expect(bodyOf(await instance.get("/threads"))).toMatch(/^False /);
  const { go, wires } = await begin(instance, 3);
  const fourth = instance.wire().send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const { supervisor } = instance;
  await supervisor.hears("stats", (it) => it.inFlight === 3);
  expect(fourth.received).toBe("");
  writeFileSync(go, "");
  await Promise.all(wires.map((wire) => wire.gets(/waited$/)));
  // Pipelined: both get responses on one kept connection.
  await fourth.gets(/hello[\s\S]*hello$/);
  fourth.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await fourth.gets(/hello[\s\S]*hello[\s\S]*hello$/);
  await supervisor.hears("stats", (it) => it.inFlight === 0 && it.requestsTotal === 8);
});

test("counts exactly although many requests end at the same time", async (context) => {
  const instance = await start(context, 8);
  await instance.get("/switches");
  const client = async (count: number) => {
    for (let n = 0; n < count; n++) await instance.get(n % 10 === 0 ? "/throws" : "/");
  };
  await Promise.all(Array.from({ length: 8 }, () => client(40)));
  await instance.supervisor.hears("stats", (it) => it.requestsTotal === 321 && it.errorsTotal === 32);
});

test("SIGTERM drains all threads; at the drain's deadline it reports how many requests were cut off", async (context) => {
  const [drained, cut] = [await start(context, 4), await start(context)];
  const { go, wires } = await begin(drained, 3);
  const kept = drained.wire();
  drained.program.kill("SIGTERM");
  // The fourth thread responds until the drain has begun.
  for (let closes = false; !closes; ) {
    kept.received = "";
    closes = (await kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").gets(/hello$/)).includes("Connection: close");
  }
  // Further requests get responses while the others run.
  for (let n = 0; n < 10; n++) expect(await drained.get("/")).toMatch(/hello$/);
  writeFileSync(go, "");
  for (const wire of wires) expect(await wire.closed()).toMatch(/\r\nConnection: close\r\n\r\nwaited$/);
  expect(await drained.program.exited).toEqual({ code: 0, signal: null });
  expect(drained.supervisor.heard.at(-1)).toMatchObject({ type: "stats", inFlight: 0 });

  await begin(cut, 2);
  cut.supervisor.say({ type: "drain", deadlineMs: 300 });
  expect(await cut.program.exited).toEqual({ code: 0, signal: null });
  expect(cut.program.output).toContain("stopped at the deadline with 2 requests in flight");
});

test("the traceback of an overdue request is that of the request whose client has disconnected", async (context) => {
  const instance = await start(context);
  await begin(instance, 1);
  const abandoned = instance.wire().send("GET /sleeps HTTP/1.1\r\nHost: a\r\n\r\n");
  await instance.program.line(/# sleeps began/);
  abandoned.destroy();
  instance.supervisor.say({ type: "describeOverdue" });
  await instance.program.line(/^Fatal Python error: GET \/sleeps has been running for \d+\.\d s$/);
  await instance.program.line(/in sleep_for_good$/);
  expect(instance.output).not.toMatch(/in view_waits$/m);
});

test("in direct mode it reports a view that sends nothing for too long, but none that streams or waits for its client", async (context) => {
  const spec = { threads: 3, requestTimeoutMs: 1000, reportEveryMs: 50 };
  const instance = await PythonInstance.start(context, spec);
  const reads = instance.wire().send("GET /ticks HTTP/1.1\r\nHost: a\r\n\r\n");
  const waits = instance.wire();
  waits.pause();
  waits.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
  await instance.program.line(/# endless began/);
  await reads.gets(/tick[\s\S]*tick/);
  await instance.supervisor.hears("stats", (it) => it.inFlight === 2);
  instance.wire().send("GET /sleeps HTTP/1.1\r\nHost: a\r\n\r\n");
  const { overdue } = await instance.supervisor.hears("stats", (it) => it.overdue !== undefined);
  expect(overdue).toEqual({ request: "GET /sleeps", forMs: expect.any(Number) });
  expect((overdue as { forMs: number }).forMs).toBeGreaterThanOrEqual(1000);
  // The stream has run for longer.
  instance.supervisor.say({ type: "describeOverdue" });
  await instance.program.line(/^Fatal Python error: GET \/sleeps has been running for \d+\.\d s$/);
  await instance.program.line(/in sleep_for_good$/);
});

test("if a view makes the process exit, its client gets the response first; a forked child never serves", async (context) => {
  const instance = await PythonInstance.start(context, { threads: 2, wsgi: "wsgi_processes:application" });
  for (const [path, status] of [
    ["/child-raises", "1"],
    ["/child-exits", "5"],
    ["/child-returns", "1"],
    ["/child-files", "0"],
  ] as const) {
    expect(bodyOf(await instance.get(path)), path).toBe(status);
  }
  expect(bodyOf(await instance.get("/pool?fork"))).toBe("[0, 2, 4, 6]");
  const exits = await start(context);
  expect(await exits.get("/exits")).toMatch(/^HTTP\/1\.1 500 /);
  expect(await exits.program.exited).toEqual({ code: 3, signal: null });
});
