/** The guarantees for an app's start() and stop(): alone and under a supervisor, on both runtimes. */
import { createServer, type Server } from "node:net";
import { afterEach, beforeEach, describe, expect, it as test } from "vitest";
import { ask, eventually, fixture, Program, type RuntimeName, ScriptedSupervisor } from "./harness.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;

const notes = (program: Program) => program.output.filter((line) => line.startsWith("# "));

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe.concurrent(`start() and stop() on ${runtime}`, () => {
    let supervisor: ScriptedSupervisor;
    let program: Program | undefined;
    let holder: Server | undefined;
    beforeEach(async () => {
      supervisor = new ScriptedSupervisor();
      await supervisor.listen();
    });
    afterEach(async () => {
      await program?.end();
      program = undefined;
      await supervisor.close();
      holder?.close();
    });
    const spawn = (environment: NodeJS.ProcessEnv = {}, spec: object = {}, app = "lifecycle.mjs") => {
      program = supervisor.spawn(runtime, app, spec, environment);
      return program;
    };
    const alone = async (app: string, ...args: string[]) => {
      program = new Program(runtime, [fixture(app), "--port", "0", ...args]);
      const port = Number(/:(\d+)$/.exec(await program.line(/^listening on /))?.[1]);
      return { program, target: { host: "127.0.0.1", port } };
    };
    const takenPort = async () => {
      holder = createServer();
      await new Promise<void>((resolve) => holder?.listen(0, "127.0.0.1", resolve));
      return String((holder.address() as { port: number }).port);
    };

    it.each(["lane", "http1"])("start() ends before the instance is ready, over %s", async (protocol) => {
      const { output } = spawn({}, { protocol });
      await supervisor.hears("ready");
      await eventually("its lines", () => output.length > 1 || undefined);
      expect(output.slice(0, 2)).toEqual(["# start begins", "# start ends"]);
    });

    it("a failing start() is a failed start, with its error and stack", async () => {
      const { exited, output } = spawn({ START: "fails" });
      expect(await supervisor.hears("fault")).toMatchObject({
        message: expect.stringMatching(/start\(\) failed: .*the database does not answer/),
      });
      expect(await exited).toEqual({ code: 1, signal: null });
      expect(output.join("\n")).toMatch(/the database does not answer[\s\S]*lifecycle\.mjs:1\d/);
      expect(supervisor.heard.some(({ type }) => type === "ready")).toBe(false);
    });

    it("stop() is called after the last response, and is awaited", async () => {
      const { target, program } = await alone("lifecycle.mjs");
      const slow = ask(target, "/slow");
      await program.line(/^# slow began/);
      program.kill("SIGTERM");
      expect((await slow).body).toBe("started");
      expect(await program.exited).toEqual({ code: 0, signal: null });
      expect(notes(program).slice(2)).toEqual(["# slow began", "# slow ended", "# stop begins", "# stop ends"]);
    });

    it("stop() runs in an instance that is told to drain, once it is released", async () => {
      const { exited } = spawn();
      await supervisor.hears("ready");
      supervisor.say({ type: "drain", deadlineMs: 60_000 });
      supervisor.say({ type: "released" });
      expect(await exited).toEqual({ code: 0, signal: null });
      expect(notes(program as Program).slice(2)).toEqual(["# stop begins", "# stop ends"]);
    });

    it("stop() runs even if the requests have used up the deadline", async () => {
      const { exited, output } = spawn();
      await supervisor.hears("ready");
      void ask(supervisor.target, "/waits").catch(() => undefined);
      await program?.line(/^# waits began/);
      supervisor.say({ type: "drain", deadlineMs: 50 });
      expect(await exited).toEqual({ code: 0, signal: null });
      expect(output).toContain("stopped at the deadline with 1 requests in flight");
      expect(output).toContain("# stop ends");
    });

    it("stop() that hangs is cut off at the deadline, and one that fails is logged; both exit with 0", async () => {
      const hanging = spawn({ STOP: "hangs" });
      await supervisor.hears("ready");
      supervisor.say({ type: "drain", deadlineMs: 1500 });
      supervisor.say({ type: "released" });
      expect(await hanging.exited).toEqual({ code: 0, signal: null });
      expect(hanging.output).toContain("stop() was cut off at the deadline");

      const failing = supervisor.spawn(runtime, "lifecycle.mjs", {}, { STOP: "fails" });
      await failing.line(/^# start ends/);
      failing.kill("SIGTERM");
      expect(await failing.exited).toEqual({ code: 0, signal: null });
      expect(failing.output.join("\n")).toMatch(/stop\(\) failed:[\s\S]*the disk is full/);
    });

    it("both may be named exports, of a module compiled to CommonJS too", async () => {
      const { target, program } = await alone("named-lifecycle.cjs");
      expect((await ask(target, "/")).body).toBe("started");
      program.kill("SIGTERM");
      await program.exited;
      expect(notes(program)).toEqual(["# stop ran"]);
    });

    it("the promise of an app is awaited; start and stop of an object with its own listen() are not called", async () => {
      const { target, program } = await alone("promised-app.js");
      expect((await ask(target, "/")).body).toBe("promised");
      program.kill("SIGTERM");
      expect(await program.exited).toEqual({ code: 0, signal: null });
      expect(program.output.join("\n")).not.toMatch(/of a listener/);
    });

    it.each([
      ["while it loads", "listens-itself.js", {}],
      ["in start()", "lifecycle.mjs", { START: "listens" }],
    ])(
      "an app that listens by itself %s, on a port in use, gets a message that says what to do",
      async (_, app, environment) => {
        const { exited, output } = spawn({ ...environment, TAKEN_PORT: await takenPort() }, {}, app);
        expect(await supervisor.hears("fault")).toMatchObject({
          message: expect.stringMatching(/in use.*only the first server of an app needs no port/),
        });
        expect(await exited).toEqual({ code: 1, signal: null });
        expect(output.join("\n")).toMatch(/only the first server/);
      },
    );

    it("a function that can be either is rejected, and --style says what it is", async () => {
      const refused = new Program(runtime, [fixture("unclear-function.js"), "--port", "0"]);
      expect(await refused.exited).toEqual({ code: 2, signal: null });
      expect(refused.output.join("\n")).toMatch(
        /^paceline: .*style: "fetch" or style: "node" of its pool in the config, or with --style of paceline serve$/,
      );
      const { target } = await alone("unclear-function.js", "--style", "fetch");
      expect((await ask(target, "/")).body).toBe("as fetch");
      await program?.end();
      expect((await ask((await alone("unclear-function.js", "--style", "node")).target, "/")).body).toBe("as node");
    });

    it("a pool's style tells the instance", async () => {
      spawn({}, { style: "node", protocol: "lane" }, "unclear-function.js");
      expect(await supervisor.hears("ready")).toMatchObject({ protocol: "http1+control" });
      expect((await ask(supervisor.target, "/")).body).toBe("as node");
    });
  });
}
