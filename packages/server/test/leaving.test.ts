/** How an instance shuts down: its app is notified when the drain starts, and the app's own listeners run after the last response. */
import { afterEach, beforeEach, describe, expect, it as test } from "vitest";
import { ask, type Program, type RuntimeName, ScriptedSupervisor } from "./harness.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;

/** The ways to serve an app: over the lane, and over HTTP/1.1 in both styles. */
const SERVED = [
  ["a fetch app over http1", { protocol: "http1" }, {}],
  ["a Node handler", { protocol: "lane", style: "node" }, { STYLE: "node" }],
] as const;

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe.concurrent(`an instance that leaves, on ${runtime}`, () => {
    let supervisor: ScriptedSupervisor;
    let program: Program | undefined;
    beforeEach(async () => {
      supervisor = new ScriptedSupervisor();
      await supervisor.listen();
    });
    afterEach(async () => {
      await program?.end();
      await supervisor.close();
    });
    const notes = () => program?.output.filter((line) => line.startsWith("# ")) ?? [];
    const spawn = async (spec: object, environment: NodeJS.ProcessEnv) => {
      program = supervisor.spawn(runtime, "leaving.mjs", spec, environment);
      await supervisor.hears("ready");
      return program;
    };
    const drain = () => {
      supervisor.say({ type: "drain", deadlineMs: 60_000 });
      supervisor.say({ type: "released" });
    };

    it.each(SERVED)(
      "%s ends its streams when the drain begins; its listeners run after its last response",
      async (_, spec, env) => {
        const { exited } = await spawn(spec, { ...env, LISTENER: "async" });
        const stream = ask(supervisor.target, "/events");
        await supervisor.hears("stats", ({ inFlight }) => inFlight === 1);
        drain();
        expect((await stream).body).toBe("data: 1\n\ndata: bye\n\n");
        expect(await exited).toEqual({ code: 0, signal: null });
        const [first, second, ...after] = notes();
        // Both come at the start of the drain.
        expect([first, second].toSorted()).toEqual(["# beforeDrain", "# stream ended"]);
        expect(after).toEqual(["# SIGTERM begins", "# SIGTERM ends"]);
      },
    );

    it("does not wait for a response whose socket its handler took over, after that socket is closed", async () => {
      const { exited } = await spawn({ protocol: "lane", style: "node" }, { STYLE: "node" });
      expect((await ask(supervisor.target, "/detached")).body).toBe("raw");
      await supervisor.hears("stats", (it) => it.inFlight === 0 && it.requestsTotal === 1);
      drain();
      expect(await exited).toEqual({ code: 0, signal: null });
    });

    it("is notified before its drain that the fleet stops, and only once", async () => {
      const { exited, line } = await spawn({ protocol: "http1" }, { LISTENER: "async", SIGNAL: "SIGINT" }).then(
        (it) => ({
          exited: it.exited,
          line: it.line.bind(it),
        }),
      );
      supervisor.say({ type: "draining" });
      await line(/^# beforeDrain/);
      expect((await ask(supervisor.target, "/")).body).toBe("well");
      drain();
      expect(await exited).toEqual({ code: 0, signal: null });
      expect(notes()).toEqual(["# beforeDrain", "# SIGINT begins", "# SIGINT ends"]);
    });

    it.each([
      ["raises again", { code: null, signal: "SIGTERM" }],
      ["exits", { code: 0, signal: null }],
    ])("a listener that %s makes the process exit itself", async (LISTENER, end) => {
      const { exited } = await spawn({}, { LISTENER });
      drain();
      expect(await exited).toEqual(end);
      expect(notes()).toEqual(["# beforeDrain", "# SIGTERM ends"]);
      // When this message arrives, all earlier messages have arrived.
      await supervisor.hears("stats");
    });

    it("a listener that hangs is cut off at the drain's deadline", async () => {
      const { exited } = await spawn({}, { LISTENER: "hangs" });
      supervisor.say({ type: "drain", deadlineMs: 300 });
      supervisor.say({ type: "released" });
      expect(await exited).toEqual({ code: 0, signal: null });
      expect(notes()).toEqual(["# beforeDrain", "# SIGTERM begins"]);
    });

    it("a listener that fails is logged", async () => {
      const { exited, output } = await spawn({}, { LISTENER: "fails" });
      drain();
      expect(await exited).toEqual({ code: 0, signal: null });
      expect(output.join("\n")).toMatch(/a listener for SIGTERM failed:[\s\S]*the disk is full/);
    });

    it.each([
      ["/throw", "uncaughtException", "kept nobody catches this"],
      ["/reject", "unhandledRejection", "kept nobody awaits this object"],
      ["/reject", "uncaughtException", "kept nobody awaits this string"],
    ])("survives %s if the app listens for %s", async (path, KEEPS, told) => {
      const { line } = await spawn({ protocol: "http1" }, { KEEPS }).then((it) => ({ line: it.line.bind(it) }));
      expect((await ask(supervisor.target, path)).body).toBe("well");
      expect(await line(/^# kept/)).toContain(told);
      expect((await ask(supervisor.target, "/")).body).toBe("well");
    });

    it("exits because of a rejection if the app listens for neither", async () => {
      const { exited } = await spawn({ protocol: "http1" }, {});
      await ask(supervisor.target, "/reject").catch(() => undefined);
      expect(await supervisor.hears("fault")).toMatchObject({ message: expect.stringContaining("nobody awaits this") });
      expect(await exited).toEqual({ code: 1, signal: null });
    });
  });
}
