/** An exported server of node:http gets the upgrades, on both runtimes; they are in flight until they end. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask, type Program, type RuntimeName, ScriptedSupervisor, startAlone, Wire } from "./harness.js";

const upgrade = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n`;

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe(`upgrades of a Node app on ${runtime}`, () => {
    let supervisor: ScriptedSupervisor;
    let instance: Program;
    beforeEach(async () => {
      supervisor = new ScriptedSupervisor();
      await supervisor.listen();
      instance = supervisor.spawn(runtime, "node-server.js");
      await supervisor.hears("ready");
    });
    afterEach(async () => {
      await instance.end();
      await supervisor.close();
    });
    const stats = (accepts: (it: { requestsTotal: number; inFlight: number; errorsTotal: number }) => boolean) =>
      supervisor.hears("stats", (message) => accepts(message as never));

    it("carry bytes in both directions, including those that arrived with the request, while requests are served", async () => {
      const wire = new Wire(supervisor.target);
      wire.send(upgrade("/echo"));
      await wire.gets(/^HTTP\/1\.1 101 [\s\S]*\r\n\r\n$/);
      wire.send("one");
      await wire.gets(/\r\n\r\none$/);
      wire.send("two");
      await wire.gets(/\r\n\r\nonetwo$/);
      expect((await ask(supervisor.target, "/text")).body).toBe("request /text");
      await stats((it) => it.inFlight === 1 && it.requestsTotal === 1);
      wire.destroy();
      await stats((it) => it.inFlight === 0 && it.requestsTotal === 2);
    });

    it("with a Host that no URL can have are rejected if no balancer has done so", async () => {
      const alone = await startAlone(runtime, "tcp", "node-server.js");
      const wire = new Wire(alone.target);
      wire.send(upgrade("/echo").replace("Host: a", "Host: a:b"));
      expect(await wire.gets(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 400 /);
      wire.destroy();
      expect((await ask(alone.target, "/text")).body).toBe("request /text");
      await alone.close();
    });

    it("are cut, logged and counted when their handler throws", async () => {
      const wire = new Wire(supervisor.target);
      wire.send(upgrade("/throws"));
      await wire.closed();
      expect(wire.received).toBe("");
      await instance.line(/the upgrade failed/);
      await stats((it) => it.errorsTotal === 1 && it.inFlight === 0);
      expect((await ask(supervisor.target, "/text")).status).toBe(200);
    });

    it("delay a drain until its deadline, which cuts them off and reports that", async () => {
      const wire = new Wire(supervisor.target);
      wire.send(upgrade("/echo"));
      await wire.gets(/101/);
      supervisor.say({ type: "drain", deadlineMs: 300 });
      supervisor.say({ type: "released" });
      await wire.closed();
      expect(await instance.exited).toEqual({ code: 0, signal: null });
      expect(instance.output).toContain("stopped at the deadline with 1 requests in flight");
    });

    it("let a drain finish when they end", async () => {
      const wire = new Wire(supervisor.target);
      wire.send(upgrade("/echo"));
      await wire.gets(/101/);
      supervisor.say({ type: "drain", deadlineMs: 60_000 });
      supervisor.say({ type: "released" });
      wire.destroy();
      expect(await instance.exited).toEqual({ code: 0, signal: null });
    });
  });
}
