/** A Node (req, res) app, on both runtimes and transports. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask, type RuntimeName, type Standalone, startAlone, type Transport, Wire } from "./harness.js";

const cases: [RuntimeName, Transport][] = [
  ["bun", "tcp"],
  ["bun", "unix"],
  ["node", "tcp"],
  ["node", "unix"],
];

for (const [runtime, transport] of cases) {
  describe(`a (req, res) app on ${runtime} over ${transport}`, () => {
    let server: Standalone;
    beforeAll(async () => {
      server = await startAlone(runtime, transport, "node-handler.js");
    });
    afterAll(() => server?.close());

    it("answers, with bodies both ways", async () => {
      expect(await ask(server.target, "/")).toMatchObject({ status: 200, body: "Hello from Node\n" });
      expect((await ask(server.target, "/echo", { method: "POST", body: "abc" })).body).toBe("abc");
    });

    it("answers 500 to a handler that rejects, logs the stack, and lives on", async () => {
      const answer = await ask(server.target, "/throws");
      expect(answer.status).toBe(500);
      expect(answer.body).not.toMatch(/failed/);
      await server.program.line(/the handler failed/);
      expect((await ask(server.target, "/")).status).toBe(200);
    });

    it("cuts the connection when the handler rejects midway", async () => {
      const wire = new Wire(server.target);
      wire.send("GET /fails-midway HTTP/1.1\r\nHost: a\r\n\r\n");
      const received = await wire.closed();
      expect(received).toMatch(/part\n/);
      expect(received).not.toMatch(/\r\n0\r\n/);
      expect((await ask(server.target, "/")).status).toBe(200);
    });

    it("finishes what is in flight on SIGTERM, with Connection: close, and exits 0", async () => {
      const slow = ask(server.target, "/slow");
      await server.program.line(/^# slow began/);
      server.program.kill("SIGTERM");
      expect(await slow).toMatchObject({ status: 200, body: "slow", headers: { connection: "close" } });
      expect(await server.program.exited).toEqual({ code: 0, signal: null });
    });
  });
}
