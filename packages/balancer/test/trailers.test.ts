/** Trailers of requests and responses over HTTP/1.1: they go to those who accept them, and none that could mislead. */
import net from "node:net";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { BalancerProcess, RUNTIMES } from "./support/balancer-process.js";
import { exchangeRaw } from "./support/raw-client.js";

afterAll(() => BalancerProcess.stopIdle());

const RESPONSE =
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nServer-Timing: a\r\nContent-Length: 9\r\n\r\n";
const CHUNKED =
  "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Real-IP: 6.6.6.6\r\n\r\n";

describe.each(RUNTIMES)("trailers on %s", (runtime) => {
  let balancer: BalancerProcess;
  let server: net.Server;
  let heard = "";
  let response = RESPONSE;

  beforeEach(async () => {
    heard = "";
    response = RESPONSE;
    balancer = await BalancerProcess.lease(runtime);
    server = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.setEncoding("latin1").on("data", (text: string) => {
        heard += text;
        const isWhole = heard.startsWith("GET") ? /\r\n\r\n$/ : /\r\n0\r\n(?:.+\r\n)*\r\n$/;
        if (isWhole.test(heard)) socket.write(response);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as net.AddressInfo;
    const tcp = { host: "127.0.0.1", port };
    const upstreams = [
      { id: "api.1#1", name: "api.1", tcp, foreign: true },
      { id: "own.1#1", name: "own.1", tcp },
    ];
    await balancer.follow({}, [
      { name: "api", routes: ["/"], upstreams: upstreams.slice(0, 1) },
      { name: "own", routes: ["/own"], upstreams: upstreams.slice(1) },
    ]);
  });

  afterEach(async () => {
    server.close();
    await balancer.giveBack();
  });

  it("of a response are forwarded to a client that accepts them, without those that are not allowed there", async () => {
    const get = "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\nConnection: close, TE\r\n\r\n";
    const { received } = await exchangeRaw(balancer.port, get);
    expect(received).toMatch(/\r\n\r\n2\r\nok\r\n0\r\nServer-Timing: a\r\n\r\n$/);
    expect(heard).toContain("\r\nTE: trailers\r\nConnection: TE\r\n");
  });

  it("of a response are left out for other clients", async () => {
    const { received } = await exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect(received).toMatch(/\r\n\r\n2\r\nok\r\n0\r\n\r\n$/);
    expect(heard).not.toContain("TE:");
  });

  it.each(["TE: trailers;q=0", "TE: gzip, trailers; q=0.000 , x", "TE: xtrailers", "TE: gzip"])(
    "of a response are left out for a client that does not request them: %s",
    async (field) => {
      const get = `GET / HTTP/1.1\r\nHost: a\r\n${field}\r\nConnection: close, TE\r\n\r\n`;
      const { received } = await exchangeRaw(balancer.port, get);
      expect(received).toMatch(/\r\n\r\n2\r\nok\r\n0\r\n\r\n$/);
      expect(heard).not.toContain("TE:");
    },
  );

  it.each(["", "TE: trailers\r\nConnection: TE\r\n", "TE: trailers;q=0.5\r\nTE: gzip\r\nConnection: TE\r\n"])(
    "of a response that are too large are dropped: %j",
    async (asked) => {
      response = RESPONSE.replace("Server-Timing: a", `Server-Timing: ${"a".repeat(20_000)}`);
      const { received } = await exchangeRaw(
        balancer.port,
        `GET / HTTP/1.1\r\nHost: a\r\n${asked}Connection: close\r\n\r\n`,
      );
      expect(received).toMatch(/\r\n\r\n2\r\nok\r\n0\r\n\r\n$/);
      expect(heard.includes("TE: trailers")).toBe(asked !== "");
    },
  );

  it("of a request are not sent to an instance that has not announced that it reads them, as Bun.serve does not", async () => {
    const { received } = await exchangeRaw(balancer.port, `POST /own HTTP/1.1\r\nHost: a\r\n${CHUNKED}`);
    expect(received).toMatch(/^HTTP\/1\.1 200 /);
    expect(heard).toMatch(/\r\n3\r\nabc\r\n0\r\n\r\n$/);
  });

  it("of a request are forwarded with its body", async () => {
    const { received } = await exchangeRaw(balancer.port, `POST / HTTP/1.1\r\nHost: a\r\n${CHUNKED}`);
    expect(received).toMatch(/^HTTP\/1\.1 200 /);
    expect(heard).toMatch(/\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n$/);
  });
});
