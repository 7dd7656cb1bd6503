/** An instance under a supervisor: its reports, its drain, and its start errors. */
import { once } from "node:events";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it as test } from "vitest";
import { inTime } from "../../../test/support/wait.js";
import { ask, eventually, Program, type RuntimeName, ScriptedSupervisor, Wire, within } from "./harness.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;

/** Prints its port; its backlog accepts two connections. */
const DEAF = `
const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => console.log(server.address().port));
`;

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe.concurrent(`an instance on ${runtime}`, () => {
    let supervisor: ScriptedSupervisor;
    let instance: Program;
    beforeEach(async () => {
      supervisor = new ScriptedSupervisor();
      await supervisor.listen();
    });
    afterEach(async () => {
      await instance.end();
      await supervisor.close();
    });
    const startReady = async (spec: object = {}) => {
      instance = supervisor.spawn(runtime, "behaviours.mjs", spec);
      await supervisor.hears("ready");
    };
    const stats = (accepts: (it: { requestsTotal: number; inFlight: number; errorsTotal: number }) => boolean) =>
      supervisor.hears("stats", (message) => accepts(message as never));

    it("sends hello, listens with mode 0600, then reports ready", async () => {
      await startReady();
      expect(supervisor.heard.map((message) => message.type).slice(0, 2)).toEqual(["hello", "ready"]);
      expect(supervisor.heard[0]).toMatchObject({ role: "instance", name: "web.1", socket: supervisor.target.path });
      expect(statSync(supervisor.target.path).mode & 0o777).toBe(0o600);
      expect((await ask(supervisor.target, "/text")).body).toBe("text");
    });

    it("shows the app its identity, but none of the control channel's secrets", async () => {
      await startReady();
      const environment = JSON.parse((await ask(supervisor.target, "/environment")).body);
      expect(environment).toMatchObject({ PACELINE_INSTANCE: "web.1", PACELINE_INDEX: "1", PACELINE_GENERATION: "1" });
      for (const name of ["PACELINE_CHANNEL", "PACELINE_TOKEN", "PACELINE_SPEC", "PACELINE_ATTEMPT"]) {
        expect(environment).not.toHaveProperty(name);
      }
    });

    it("trusts the balancer's X-Forwarded-* fields", async () => {
      await startReady();
      const headers = {
        host: "shop",
        "x-forwarded-for": "1.2.3.4, 10.0.0.1",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "shop.example",
        "x-request-id": "r1",
      };
      expect(JSON.parse((await ask(supervisor.target, "/info", { headers })).body)).toMatchObject({
        clientAddress: "1.2.3.4",
        protocol: "https",
        host: "shop.example",
        requestId: "r1",
      });
    });

    it("counts exactly: all requests, errors, latencies, and what is in flight", async () => {
      await startReady();
      for (let n = 0; n < 20; n++) await Promise.all(Array.from({ length: 10 }, () => ask(supervisor.target, "/text")));
      for (const path of ["/throws", "/rejects", "/500"]) await ask(supervisor.target, path);
      const waiting = new Wire(supervisor.target);
      waiting.send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n");
      await instance.line(/^# waits began/);
      // In an earlier report, the failed request may still have been in flight.
      const busy = await stats((it) => it.inFlight === 1 && it.requestsTotal >= 203);
      expect(busy).toMatchObject({ requestsTotal: 203, errorsTotal: 3, heapBytes: expect.any(Number) });
      expect(busy.heapBytes).toBeGreaterThan(100_000);
      expect(busy.eventLoopLagMs).toBeGreaterThanOrEqual(0);
      const latencies = supervisor.heard
        .filter((it) => it.type === "stats")
        .flatMap((it) => (it.latency as number[]).filter((_, index) => index % 2 === 1));
      const counted = latencies.reduce((sum, count) => sum + count, 0);
      expect(counted).toBeGreaterThanOrEqual(201);
      expect(counted).toBeLessThanOrEqual(203);
      waiting.destroy();
      await stats((it) => it.inFlight === 0 && it.requestsTotal === 204);
    });

    it("counts a request as in flight until its body has been sent", async () => {
      await startReady();
      const wire = new Wire(supervisor.target);
      wire.pause();
      wire.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
      await stats((it) => it.inFlight === 1);
      wire.destroy();
      await stats((it) => it.inFlight === 0 && it.requestsTotal === 1);
    });

    it("drains: responds with Connection: close, continues to accept until it is released, reports, exits with 0", async () => {
      await startReady();
      const slow = ask(supervisor.target, "/held");
      await instance.line(/^# held began/);
      supervisor.say({ type: "drain", deadlineMs: 60_000 });
      const late = await eventually("an answer of a draining instance", async () => {
        const response = await ask(supervisor.target, "/text");
        return response.headers.connection === "close" ? response : undefined;
      });
      expect(late).toMatchObject({ status: 200, body: "text" });
      await ask(supervisor.target, "/release");
      expect(await slow).toMatchObject({ status: 200, body: "held", headers: { connection: "close" } });
      // Nothing is in flight, but more requests may still arrive.
      expect((await ask(supervisor.target, "/text")).status).toBe(200);
      supervisor.say({ type: "released" });
      expect(await instance.exited).toEqual({ code: 0, signal: null });
      const last = supervisor.heard.at(-1);
      expect(last).toMatchObject({ type: "stats", inFlight: 0 });
      expect(last?.requestsTotal).toBeGreaterThanOrEqual(3);
      expect(existsSync(supervisor.target.path)).toBe(false);
    });

    it("responds to requests that are on their way when the drain starts, even on a kept connection", async () => {
      await startReady();
      const wire = new Wire(supervisor.target);
      wire.send("GET /text HTTP/1.1\r\nHost: a\r\n\r\n");
      await wire.gets(/text$/);
      supervisor.say({ type: "drain", deadlineMs: 60_000 });
      wire.send("GET /text HTTP/1.1\r\nHost: a\r\n\r\n");
      await wire.gets(/text[\s\S]*text$/);
      supervisor.say({ type: "released" });
      expect(await instance.exited).toEqual({ code: 0, signal: null });
    });

    it("exits at the drain's deadline without a release, and reports what it cut off", async () => {
      await startReady();
      const never = ask(supervisor.target, "/waits").catch(() => "cut");
      await instance.line(/^# waits began/);
      supervisor.say({ type: "drain", deadlineMs: 300 });
      expect(await instance.exited).toEqual({ code: 0, signal: null });
      expect(await never).toBe("cut");
      expect(instance.output).toContain("stopped at the deadline with 1 requests in flight");
    });

    it("on SIGTERM drains without waiting for a release, and ignores SIGINT", async () => {
      await startReady();
      instance.kill("SIGINT");
      const slow = ask(supervisor.target, "/slow?ms=400");
      await instance.line(/^# slow began/);
      instance.kill("SIGTERM");
      expect(await slow).toMatchObject({ status: 200, body: "slow" });
      expect(await instance.exited).toEqual({ code: 0, signal: null });
    });

    it("exits with 0 when it is told to drain while its app is loading", async () => {
      instance = supervisor.spawn(runtime, "never-loads.mjs");
      await supervisor.hears("hello");
      await instance.line(/^# loading/);
      supervisor.say({ type: "drain", deadlineMs: 60_000 });
      expect(await instance.exited).toEqual({ code: 0, signal: null });
    });

    it("continues to serve without a supervisor for the grace period, then drains and exits with 0", async () => {
      const orphanGraceMs = 2000;
      const outlive = async () => {
        await (instance as Program | undefined)?.end();
        await supervisor.close();
        supervisor = new ScriptedSupervisor();
        await supervisor.listen();
        const startedAt = performance.now();
        instance = supervisor.spawn(runtime, "behaviours.mjs", { orphanGraceMs });
        await Promise.race([supervisor.hears("ready"), instance.exited]);
        await supervisor.vanish();
        const status = await ask(supervisor.target, "/text").then(
          (response) => response.status,
          () => 0,
        );
        return { status, tookMs: performance.now() - startedAt };
      };
      const { status } = await inTime(outlive, ({ status, tookMs }) => status === 0 && tookMs > orphanGraceMs);
      expect(status).toBe(200);
      expect(await instance.exited).toEqual({ code: 0, signal: null });
      expect(instance.output.join("\n")).toMatch(/no supervisor came back/);
    });

    it("exits when the supervisor rejects it", async () => {
      await startReady();
      supervisor.say({ type: "refused", reason: "unknown token" });
      expect(await instance.exited).toEqual({ code: 0, signal: null });
      expect(instance.output.join("\n")).toMatch(/refused this process: unknown token/);
    });

    it.each([
      ["throws-on-load.mjs", 1, /no database/, /throws-on-load\.mjs:1/],
      ["missing.ts", 2, /there is no app at/, /there is no app at/],
      ["no-handler.mjs", 2, /must export by default/, /must export by default/],
    ])("reports why it cannot start with %s, and exits with %i", async (app, code, message, output) => {
      instance = supervisor.spawn(runtime, app);
      expect(await supervisor.hears("fault")).toMatchObject({ message: expect.stringMatching(message) });
      expect(await instance.exited).toEqual({ code, signal: null });
      expect(instance.output.join("\n")).toMatch(output);
      expect(supervisor.heard.some((it) => it.type === "ready")).toBe(false);
    });

    // Node's errors of this kind contain their place, or lack it.
    if (runtime === "bun")
      it("reports where the app cannot be parsed", async () => {
        const app = join(supervisor.directory, "wrong.ts");
        writeFileSync(app, "export default {\n  fetch() {\n    return new Response(;\n  },\n};\n");
        instance = supervisor.spawn(runtime, "", { app });
        const { message } = await supervisor.hears("fault");
        expect(message).toMatch(/failed to load: .+ at .+\/wrong\.ts:3:25$/);
      });

    it("reports what its start waits for, from shortly before its limit until it is ready", async ({
      onTestFinished,
    }) => {
      // While it is stopped, it accepts no more connections than its backlog: later ones get no response, as behind a firewall.
      const deaf = new Program([process.execPath, "-e", DEAF], []);
      onTestFinished(() => deaf.end());
      const port = Number(await deaf.line(/^\d+$/));
      deaf.kill("SIGSTOP");
      const full = [1, 2].map(() => connect(port, "127.0.0.1").on("error", () => {}));
      onTestFinished(() => {
        for (const socket of full) socket.destroy();
      });
      await Promise.all(full.map((socket) => once(socket, "connect")));
      const spec = { readyTimeoutMs: 100, readySignal: true };
      instance = supervisor.spawn(runtime, "waits.mjs", spec, { DATABASE_PORT: `${port}` });
      // The limit may have been reached before the module was run: its connection is certain to be in progress in the next step.
      const steps = [
        "its module has not finished loading: a top-level await has not resolved",
        `the promise that its module exports has not resolved; it is connecting to 127.0.0.1:${port}`,
        "its module exports no app, and has not called listen()",
        "its start() has not resolved",
        'it has not called process.send("ready"), which readySignal requires',
      ];
      await instance.line(/^# waits for signals/);
      for (const step of steps) {
        await supervisor.hears("fault", ({ message }) => `${message}`.startsWith(step));
        instance.kill("SIGUSR2");
      }
      await supervisor.hears("ready");
    });

    it("never reports ready after a fatal error", async ({ onTestFinished }) => {
      const holder = createServer().listen(0, "127.0.0.1");
      onTestFinished(() => void holder.close());
      await once(holder, "listening");
      const { port } = holder.address() as { port: number };
      instance = supervisor.spawn(runtime, "second-port.mjs", { protocol: "lane" }, { SECOND_PORT: `${port}` });
      const { message } = await supervisor.hears("fault");
      expect(message).toMatch(/ \(only the first server of an app needs no port; /);
      expect(await instance.exited).toEqual({ code: 1, signal: null });
      expect(instance.output.at(-1)).toMatch(/ \(only the first server of an app needs no port; /);
      // The app's line, and none of ours.
      if (runtime === "bun") expect(instance.output.join("\n")).toMatch(/second-port\.mjs:5/);
      expect(instance.output.join("\n")).not.toMatch(/^ *\d+ \| |packages\/server\/(src|dist)/m);
      const said = supervisor.heard.map(({ type }) => type);
      expect(said.slice(said.indexOf("fault"))).not.toContain("ready");
    });

    it("reports an uncaught error, and exits with 1", async () => {
      await startReady();
      await ask(supervisor.target, "/uncaught").catch(() => undefined);
      expect(await supervisor.hears("fault")).toMatchObject({ message: expect.stringMatching(/nobody catches this/) });
      expect(await instance.exited).toEqual({ code: 1, signal: null });
    });

    it("exits with 1 after an uncaught error although its supervisor and the readers of its output are gone", async () => {
      await startReady();
      const { child } = instance;
      const ended = once(child, "exit");
      child.stdout?.destroy();
      child.stderr?.destroy();
      await supervisor.vanish();
      await ask(supervisor.target, "/uncaught").catch(() => undefined);
      expect(await within(ended, "its end")).toEqual([1, null]);
    });
  });
}
