/** Each phase of a request has its limit, and the client learns which one was exceeded. */

import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { afterAll, afterEach, describe, expect, it as test } from "vitest";
import { inTime, waitFor } from "../../../test/support/wait.js";
import { BalancerProcess, CLIENT_SETUPS } from "./support/balancer-process.js";
import { itUnless } from "./support/it-unless.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";
import { HELLO, respondEach, ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;

afterAll(() => BalancerProcess.stopIdle());

/** Limits that concern no other test with them: a process with these limits is started once. */
const HEADS = { headTimeoutMs: 300, keepAliveTimeoutMs: 300 };
const BODIES = { bodyTimeoutMs: 300, sendTimeoutMs: 300, upstreamIdleTimeoutMs: 200, maxBodyBytes: 100 };

describe.concurrent.each(CLIENT_SETUPS)("limits on %s over %s", (runtime, protocol) => {
  const isPlain = !runtime.includes(" with ");
  const isHttp2 = runtime.endsWith("HTTP/2");
  /** `itUnless` for decisions made before an upstream is chosen: once on each runtime, whatever the upstream protocol. */
  const ofClients: typeof itUnless = (reason) =>
    isPlain && (runtime === "bun") !== (protocol === "lane") ? () => {} : itUnless(reason);
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;

  const start = async (limits: object, onBytes: (connection: UpstreamConnection) => void, trusted: string[] = []) => {
    balancer =
      trusted.length > 0
        ? await BalancerProcess.start(runtime, limits, trusted)
        : await BalancerProcess.lease(runtime, limits);
    balancer.protocol = protocol;
    upstream = await ScriptedUpstream.listen(path.join(balancer.directory, "web.sock"), onBytes, protocol);
    await balancer.follow({ "web.1#1": upstream.path });
  };

  afterEach(async () => {
    await upstream.close();
    await balancer.giveBack();
  });

  ofClients(isPlain ? undefined : "the limit is before TLS and HTTP/2: one run over plain connections is enough")(
    "keeps a thousand clients waiting that all come at once, however busy it is",
    async () => {
      await start({}, respondEach(HELLO));
      process.kill(balancer.pid, "SIGSTOP");
      // The kernel accepts them; a client that finds the queue full gets no response.
      const clients = await Promise.all(Array.from({ length: 1000 }, () => RawClient.connect(balancer.port)));
      process.kill(balancer.pid, "SIGCONT");
      const [first, last] = [clients[0], clients.at(-1)] as [RawClient, RawClient];
      for (const client of [first, last]) {
        await client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        expect(await client.ended()).toMatch(/hello$/);
      }
      for (const client of clients) client.destroy();
    },
  );

  // Over HTTP/2 the connection ends, as its unit tests show.
  ofClients(isHttp2 ? "over HTTP/2 heads are frames: http2-limits.test.ts" : undefined)(
    "408 for a head that does not come to its end, however steadily it drips",
    async () => {
      await start(HEADS, respondEach(HELLO));
      const drip = async () => {
        const client = await RawClient.connect(balancer.port);
        void client.send("GET / HTTP/1.1\r\nHost: a\r\n");
        const timer = setInterval(() => void client.socket.write("X: y\r\n"), 50);
        try {
          return await client.ended();
        } finally {
          clearInterval(timer);
          client.destroy();
        }
      };
      // A connection that sends nothing in time gets nothing.
      expect(await inTime(drip, (received) => received === "")).toMatch(/^HTTP\/1\.1 408 /);
    },
  );

  ofClients(undefined)(
    "closes a connection that says nothing at all, and one that falls silent after an answer",
    async () => {
      await start(HEADS, respondEach(HELLO));
      expect(await exchangeRaw(balancer.port, "")).toEqual({ received: "", ending: "fin" });
      const ask = () => exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      const { received, ending } = await inTime(ask, (late) => late.received === "");
      expect(received).toMatch(/hello$/);
      expect(ending).toBe("fin");
    },
  );

  it("408 for a body that stops arriving, and the upstream is cut off", async () => {
    await start(BODIES, ({ socket, received }) => {
      if (/^GET (?:.+\r\n)+\r\n$/.test(received)) socket.write(HELLO);
    });
    // A lane that was opened later than the 408 would carry nothing.
    await exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const { received } = await exchangeRaw(
      balancer.port,
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
    );
    expect(received).toMatch(/^HTTP\/1\.1 408 /);
    await upstream.until(({ connections }) => connections.some(({ socket }) => socket.readableEnded), "the cut");
  });

  it("504 for an upstream that does not respond", async () => {
    await start({ upstreamResponseTimeoutMs: 300 }, () => {});
    const { received } = await exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect(received).toMatch(/^HTTP\/1\.1 504 /);
  });

  it("breaks the connection when a response's body stops arriving", async () => {
    await start({ upstreamResponseTimeoutMs: 300 }, respondEach("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"));
    const ask = () => exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const { received, ending } = await inTime(ask, (late) => late.received.startsWith("HTTP/1.1 504 "));
    expect(received).toMatch(/abc$/);
    expect(ending).toBe("reset");
  });

  it("closes a client that does not read, and its upstream", async () => {
    // More than the kernel accepts for a client that does not read.
    const body = Buffer.alloc(10_000_000, "x");
    await start(BODIES, ({ socket }) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
      socket.write(body);
    });
    const { errorsTotal: before } = await balancer.reports(() => true);
    const client = await RawClient.connect(balancer.port);
    client.socket.pause();
    await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await upstream.until(({ connections }) => connections.some(({ socket }) => socket.destroyed), "the cut");
    const { errorsTotal } = await balancer.reports(({ connections, inFlight }) => connections === 0 && inFlight === 0);
    // A slow client is no error of the balancer.
    expect(errorsTotal).toBe(before);
    client.destroy();
  });

  // A lane lives as long as its instance.
  if (protocol === "http1")
    it("closes upstream connections that were idle for a long time", async () => {
      await start(BODIES, respondEach(HELLO));
      await exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      await upstream.until(({ connections }) => connections[0]?.socket.readableEnded === true, "the close");
    });

  it("413 for a chunked body that exceeds the limit", async () => {
    await start(BODIES, () => {});
    const { received } = await exchangeRaw(
      balancer.port,
      `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n64\r\n${"x".repeat(100)}\r\n`,
    );
    expect(received).toMatch(/^HTTP\/1\.1 413 /);
  });

  ofClients(isHttp2 ? "over HTTP/2 such a connection ends with GOAWAY" : undefined)(
    "503 for a connection over the limit, and service again when one has gone",
    async () => {
      await start({ maxConnections: 1 }, respondEach(HELLO));
      const first = await RawClient.connect(balancer.port);
      await balancer.reports(({ connections }) => connections === 1);
      expect((await exchangeRaw(balancer.port, "")).received).toMatch(/^HTTP\/1\.1 503 /);
      first.destroy();
      await balancer.reports(({ connections }) => connections === 0);
      const { received } = await exchangeRaw(balancer.port, "GET / HTTP/1.0\r\n\r\n");
      expect(received).toMatch(/hello$/);
    },
  );

  ofClients(isPlain ? undefined : "the limit is before TLS and HTTP/2: one run over plain connections is enough")(
    "503 for no more than 256 connections over the limit at once: others are reset",
    async () => {
      await start({ maxConnections: 1 }, respondEach(HELLO));
      const ended = { refused: 0, reset: 0 };
      // All come at once, however busy the machine is: a refused connection takes a place for two seconds only.
      process.kill(balancer.pid, "SIGSTOP");
      const sockets = Array.from({ length: 400 }, () => {
        const socket = net.connect({ port: balancer.port, host: "127.0.0.1", allowHalfOpen: true });
        // The first event counts: on a busy machine a refused connection is reset before all have connected.
        let isOpen = true;
        const end = (how: keyof typeof ended) => () => {
          if (isOpen) ended[how]++;
          isOpen = false;
        };
        socket.once("data", end("refused"));
        // The reading end stays open, and so does the connection.
        socket.on("error", end("reset"));
        return socket;
      });
      await Promise.all(sockets.map((socket) => once(socket, "connect")));
      process.kill(balancer.pid, "SIGCONT");
      await waitFor("399 ends", () => ended.refused + ended.reset === 399);
      for (const socket of sockets) socket.destroy();
      expect(ended.reset).toBeGreaterThanOrEqual(400 - 1 - 256);
      await balancer.reports(({ connections }) => connections === 0);
    },
  );

  itUnless(isPlain ? undefined : "the limit is before TLS and HTTP/2: one run over plain connections is enough")(
    "takes over forwarded fields from a trusted peer, and adds the peer to them",
    async () => {
      await start({}, respondEach(HELLO), ["127.0.0.0/8"]);
      await exchangeRaw(
        balancer.port,
        "GET / HTTP/1.0\r\nHost: inner\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\n" +
          "Forwarded: for=9.9.9.9\r\n\r\n",
      );
      expect(upstream.received).toContain("X-Forwarded-For: 9.9.9.9, 127.0.0.1\r\n");
      expect(upstream.received).toContain("X-Forwarded-Proto: https\r\n");
      expect(upstream.received).toContain("X-Forwarded-Host: outer\r\n");
      expect(upstream.received).not.toContain("X-Forwarded-Host: inner");
      expect(upstream.received).toContain(
        'Forwarded: for=9.9.9.9;proto=https;host="outer", for=127.0.0.1;proto=http\r\n',
      );
    },
  );
});
