/** The facts in a fetch app's `info`: over the lane, over HTTP/1.1 and alone, on both runtimes. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import {
  ask,
  type RuntimeName,
  ScriptedSupervisor,
  type Standalone,
  startAlone,
  type Target,
  Wire,
} from "./harness.js";
import { startOverLane } from "./lane-harness.js";

const APP = "signals.mjs";
const way = {
  lane: (runtime: RuntimeName) => startOverLane(runtime, APP),
  alone: (runtime: RuntimeName) => startAlone(runtime, "tcp", APP),
  async http1(runtime: RuntimeName): Promise<Standalone> {
    const supervisor = new ScriptedSupervisor();
    await supervisor.listen();
    const program = supervisor.spawn(runtime, APP, { protocol: "http1" });
    const close = async () => {
      await program.end();
      await supervisor.close();
    };
    await supervisor.hears("ready");
    return { program, target: supervisor.target, close };
  },
};

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe.each(["lane", "http1", "alone"] as const)(`info on ${runtime}, %s`, (link) => {
    /** For all tests; a test that checks that something is missing has its own server. */
    let shared: Standalone;
    beforeAll(async () => {
      shared = await way[link](runtime);
    });
    afterAll(() => shared?.close());
    const open = (target: Target, path: string) =>
      new Wire(target).send(`GET ${path} HTTP/1.1\r\nHost: shop.example:81\r\n\r\n`);

    it("has a signal, one for each request, that fires when the client disconnects while the handler runs", async () => {
      const { target, program } = shared;
      expect(JSON.parse((await ask(target, "/same")).body)).toEqual({ same: true, isSignal: true });
      const wire = open(target, "/waits");
      await program.line(/^# waits began/);
      wire.destroy();
      await program.line(/^# waits aborted true/);
    });

    it("has a signal that fires when the client disconnects while the response is sent", async () => {
      const { target, program } = shared;
      const wire = open(target, "/streams");
      await wire.gets(/tick/);
      wire.destroy();
      await program.line(/^# streams aborted/);
    });

    it("has a signal that does not fire for a response that has been sent", async () => {
      const server = await way[link](runtime);
      onTestFinished(() => server.close());
      const { target, program } = server;
      const wire = open(target, "/answers");
      await wire.gets(/answered/);
      wire.destroy();
      // Another client that disconnects later is detected later.
      const other = open(target, "/waits");
      await program.line(/^# waits began/);
      other.destroy();
      await program.line(/^# waits aborted true/);
      expect(program.output).not.toContain("# answers aborted");
    });

    it("has the client's address, protocol, host and id", async () => {
      const { target } = shared;
      const forwarded = { "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http" };
      const headers = { host: "shop.example:81", "x-request-id": "r 1", ...(link === "http1" ? forwarded : {}) };
      expect(JSON.parse((await ask(target, "/info", { headers })).body)).toEqual({
        clientAddress: "127.0.0.1",
        protocol: "http",
        host: "shop.example:81",
        innerProtocol: "http",
        innerHost: "shop.example:81",
        requestId: "r 1",
        again: "r 1",
        url: "http://shop.example:81/info",
      });
    });

    it("trusts only a balancer", async () => {
      const { target } = shared;
      const headers = {
        host: "inner:81",
        "x-forwarded-for": "9.9.9.9",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "shop.example",
      };
      const told = JSON.parse((await ask(target, "/info?a", { headers })).body);
      expect(told).toMatchObject({ innerProtocol: "http", innerHost: "inner:81" });
      // Only on its own socket does an instance treat every client as the balancer.
      if (link === "http1")
        expect(told).toMatchObject({ clientAddress: "9.9.9.9", url: "https://shop.example/info?a" });
      else expect(told).toMatchObject({ clientAddress: "127.0.0.1", protocol: "http", url: "http://inner:81/info?a" });
    });

    it("generates an id for a request without one", async () => {
      const { target } = shared;
      const ids = new Set<string>();
      for (let n = 0; n < 5; n++) {
        const { requestId, again } = JSON.parse((await ask(target, "/info")).body);
        expect(requestId).toMatch(/^[0-9a-f]{16}-[0-9a-z]+$/);
        expect(again).toBe(requestId);
        ids.add(requestId);
      }
      expect(ids.size).toBe(5);
    });
  });
}
