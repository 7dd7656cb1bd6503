/** An instance over the lane, behind a real balancer: its limits, its reports, and its drain. */
import { existsSync } from "node:fs";
import { INSTANCE_LIMITS } from "@paceline/wire/limits";
import { afterAll, afterEach, describe, expect, it as test } from "vitest";
import { ask, eventually, type RuntimeName, Wire } from "./harness.js";
import { type OverLane, startOverLane } from "./lane-harness.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;

const LIMITS = {
  ...INSTANCE_LIMITS,
  maxBodyBytes: 1000,
  bodyTimeoutMs: 60_000,
  maxConnections: 1000,
  maxDeferredJobs: 1000,
};

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe.concurrent(`an instance over the lane on ${runtime}`, () => {
    /** For one test. */
    let lane: OverLane;
    let isOpen = false;
    /** For the tests that do not change it. */
    let shared: OverLane | undefined;
    afterEach(async () => {
      if (isOpen) await lane.close();
      isOpen = false;
    });
    afterAll(() => shared?.close());
    const startShared = async () => {
      shared ??= await startOverLane(runtime, "behaviours.mjs", { limits: LIMITS });
      return shared.target;
    };
    const start = async (limits: Partial<typeof LIMITS> = {}, spec: object = {}) => {
      lane = await startOverLane(runtime, "behaviours.mjs", { limits: { ...LIMITS, ...limits }, ...spec });
      isOpen = true;
      return lane.target;
    };
    const stats = (accepts: (it: { requestsTotal: number; inFlight: number; errorsTotal: number }) => boolean) =>
      lane.supervisor.hears("stats", (message) => accepts(message as never));
    const began = (name: string, count: number) =>
      eventually(
        `${count} × ${name}`,
        () => lane.program.output.filter((line) => line === `# ${name} began`).length === count || undefined,
      );

    it("responds with 413 to a body whose length exceeds the limit, and serves one at the limit", async () => {
      const target = await startShared();
      expect((await ask(target, "/echo", { method: "POST", body: "a".repeat(1000) })).status).toBe(200);
      const wire = new Wire(target);
      wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
      expect(await wire.gets(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 413 /);
      wire.destroy();
      expect((await ask(target, "/text")).status).toBe(200);
    });

    it("does not send 100 Continue to a body that is too long", async () => {
      const wire = new Wire(await startShared());
      wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
      expect(await wire.gets(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 413 /);
      wire.destroy();
    });

    it("responds with 413 to a chunked body that exceeds the limit", async () => {
      const target = await startShared();
      const wire = new Wire(target);
      wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
      for (let n = 0; n < 3; n++) wire.send(`190\r\n${"a".repeat(400)}\r\n`);
      expect(await wire.gets(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 413 /);
      wire.destroy();
      expect((await ask(target, "/text")).status).toBe(200);
    });

    it("responds with 431 to a head that exceeds its limit, but not the balancer's", async () => {
      const wire = new Wire(await startShared());
      wire.send(`GET /text HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(20_000)}\r\n\r\n`);
      expect(await wire.gets(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 431 /);
      wire.destroy();
    });

    it("gets no more simultaneous requests than it allows: the next one waits", async () => {
      const target = await start({ maxConnections: 2 });
      const held = [new Wire(target), new Wire(target)];
      for (const wire of held) wire.send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n");
      await began("waits", 2);
      const third = new Wire(target);
      third.send("GET /text HTTP/1.1\r\nHost: a\r\n\r\n");
      await stats((it) => it.inFlight === 2);
      expect(third.received).toBe("");
      held[0]?.destroy();
      expect(await third.gets(/text$/)).toMatch(/^HTTP\/1\.1 200 /);
      for (const wire of [...held, third]) wire.destroy();
    });

    it("counts exactly: all requests, errors, latencies, and what is in flight", async () => {
      const target = await start();
      for (let n = 0; n < 20; n++) await Promise.all(Array.from({ length: 10 }, () => ask(target, "/text")));
      for (const path of ["/throws", "/rejects", "/500"]) await ask(target, path);
      const waiting = new Wire(target);
      waiting.send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n");
      await began("waits", 1);
      // In an earlier report, the failed request may still have been in flight.
      const withAll = await stats((it) => it.inFlight === 1 && it.requestsTotal >= 203);
      expect(withAll).toMatchObject({ requestsTotal: 203, errorsTotal: 3 });
      const counted = lane.supervisor.heard
        .filter((it) => it.type === "stats")
        .flatMap((it) => (it.latency as number[]).filter((_, index) => index % 2 === 1))
        .reduce((sum, count) => sum + count, 0);
      expect(counted).toBeGreaterThanOrEqual(201);
      expect(counted).toBeLessThanOrEqual(203);
      waiting.destroy();
      await stats((it) => it.inFlight === 0 && it.requestsTotal === 204);
    });

    it("counts a request as in flight until its body has been sent", async () => {
      const wire = new Wire(await start());
      wire.pause();
      wire.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
      await stats((it) => it.inFlight === 1);
      wire.destroy();
      await stats((it) => it.inFlight === 0 && it.requestsTotal === 1);
    });

    it("drains: finishes requests in progress while the balancer leaves it, is released, exits with 0", async () => {
      const target = await start();
      // The client's connection belongs to the balancer: a draining instance does not close it.
      const wire = new Wire(target);
      wire.send("GET /text HTTP/1.1\r\nHost: a\r\n\r\n");
      await wire.gets(/text$/);
      const slow = Array.from({ length: 10 }, () => ask(target, "/slow?ms=600"));
      await began("slow", 10);
      await lane.balancer.follow(false);
      lane.supervisor.say({ type: "drain", deadlineMs: 60_000 });
      expect((await Promise.all(slow)).map(({ status, body }) => `${status} ${body}`)).toEqual(
        Array(10).fill("200 slow"),
      );
      lane.supervisor.say({ type: "released" });
      expect(await lane.program.exited).toEqual({ code: 0, signal: null });
      expect(lane.supervisor.heard.at(-1)).toMatchObject({ type: "stats", inFlight: 0, requestsTotal: 11 });
      expect(existsSync(lane.supervisor.target.path)).toBe(false);
      expect(wire.ended).toBe("open");
      wire.destroy();
    });

    it("exits at the drain's deadline without a release, and responses that are cut off do not look complete", async () => {
      const target = await start();
      const never = new Wire(target);
      never.send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n");
      await began("waits", 1);
      const endless = new Wire(target);
      endless.send("GET /endless-stream HTTP/1.1\r\nHost: a\r\n\r\n");
      await endless.gets(/aaa/);
      await lane.balancer.follow(false);
      lane.supervisor.say({ type: "drain", deadlineMs: 300 });
      expect(await lane.program.exited).toEqual({ code: 0, signal: null });
      expect(await never.gets(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 50[23] /);
      expect(await endless.closed()).not.toMatch(/\r\n0\r\n\r\n$/);
      expect(lane.program.output).toContain("stopped at the deadline with 2 requests in flight");
      never.destroy();
    });

    it("on SIGTERM sends GOAWAY: all requests that it has got are handled, and it exits with 0 although nobody released it", async () => {
      const target = await start();
      const slow = Array.from({ length: 10 }, () => ask(target, "/slow?ms=400"));
      await began("slow", 10);
      const posts = Array.from({ length: 10 }, () => ask(target, "/echo", { method: "POST", body: "abc" }));
      await began("slow", 10);
      const answered = Promise.all([...slow, ...posts]);
      await Promise.race(posts);
      lane.program.kill("SIGTERM");
      expect(await lane.program.exited).toEqual({ code: 0, signal: null });
      // The balancer's unsent requests wait for another instance, until the balancer knows that there is none: 503.
      await lane.balancer.follow(false);
      const statuses = (await answered).map(({ status }) => status);
      expect(statuses.slice(0, 10)).toEqual(Array(10).fill(200));
      expect(statuses.filter((status) => status !== 200 && status !== 503)).toEqual([]);
    });
  });
}
