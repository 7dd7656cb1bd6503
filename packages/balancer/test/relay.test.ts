/** How a client and an instance see forwarding, byte by byte, over both transports and both protocols. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { BalancerProcess, SETUPS } from "./support/balancer-process.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";
import { HELLO, respondEach, ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

describe.each(SETUPS)("relay on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;
  let onBytes: (connection: UpstreamConnection) => void = () => {};

  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime);
    balancer.protocol = protocol;
    const socket = path.join(balancer.directory, "web.1#1.sock");
    upstream = await ScriptedUpstream.listen(socket, (connection) => onBytes(connection), protocol);
    await balancer.follow({ "web.1#1": socket });
  });

  afterAll(async () => {
    await upstream?.close();
    await balancer?.stop();
  });

  beforeEach(() => {
    for (const connection of upstream.connections) connection.received = "";
    onBytes = respondEach(HELLO);
  });

  /** Returns the single request of the upstream. */
  const relayed = () => upstream.received;

  it("builds a new head for the upstream: no hop-by-hop field, none that Connection names, and its own forwarded fields", async () => {
    await exchangeRaw(
      balancer.port,
      "GET /a?b=c HTTP/1.1\r\nhost: shop.example:80\r\nConnection: close, X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\n" +
        "TE: deflate\r\nProxy-Connection: x\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nAccept:   */*  \r\n\r\n",
    );
    expect(relayed()).toBe(
      "GET /a?b=c HTTP/1.1\r\nHost: shop.example:80\r\nAccept: */*\r\nX-Forwarded-For: 127.0.0.1\r\n" +
        "X-Forwarded-Proto: http\r\nForwarded: for=127.0.0.1;proto=http\r\nX-Forwarded-Host: shop.example:80\r\n\r\n",
    );
  });

  it("keeps the client's connection and the upstream's for the next request", async () => {
    const client = await RawClient.connect(balancer.port);
    const before = upstream.accepted.length;
    for (let i = 1; i <= 3; i++) {
      await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      await client.until(({ received }) => received.split("hello").length - 1 === i, `answer ${i}`);
    }
    expect(client.ending).toBe("open");
    expect(upstream.accepted.length - before).toBeLessThanOrEqual(1);
    client.destroy();
  });

  it("responds to HTTP/1.0 with a close, or with keep-alive if requested, even without a Host", async () => {
    const { received, ending } = await exchangeRaw(balancer.port, "GET / HTTP/1.0\r\n\r\n");
    expect(ending).toBe("fin");
    expect(received).toContain("Connection: close\r\n");
    const client = await RawClient.connect(balancer.port);
    for (let i = 1; i <= 2; i++) {
      await client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
      await client.until(({ received: text }) => text.split("hello").length - 1 === i, `answer ${i}`);
    }
    expect(client.received).toContain("Connection: keep-alive\r\n");
    client.destroy();
  });

  it("responds to pipelined requests in order", async () => {
    let n = 0;
    onBytes = (connection) => {
      // A request is complete with its empty line, or with its body.
      if (!/(\r\n\r\n|abc)$/.test(connection.received) || /Content-Length: 3[\s\S]*\r\n\r\n$/.test(connection.received))
        return;
      connection.received = "";
      const body = `answer-${++n}`;
      connection.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    };
    const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const { received } = await exchangeRaw(
      balancer.port,
      `${request}${request}POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );
    expect([...received.matchAll(/answer-\d/g)].map(String)).toEqual(["answer-1", "answer-2", "answer-3", "answer-4"]);
  });

  it("continues with the next request after a body that arrived in several reads", async () => {
    onBytes = (connection) => {
      if (!/end(\r\n0\r\n\r\n)?$|^GET/.test(connection.received)) return;
      connection.received = "";
      connection.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    };
    const client = await RawClient.connect(balancer.port);
    await client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n");
    await upstream.until(() => upstream.received.includes("begin"), "the first piece");
    await client.send("3\r\nend\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect((await client.ended()).match(/ok/g)?.length).toBe(2);
  });

  it("continues to read a body whose beginning arrived ahead, with more bytes than are kept ahead", async () => {
    const held: (() => void)[] = [];
    const body = "x".repeat(500_000);
    onBytes = (connection) => {
      const response = () => connection.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      if (/^GET.*\r\n\r\n$/s.test(connection.received)) held.push(response);
      else if (connection.received.endsWith(body)) response();
      if (connection.received.startsWith("GET") && held.length > 0) connection.received = "";
    };
    const client = await RawClient.connect(balancer.port);
    await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await upstream.until(() => held.length === 1, "the first request");
    const head = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`;
    // Not awaited, because the balancer stops reading before all of it was sent.
    void client.send(head + body);
    await balancer.reports(({ inFlight }) => inFlight === 1);
    held[0]?.();
    await client.until(({ received }) => received.split("ok").length === 3, "both answers");
    client.destroy();
  });

  it("forwards a chunked body in both directions with new framing, without extensions and unwanted trailers", async () => {
    onBytes = (connection) => {
      if (!connection.received.endsWith("0\r\n\r\n")) return;
      connection.socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nfoo\r\n");
      connection.socket.write("4\r\nquux\r\n0\r\nTrailer-Field: 1\r\n\r\n");
    };
    const client = await RawClient.connect(balancer.port);
    await client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhel");
    await client.send("lo\r\n3\r\nabc\r\n0\r\nHost: other\r\n\r\n");
    await client.until(({ received }) => received.endsWith("0\r\n\r\n"), "the last chunk");
    expect(relayed()).toContain("Transfer-Encoding: chunked\r\n");
    expect(unchunk(relayed())).toBe("helloabc");
    expect(unchunk(client.received)).toBe("fooquux");
    expect(client.received).not.toContain("Trailer-Field");
    expect(relayed()).not.toContain("other");
    client.destroy();
  });

  it("sends a response without a length chunked to HTTP/1.1, and until the close to HTTP/1.0", async () => {
    onBytes = (connection) => void connection.socket.end("HTTP/1.1 200 OK\r\n\r\nto the end");
    const newer = await RawClient.connect(balancer.port);
    await newer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await newer.until(({ received }) => received.endsWith("0\r\n\r\n"), "the last chunk");
    expect(unchunk(newer.received)).toBe("to the end");
    expect(newer.ending).toBe("open");
    newer.destroy();
    const older = await exchangeRaw(balancer.port, "GET / HTTP/1.0\r\n\r\n");
    expect(older.received.split("\r\n\r\n")[1]).toBe("to the end");
    expect(older.ending).toBe("fin");
  });

  it.each([
    ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "Content-Length: 1000"],
    ["GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n", "304 Not Modified"],
    ["GET", "HTTP/1.1 204 No Content\r\n\r\n", "204 No Content"],
  ])("does not assume a body: %s with the response %j", async (method, response, expected) => {
    onBytes = respondEach(response);
    const client = await RawClient.connect(balancer.port);
    await client.send(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`);
    await client.until(({ received }) => received.endsWith("\r\n\r\n"), "the head");
    expect(client.received).toContain(expected);
    // The connection is at the start of the next response.
    onBytes = respondEach(HELLO);
    for (const connection of upstream.connections) connection.received = "";
    await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.until(({ received }) => received.endsWith("hello"), "the next answer");
    client.destroy();
  });

  it("forwards 100 Continue to a client that waits for it, and 103 only to HTTP/1.1", async () => {
    onBytes = (connection) => {
      if (connection.received.endsWith("\r\n\r\n")) connection.socket.write("HTTP/1.1 100 Continue\r\n\r\n");
      if (!connection.received.endsWith("abc")) return;
      connection.socket.write(`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${HELLO}`);
    };
    const client = await RawClient.connect(balancer.port);
    await client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    await client.until(({ received }) => received === "HTTP/1.1 100 Continue\r\n\r\n", "100 Continue");
    await client.send("abc");
    await client.until(({ received }) => received.endsWith("hello"), "the answer");
    expect(client.received).toContain("103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK");
    client.destroy();
  });

  it("sends 100 Continue once to a client that waits for it with an empty body, whatever the upstream sends", async () => {
    const client = await RawClient.connect(balancer.port);
    for (const interim of ["", "HTTP/1.1 100 Continue\r\n\r\n"]) {
      for (const length of ["Content-Length: 0\r\n", ""]) {
        onBytes = (connection) => connection.socket.write(`${interim}${HELLO}`);
        client.received = "";
        await client.send(`PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n${length}\r\n`);
        await client.until(({ received }) => received.endsWith("hello"), "the response");
        expect(client.received).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
      }
    }
    client.destroy();
  });

  it("tunnels an upgrade both ways, including bytes that arrived before the 101, and ends it with either side", async () => {
    onBytes = (connection) => {
      const { received } = connection;
      if (received.endsWith("\r\n\r\n")) {
        connection.socket.write(
          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi",
        );
      } else connection.socket.write(received.split("\r\n\r\n")[1]?.toUpperCase() ?? "");
    };
    const client = await RawClient.connect(balancer.port);
    await client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    await client.until(({ received }) => received.endsWith("hi"), "the tunnel's first bytes");
    expect(client.received).toMatch(/^HTTP\/1\.1 101 [^\r]*\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhi$/);
    expect(relayed()).toContain("Upgrade: websocket\r\n");
    await client.send("abc\0\n");
    await client.until(({ received }) => received.endsWith("hiABC\0\n"), "the echo");
    upstream.connections.find(({ received }) => received.includes("/ws"))?.socket.end();
    await client.ended();
    client.destroy();
  });

  it("forwards completely what the upstream still sends in a tunnel whose client has sent FIN", async () => {
    onBytes = ({ socket, received }) => {
      if (!received.endsWith("\r\n\r\n")) return;
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n");
    };
    const client = await RawClient.connect(balancer.port);
    await client.send("GET /attach HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    await client.until(({ received }) => received.endsWith("\r\n\r\n"), "the 101");
    const tunnel = upstream.connections.find(({ received }) => received.includes("/attach")) as UpstreamConnection;
    await client.send("a".repeat(100_000));
    client.socket.end();
    await upstream.until(() => tunnel.socket.readableEnded, "the client's FIN");
    expect(tunnel.received.endsWith(`\r\n\r\n${"a".repeat(100_000)}`)).toBe(true);
    tunnel.socket.write("b".repeat(3_000_000));
    tunnel.socket.end();
    await client.ended();
    expect(client.ending).toBe("fin");
    expect(client.received.endsWith(`\r\n\r\n${"b".repeat(3_000_000)}`)).toBe(true);
  });

  it("forwards everything of a tunnel that its upstream has ended to a client that continues to send", async () => {
    // The kernel accepts all of it, although the client reads nothing.
    const tail = "b".repeat(120_000);
    onBytes = (connection) => {
      const { socket, received } = connection;
      if (!received.includes("/ends")) return respondEach(HELLO)(connection);
      if (received.endsWith("\r\n\r\n"))
        socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n");
      if (!received.endsWith("go")) return;
      socket.write(tail);
      socket.end();
    };
    const client = await RawClient.connect(balancer.port);
    await client.send("GET /ends HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    await client.until(({ received }) => received.endsWith("\r\n\r\n"), "the 101");
    const tunnel = upstream.connections.find(({ received }) => received.includes("/ends")) as UpstreamConnection;
    client.socket.pause();
    await client.send("go");
    // The balancer has received the end: over HTTP/1.1 it has closed the connection, over the lane it has responded to later requests.
    if (protocol === "http1") await upstream.until(() => tunnel.socket.destroyed, "the end of the tunnel");
    else {
      await upstream.until(() => tunnel.received.endsWith("go"), "the word");
      await exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    await client.send("and on");
    client.socket.resume();
    await client.ended();
    expect(client.ending).toBe("fin");
    expect(client.received.endsWith(`\r\n\r\n${tail}`)).toBe(true);
  });

  it("continues to read a tunnel of which much arrived before the 101", async () => {
    const accepts: (() => void)[] = [];
    onBytes = ({ socket, received }) => {
      if (!received.endsWith("\r\n\r\n")) return;
      accepts.push(() => socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"));
    };
    const client = await RawClient.connect(balancer.port);
    await client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    await upstream.until(() => accepts.length === 1, "the upgrade");
    await client.send("a".repeat(100_000));
    await balancer.reports(({ inFlight }) => inFlight === 1);
    accepts[0]?.();
    await client.until(({ received }) => received.includes("101"), "the 101");
    await client.send("the end");
    await upstream.until(({ received }) => received.endsWith(`${"a".repeat(100_000)}the end`), "all that was sent");
    client.destroy();
  });

  it("tells the upstream immediately when the client has disconnected", async () => {
    onBytes = () => {};
    const client = await RawClient.connect(balancer.port);
    await client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    await upstream.until(({ received }) => received.includes("/slow"), "the request");
    const connection = upstream.connections.find(({ received }) => received.includes("/slow")) as UpstreamConnection;
    client.destroy();
    await upstream.until(() => connection.socket.destroyed || connection.socket.readableEnded, "the client's end");
  });

  it.each([
    ["a length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"],
    ["chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"],
  ])(
    "breaks the client's connection when the upstream is lost in the middle of a body with %s",
    async (_, response) => {
      onBytes = (connection) => void connection.socket.write(response);
      const client = await RawClient.connect(balancer.port);
      await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      await client.until(({ received }) => received.includes("half"), "half of the body");
      for (const { socket } of upstream.connections) socket.destroy();
      await client.ended();
      expect(client.received.endsWith("0\r\n\r\n")).toBe(false);
      expect(client.ending).toBe("reset");
      client.destroy();
    },
  );

  it.each([
    "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
  ])("responds with 502 for an upstream's %j", async (response) => {
    onBytes = (connection) => void connection.socket.write(response);
    const { received } = await exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect(received).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
  });

  // A lane's frames mark the end of a head and a body; its faults have separate tests.
  if (protocol === "http1")
    it.each([
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
      "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
      "SSH-2.0-OpenSSH_9.2 and more\r\n",
    ])("responds with 502 for an upstream's framing %j", async (response) => {
      onBytes = (connection) => void connection.socket.write(response);
      const { received } = await exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      expect(received).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
    });

  it("closes the client's connection after a response that came before the end of the request, and lets the response arrive", async () => {
    onBytes = respondEach("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    const client = await RawClient.connect(balancer.port);
    await client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc");
    await client.until(({ received }) => received.endsWith("no"), "the early answer");
    await client.send("d".repeat(50_000));
    expect(client.received).toContain("Connection: close\r\n");
    await client.until(({ ending }) => ending === "fin", "the end");
    client.destroy();
  });

  it("sends many slow readers their large bodies completely", async () => {
    const body = Buffer.from(Uint32Array.from({ length: 1_500_000 }, (_, i) => i).buffer);
    const digest = createHash("sha1").update(body).digest("hex");
    onBytes = ({ socket }) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
      socket.write(body);
    };
    const readers = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const socket = net.connect(balancer.port, "127.0.0.1");
        await once(socket, "connect");
        socket.pause();
        socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        return socket;
      }),
    );
    // All were sent, and the buffers are full, before the first client reads.
    await upstream.until(({ received }) => received.split("GET ").length - 1 === readers.length, "all requests");
    await balancer.reports(({ inFlight }) => inFlight === readers.length);
    const digests = readers.map(async (socket) => {
      const pieces: Buffer[] = [];
      for await (const piece of socket) pieces.push(piece as Buffer);
      const response = Buffer.concat(pieces);
      return createHash("sha1")
        .update(response.subarray(response.indexOf("\r\n\r\n") + 4))
        .digest("hex");
    });
    expect(await Promise.all(digests)).toEqual(readers.map(() => digest));
  });

  it("carries large bodies in both directions through small windows", async () => {
    const size = 3_000_000;
    onBytes = (connection) => {
      const body = connection.received.slice(connection.received.indexOf("\r\n\r\n") + 4);
      if (body.length < size) return;
      connection.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
      connection.socket.write(body, "latin1");
    };
    const body = Array.from({ length: size / 10 }, (_, i) => String(i).padStart(10, "-")).join("");
    const client = await RawClient.connect(balancer.port);
    const sent = client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n${body}`);
    await client.until(({ received }) => received.length > 0, "the answer's begin");
    client.socket.pause();
    await sent;
    client.socket.resume();
    await client.until(({ received }) => received.length >= size, "the whole body");
    expect(client.received.slice(client.received.indexOf("\r\n\r\n") + 4) === body).toBe(true);
    client.destroy();
  });
});

/** Returns the data of a chunked message's body. */
function unchunk(message: string): string {
  let rest = message.slice(message.indexOf("\r\n\r\n") + 4);
  let data = "";
  for (;;) {
    const line = rest.slice(0, rest.indexOf("\r\n"));
    const size = Number.parseInt(line, 16);
    const start = line.length + 2;
    if (!(size > 0)) return data;
    data += rest.slice(start, start + size);
    rest = rest.slice(start + size + 2);
  }
}
