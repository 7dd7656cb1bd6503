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

    it("responds, with bodies in both directions", async () => {
      expect(await ask(server.target, "/")).toMatchObject({ status: 200, body: "Hello from Node\n" });
      expect((await ask(server.target, "/echo", { method: "POST", body: "abc" })).body).toBe("abc");
    });

    it("responds with 500 if a handler rejects, logs the stack, and continues", async () => {
      const response = await ask(server.target, "/throws");
      expect(response.status).toBe(500);
      expect(response.body).not.toMatch(/failed/);
      await server.program.line(/the handler failed/);
      expect((await ask(server.target, "/")).status).toBe(200);
    });

    it.each(["throws", "destroys"])("cuts the connection when a handler %s during the response", async (how) => {
      for (const version of ["1.0", "1.1"]) {
        const wire = new Wire(server.target);
        wire.send(`GET /breaks?${how} HTTP/${version}\r\nHost: a\r\n\r\n`);
        // Node may report a reset that comes together with data as an end.
        await wire.gets(/part\n/);
        await ask(server.target, "/release");
        expect(await wire.closed()).not.toMatch(/\r\n0\r\n/);
        // On a unix socket no reset can be sent.
        if (transport === "tcp" && version === "1.0") expect(wire.ended).toBe("reset");
      }
      expect((await ask(server.target, "/")).status).toBe(200);
    });

    it.each([
      ["GET", "/long"],
      ["GET", "/long-at-once"],
    ])("%s %s: bytes beyond the Content-Length are dropped", async (method, path) => {
      const wire = new Wire(server.target);
      wire.send(`${method} ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await wire.gets(/\r\n\r\nok/);
      wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      expect(await wire.closed()).toMatch(/\r\n\r\nokHTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nHello from Node\n$/);
      await server.program.line(new RegExp(`wrote more than the 2 bytes of its Content-Length \\(GET ${path}\\)`));
    });

    it.each([
      ["HEAD", "/bodiless"],
      ["GET", "/bodiless?204"],
      ["GET", "/bodiless?304"],
    ])("%s %s: a body where there can be none is dropped", async (method, path) => {
      const wire = new Wire(server.target);
      wire.send(`${method} ${path} HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
      expect(await wire.closed()).toMatch(/\r\n\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nHello from Node\n$/);
      expect(wire.received).not.toMatch(/EXTRA|\nok/);
    });

    it("cuts off a response that is shorter than its Content-Length", async () => {
      const wire = new Wire(server.target);
      wire.send("GET /short HTTP/1.1\r\nHost: a\r\n\r\n");
      await wire.closed();
      await server.program.line(/wrote less than the 5 bytes of its Content-Length \(GET \/short\)/);
    });

    it("a handler that rejects after the end of its response has responded", async () => {
      const wire = new Wire(server.target);
      wire.send("GET /ended-then-throws HTTP/1.1\r\nHost: a\r\n\r\n");
      await wire.gets(/whole$/);
      wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      expect(await wire.closed()).toMatch(/Hello from Node\n$/);
    });

    it("a pipelined handler that rejects during its response does not affect the response before it", async () => {
      const wire = new Wire(server.target);
      wire.send("GET /slow?ms=200 HTTP/1.1\r\nHost: a\r\n\r\nGET /fails-midway HTTP/1.1\r\nHost: a\r\n\r\n");
      const received = await wire.closed();
      expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nslow/);
      expect(received).not.toMatch(/\r\n0\r\n/);
    });

    it("sends 100 Continue when the handler requests the body, and only then", async () => {
      const wire = new Wire(server.target);
      const expecting = "HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
      wire.send(`POST / ${expecting}`);
      expect(await wire.gets(/Hello from Node\n$/)).toMatch(/^HTTP\/1\.1 200 /);
      const other = new Wire(server.target);
      other.send(`POST /echo ${expecting}`);
      await other.gets(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
      other.send("abc");
      await other.gets(/abc$/);
      wire.destroy();
      other.destroy();
    });

    it("finishes what is in flight on SIGTERM, with Connection: close, and exits with 0", async () => {
      const slow = ask(server.target, "/slow");
      await server.program.line(/^# slow began/);
      server.program.kill("SIGTERM");
      expect(await slow).toMatchObject({ status: 200, body: "slow", headers: { connection: "close" } });
      expect(await server.program.exited).toEqual({ code: 0, signal: null });
    });
  });
}
