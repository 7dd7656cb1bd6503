/** Upstreams of a proxy that break the protocol: valid bytes are used, and superfluous ones are forwarded to nobody. */
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { describe, expect, it, onTestFinished } from "vitest";
import { makeCertificate } from "../../../test/support/certificate.js";
import { brokenResponse, randomOf } from "../../balancer/test/support/broken-responses.js";
import { eventually } from "./harness.js";
import { GET, OK, RawUpstream, startInstance } from "./proxy-harness.js";

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => sockets.add(socket));
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as { port: number }).port;
}

describe("an upstream of a proxy that refuses a body and closes, on node", () => {
  const refusal = "HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
  /** A close with unread bytes causes a reset. */
  const refuse = (socket: Socket) => {
    socket.on("error", () => {});
    socket.once("data", () => {
      socket.pause();
      socket.write(refusal, () => socket.destroy());
    });
  };
  const piece = "x".repeat(100_000);
  const bodies = {
    "a length": ["Content-Length: 6000000", piece.repeat(60)],
    chunks: ["Transfer-Encoding: chunked", `186a0\r\n${piece}\r\n`.repeat(60)],
  } as const;

  it.each([
    ["http", "a length"],
    ["http", "chunks"],
    ["https", "a length"],
    ["https", "chunks"],
  ] as const)("over %s is heard each time, with a body of %s", async (scheme, framing) => {
    const certificate = scheme === "http" ? undefined : makeCertificate("old.example");
    // Without openssl there is no certificate.
    if (scheme === "https" && certificate === undefined) return;
    const port = await listening(
      certificate === undefined ? createServer(refuse) : createTlsServer(certificate, refuse),
    );
    const front = await startInstance(`${scheme}://127.0.0.1:${port}`, scheme === "http" ? {} : { secure: false });
    const [field, body] = bodies[framing];
    for (let i = 0; i < 12; i++) {
      const client = front.client();
      client.send(`POST / HTTP/1.1\r\nHost: a\r\n${field}\r\n\r\n${body}`);
      expect(await client.gets(/no$/)).toMatch(/^HTTP\/1\.1 413 Too Much\r\n/);
      client.destroy();
    }
  });
});

describe("the connections of a proxy to its upstream, on node", () => {
  it("serve one client each, and end with it", async () => {
    const upstream = await RawUpstream.listen();
    const front = await startInstance(upstream.url);
    const clients = [front.client(), front.client()];
    for (const round of [1, 2]) {
      for (const [index, client] of clients.entries()) {
        client.send(GET);
        const wire = await upstream.connection(index);
        await wire.gets(new RegExp(`^(GET [\\s\\S]*?\\r\\n\\r\\n){${round}}$`));
        wire.send(OK);
        await client.gets(new RegExp(`(ok[\\s\\S]*){${round}}$`));
      }
    }
    expect(upstream.connections).toHaveLength(2);
    clients[0]?.destroy();
    await (await upstream.connection(0)).closed();
    expect(upstream.connections[1]?.ended).toBe("open");
  });

  it("are closed when bytes arrive that nobody requested", async () => {
    const upstream = await RawUpstream.listen();
    const front = await startInstance(upstream.url);
    const client = front.client();
    client.send(GET);
    const wire = await upstream.connection(0);
    await wire.gets(/\r\n\r\n/);
    wire.send(OK);
    await client.gets(/ok$/);
    wire.send(OK);
    await wire.closed();
  });

  it("of idle clients make room for those of others", async () => {
    const upstream = await RawUpstream.listen();
    const front = await startInstance(upstream.url, { maxConnections: 2 });
    for (let index = 0; index < 6; index++) {
      const client = front.client();
      client.send(GET);
      const wire = await upstream.connection(index);
      await wire.gets(/\r\n\r\n/);
      wire.send(OK);
      await client.gets(/ok$/);
    }
    await eventually(
      "no more than two",
      () => upstream.connections.filter(({ ended }) => ended === "open").length <= 2 || undefined,
    );
  });

  it("send no client a byte that was meant for another, whatever the upstream sends", async () => {
    const random = randomOf(14);
    const port = await listening(
      createServer((socket) => {
        socket.on("error", () => {});
        socket.on("data", (bytes) => {
          for (const [, token = ""] of bytes.toString("latin1").matchAll(/^[A-Z]+ \/(\[\w+\]) HTTP/gm))
            void respond(socket, brokenResponse(token, random));
        });
      }),
    );
    const front = await startInstance(`http://127.0.0.1:${port}`, { responseTimeoutMs: 300 });
    let answered = 0;
    const ask = async (name: string) => {
      const client = front.client();
      const method = random() < 0.2 ? "HEAD" : random() < 0.3 ? "POST" : "GET";
      client.send(`${method} /[${name}] HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
      const received = await client.closed();
      expect(received.match(/\[\w+\]/g)?.filter((token) => token !== `[${name}]`) ?? []).toEqual([]);
      if (received.startsWith("HTTP/1.1 200")) answered++;
    };
    for (let round = 0; round < 25; round++)
      await Promise.all(Array.from({ length: 12 }, (_, i) => ask(`${round}x${i}`)));
    expect(answered).toBeGreaterThan(50);
  });
});

async function respond(socket: Socket, { pieces, end }: ReturnType<typeof brokenResponse>): Promise<void> {
  for (const { text, afterMs } of pieces) {
    await new Promise((resolve) => (afterMs === 0 ? setImmediate(resolve) : setTimeout(resolve, afterMs)));
    if (socket.destroyed) return;
    socket.write(text, "latin1");
  }
  if (end === "fin") socket.end();
  else if (end === "reset") socket.destroy();
}
