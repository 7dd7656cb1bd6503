/** A fetch app's behaviour for a client: the same on both runtimes, over TCP, a unix socket, and the lane. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask, eventually, type RuntimeName, type Standalone, startAlone, type Transport, Wire } from "./harness.js";
import { startOverLane } from "./lane-harness.js";

const cases: [RuntimeName, Transport | "lane"][] = [
  ["bun", "tcp"],
  ["bun", "unix"],
  ["bun", "lane"],
  ["node", "tcp"],
  ["node", "unix"],
  ["node", "lane"],
];

for (const [runtime, transport] of cases) {
  describe(`a fetch app on ${runtime} over ${transport}`, () => {
    let server: Standalone;
    beforeAll(async () => {
      server = await (transport === "lane" ? startOverLane(runtime) : startAlone(runtime, transport));
    });
    afterAll(() => server?.close());

    it.each([
      ["/text", "text"],
      ["/bytes", "\x01\x02\x03"],
      ["/blob", "blob body"],
      ["/stream", "tick\ntick\ntick\n"],
      ["/iterable", "one two"],
    ])("sends the body of %s completely", async (path, body) => {
      expect(await ask(server.target, path)).toMatchObject({ status: 200, body });
    });

    it("sends a short body with its length and its headers", async () => {
      const { headers } = await ask(server.target, "/text");
      expect(headers).toMatchObject({ "content-length": "4", "x-a": "1", "set-cookie": ["a=1"] });
      expect((await ask(server.target, "/cookies")).headers["set-cookie"]).toEqual(["a=1", "b=2"]);
    });

    it("sends no body with 204 and in response to HEAD", async () => {
      expect(await ask(server.target, "/nothing")).toMatchObject({ status: 204, body: "" });
      const wire = new Wire(server.target);
      wire.send("HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n");
      await wire.gets(/\r\n\r\n$/);
      // The connection is still in sync: the next response begins right after the head.
      wire.send("GET /text HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      expect(await wire.closed()).toMatch(/^HTTP\/1\.1 200 [\s\S]*?\r\n\r\nHTTP\/1\.1 200 [\s\S]*text$/);
    });

    it("accepts bodies with a length and chunked", async () => {
      expect((await ask(server.target, "/echo", { method: "POST", body: "abc" })).body).toBe("abc");
      const headers = { "transfer-encoding": "chunked" };
      expect((await ask(server.target, "/echo", { method: "POST", headers, body: "xyz" })).body).toBe("xyz");
      const body = Buffer.alloc(3 << 20, "a");
      expect((await ask(server.target, "/echo-length", { method: "POST", body })).body).toBe(String(3 << 20));
    });

    it.each(["/trailers", "/trailers?text"])("takes and sends trailers, if the runtime can: %s", async (path) => {
      const post = `POST ${path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n`;
      const body = "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
      const taking = new Wire(server.target).send(`${post}TE: trailers\r\nConnection: close, TE\r\n\r\n${body}`);
      const received = await taking.closed();
      if (transport === "lane" || runtime === "node") expect(received).toMatch(/\r\n0\r\nx-got: 1\r\n\r\n$/i);
      else expect(received).not.toContain("x-got");
      const other = new Wire(server.target).send(`${post}Connection: close\r\n\r\n${body}`);
      expect(await other.closed()).not.toContain("x-got");
    });

    it("responds to a request whose body the handler does not read", async () => {
      expect((await ask(server.target, "/text", { method: "POST", body: "ignored" })).body).toBe("text");
    });

    it("sends 100 Continue when the handler requests the body, and not if it rejects the request", async () => {
      const wire = new Wire(server.target);
      wire.send("POST /500 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
      const refused = await wire.gets(/\r\n\r\n/);
      wire.destroy();
      // Bun.serve sends it by itself, without a request of the handler.
      if (runtime === "bun" && transport !== "lane") expect(refused).toMatch(/^HTTP\/1\.1 100 /);
      else expect(refused).toMatch(/^HTTP\/1\.1 500 /);
    });

    it("sends 100 Continue before a body that waits for it", async () => {
      const wire = new Wire(server.target);
      wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
      await wire.gets(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
      wire.send("abc");
      expect(await wire.gets(/abc$/)).toMatch(/HTTP\/1\.1 200/);
      wire.destroy();
    });

    it("keeps an HTTP/1.1 connection for the next request", async () => {
      const wire = new Wire(server.target);
      for (let n = 1; n <= 3; n++) {
        wire.send("GET /text HTTP/1.1\r\nHost: a\r\n\r\n");
        await wire.gets(new RegExp(`^(?:HTTP/1\\.1 200 [\\s\\S]*?\\r\\n\\r\\ntext){${n}}$`));
      }
      wire.destroy();
    });

    it("closes an HTTP/1.0 connection after the response, and needs no Host", async () => {
      const wire = new Wire(server.target);
      wire.send("GET /info HTTP/1.0\r\n\r\n");
      const [, body] = (await wire.closed()).split("\r\n\r\n");
      expect(JSON.parse(body as string)).toMatchObject({ url: "http://localhost/info", host: "localhost" });
    });

    it("sends a body without a length to HTTP/1.0 unchunked", async () => {
      const wire = new Wire(server.target);
      wire.send("GET /iterable HTTP/1.0\r\n\r\n");
      expect(await wire.closed()).toMatch(/\r\n\r\none two$/);
    });

    it("responds to HTTP/1.0 with keep-alive, with a length that marks the end of the body", async () => {
      const wire = new Wire(server.target);
      wire.send("GET /text HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
      expect(await wire.gets(/\r\n\r\ntext$/)).toMatch(/content-length: 4/i);
      wire.destroy();
    });

    // The balancer also replaces them for an untrusted peer.
    it("does not trust X-Forwarded-* fields of a client", async () => {
      const headers = { "x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https", host: "shop:81" };
      const info = JSON.parse((await ask(server.target, "/info", { headers })).body);
      expect(info).toMatchObject({ clientAddress: transport === "unix" ? "" : "127.0.0.1", protocol: "http" });
      expect(info).toMatchObject({ host: "shop:81", url: "http://shop:81/info" });
    });

    it("rejects a Host that no URL can have", async () => {
      for (const host of ["a:b", "[::1", "a b", "u@a", "a/b", "1.2.3.4.5", "a:99999", "xn--a", "%00"]) {
        const wire = new Wire(server.target);
        wire.send(`GET /text HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
        expect(await wire.gets(/\r\n\r\n/), host).toMatch(/^HTTP\/1\.1 400 /);
        wire.destroy();
      }
      for (const host of ["", "a_b.example:81", "[::1]:80", "A.Example."]) {
        const response = await ask(server.target, "/text", { headers: { host } });
        expect([host, response.status]).toEqual([host, 200]);
      }
      for (const [first, second] of [
        ["a", "b"],
        ["a", "a"],
        ["a", ""],
        ["", "b"],
      ]) {
        const wire = new Wire(server.target);
        wire.send(`GET /text HTTP/1.1\r\nHost: ${first}\r\nHost: ${second}\r\n\r\n`);
        expect(await wire.gets(/\r\n\r\n/), `${first} and ${second}`).toMatch(/^HTTP\/1\.1 400 /);
        wire.destroy();
      }
    });

    it.each(["/throws", "/rejects", "/not-a-response"])(
      "responds with 500 to %s without the stack, logs it, and continues",
      async (path) => {
        const response = await ask(server.target, path);
        expect(response.status).toBe(500);
        expect(response.body).not.toMatch(/failed|Error:|behaviours/);
        await server.program.line(path === "/not-a-response" ? /did not return a Response/ : /the handler failed/);
        expect((await ask(server.target, "/text")).status).toBe(200);
      },
    );

    it("cuts the connection when a body fails midway, and continues", async () => {
      for (const version of ["1.0", "1.1"]) {
        const wire = new Wire(server.target);
        wire.send(`GET /fails-midway HTTP/${version}\r\nHost: a\r\n\r\n`);
        const received = await wire.closed();
        expect(received).toMatch(/part\n/);
        expect(received).not.toMatch(/\r\n0\r\n/);
        // On a unix socket no reset can be sent, so an HTTP/1.0 client cannot detect it there.
        if (transport !== "unix") expect(wire.ended).toBe("reset");
      }
      expect((await ask(server.target, "/text")).status).toBe(200);
    });

    it("sends no complete response when a body fails before its first block", async () => {
      const response = await ask(server.target, "/fails-at-once").catch(() => undefined);
      // Bun has started the response by then and cuts it off; Node can still send 500, and the balancer 502.
      if (transport === "lane") expect(response?.status).toBe(502);
      else if (runtime === "node") expect(response?.status).toBe(500);
      else expect(response).toBeUndefined();
      expect((await ask(server.target, "/text")).status).toBe(200);
    });

    const isBunServe = runtime === "bun" && transport !== "lane";
    it("gives a status the reason that RFC 9110 has", async (context) => {
      if (isBunServe) return context.skip("Bun.serve has phrases of its own");
      const wire = new Wire(server.target);
      wire.send("GET /413 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      expect(await wire.closed()).toMatch(/^HTTP\/1\.1 413 Content Too Large\r\n/);
    });

    it("responds with 500 if a field of a response cannot be sent, without any part of that response", async (context) => {
      if (isBunServe) return context.skip("Bun.serve sends such a field as it is");
      const wire = new Wire(server.target);
      wire.send("GET /bad-field HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      const received = await wire.closed();
      expect(received).toMatch(/^HTTP\/1\.1 500 Internal Server Error\r\n[\s\S]*\r\n\r\nInternal Server Error\n$/);
      expect(received).toMatch(/^content-length: 22\r$/im);
      expect(received).not.toMatch(/x-own|transfer-encoding/i);
    });

    it("generates no more of a body than a slow reader accepts, and ends it when the reader disconnects", async () => {
      const wire = new Wire(server.target);
      wire.pause();
      wire.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
      let before = -1;
      await eventually("a pause of the body", async () => {
        const now = Number((await ask(server.target, "/produced")).body);
        const still = now === before && now > 0;
        before = now;
        return still || undefined;
      });
      expect(before * 64).toBeLessThan(32 << 10);
      wire.destroy();
      await server.program.line(/^# iterator finished/);
    });

    it("cancels a stream when its reader disconnects", async () => {
      const wire = new Wire(server.target);
      wire.send("GET /endless-stream HTTP/1.1\r\nHost: a\r\n\r\n");
      await wire.gets(/a{1000}/);
      wire.destroy();
      await server.program.line(/^# stream cancelled/);
    });

    it("aborts request.signal when the client disconnects", async () => {
      const wire = new Wire(server.target);
      wire.send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n");
      await server.program.line(/^# waits began/);
      wire.destroy();
      await server.program.line(/^# aborted/);
    });

    it("responds to a malformed head with 400 and closes", async () => {
      const wire = new Wire(server.target);
      wire.send("GET / HTTP/1.1\r\nHo st: a\r\n\r\n");
      expect(await wire.closed()).toMatch(/^HTTP\/1\.1 400 /);
    });
  });
}
