/** The limits, on both runtimes and for both styles of app. */
import { afterAll, describe, expect, it, type TestContext } from "vitest";
import { punctually } from "../../../test/support/wait.js";
import { ask, eventually, type RuntimeName, startAlone, Wire } from "./harness.js";

const cases: [RuntimeName, string][] = [
  ["bun", "behaviours.mjs"],
  ["node", "behaviours.mjs"],
  ["node", "node-handler.js"],
  ["bun", "node-handler.js"],
];

for (const [runtime, app] of cases) {
  // Concurrent, because each test mostly waits for a timer of its own server.
  describe.concurrent(`limits of ${app} on ${runtime}`, () => {
    const serve = async (context: TestContext, ...args: string[]) => {
      const server = await startAlone(runtime, "tcp", app, args);
      context.onTestFinished(() => server.close());
      return server;
    };
    const start = async (context: TestContext, ...args: string[]) => (await serve(context, ...args)).target;
    /** For the tests that do not change it. */
    let shared: ReturnType<typeof startAlone> | undefined;
    const startShared = async () => {
      shared ??= startAlone(runtime, "tcp", app, ["--max-body-bytes", "1000"]);
      return (await shared).target;
    };
    afterAll(async () => (await shared)?.close());
    const skipOn = (context: TestContext, where: boolean, why: string) => context.skip(where, why);

    it("responds with 413 to a body whose length exceeds the limit, and serves one at the limit", async () => {
      const target = await startShared();
      expect((await ask(target, "/echo", { method: "POST", body: "a".repeat(1000) })).status).toBe(200);
      const wire = new Wire(target);
      wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
      expect(await wire.gets(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 413 /);
      wire.destroy();
    });

    it("does not send 100 Continue to a body that is too long", async (context) => {
      skipOn(
        context,
        runtime === "bun" && app === "behaviours.mjs",
        "Bun.serve says 100 Continue before it looks further",
      );
      const target = await startShared();
      const wire = new Wire(target);
      wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
      expect(await wire.gets(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 413 /);
      wire.destroy();
    });

    it("responds with 413 to a chunked body that exceeds the limit", async (context) => {
      skipOn(context, runtime === "bun" && app === "node-handler.js", "node:http of Bun has no hook to count a body");
      const target = await startShared();
      const wire = new Wire(target);
      wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
      for (let n = 0; n < 3; n++) wire.send(`190\r\n${"a".repeat(400)}\r\n`);
      expect(await wire.gets(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 413 /);
      await wire.closed();
      expect((await ask(target, "/")).status).toBe(200);
    });

    it("responds with 431 to a head that is too long", async () => {
      const target = await startShared();
      const wire = new Wire(target);
      wire.send(`GET / HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(20_000)}\r\n\r\n`);
      expect(await wire.closed()).toMatch(/^HTTP\/1\.1 431 /);
    });

    it("closes a connection whose head does not arrive", async (context) => {
      skipOn(context, runtime === "bun" && app === "node-handler.js", "node:http of Bun has no head timeout");
      const target = await start(context, "--head-timeout-ms", "1000", "--keep-alive-timeout-ms", "1000");
      const wire = new Wire(target);
      // The second head: for the first one Bun has a fixed timeout.
      wire.send("GET /text HTTP/1.1\r\nHost: a\r\n\r\n");
      await wire.gets(/^HTTP\/1\.1 200 /);
      wire.send("GET / HTTP/1.1\r\nHo");
      await wire.closed();
    });

    it("closes a connection whose body stops arriving, but not one whose body arrives slowly", async (context) => {
      const target = await start(context, "--body-timeout-ms", "2000");
      const wire = new Wire(target);
      wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
      await punctually(1000, async () => {
        const slow = new Wire(target);
        slow.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n");
        // Longer in total than any timer: Bun's timers have steps of four seconds.
        for (let n = 0; n < 40 && slow.ended === "open"; n++) {
          slow.send("s");
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
        expect(slow.ended).toBe("open");
        expect(await slow.gets(/s{40}/)).toMatch(/^HTTP\/1\.1 200 /);
        slow.destroy();
      });
      await wire.closed();
    });

    it("does not disconnect a client whose body has arrived completely, or is not read by the app", async (context) => {
      const target = await start(context, "--body-timeout-ms", "1000");
      const post = (bytes: number) => ask(target, "/slow?ms=3000", { method: "POST", body: "a".repeat(bytes) });
      await punctually(500, async () => {
        for (const response of await Promise.all([post(3), post(5_000_000)]))
          expect(response).toMatchObject({ status: 200, body: "slow" });
      });
    });

    it("disconnects a client that reads nothing", async (context) => {
      skipOn(context, runtime === "bun" && app === "node-handler.js", "node:http of Bun does not say what waits");
      const server = await serve(context, "--send-timeout-ms", "500", "--keep-alive-timeout-ms", "1000");
      const { target } = server;
      const silent = new Wire(target);
      silent.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
      await silent.gets(/^HTTP\/1\.1 200 /);
      silent.pause();
      await server.program.line(/^# iterator finished/);
      silent.destroy();
      expect((await ask(target, "/")).status).toBe(200);
    });

    it("lets a handler and its stream take longer than the timeouts for heads and idle connections", async (context) => {
      skipOn(context, app === "node-handler.js", "it has no handler that takes that long");
      const target = await start(context, "--head-timeout-ms", "1000", "--keep-alive-timeout-ms", "1000");
      const [late, silent] = await Promise.all([ask(target, "/slow?ms=4000"), ask(target, "/pauses?ms=6000")]);
      expect(late).toMatchObject({ status: 200, body: "slow" });
      expect(silent).toMatchObject({ status: 200, body: "begun, ended" });
    });

    it("refuses connections beyond the limit", async (context) => {
      skipOn(context, runtime === "bun" && app === "node-handler.js", "node:http of Bun has no limit of connections");
      const server = await serve(context, "--max-connections", "2");
      const { target } = server;
      const held = [new Wire(target), new Wire(target)];
      for (const wire of held) wire.send("GET /slow?ms=600000 HTTP/1.1\r\nHost: a\r\n\r\n");
      await eventually(
        "both are being handled",
        () => server.program.output.filter((line) => line === "# slow began").length === 2 || undefined,
      );
      const third = new Wire(target);
      third.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      const received = await third.closed();
      if (runtime === "bun") expect(received).toMatch(/^HTTP\/1\.1 503 [\s\S]*connection: close/i);
      else expect(received).toBe("");
      for (const wire of held) wire.destroy();
      await eventually("room again", async () =>
        (await ask(target, "/").catch(() => undefined))?.status === 200 ? true : undefined,
      );
    });
  });
}
