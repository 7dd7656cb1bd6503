/** Compressed responses of a real balancer: over HTTP/1.1 and HTTP/2, both upstream protocols, on both runtimes. */
import { createHash, randomBytes } from "node:crypto";
import http2 from "node:http2";
import path from "node:path";
import zlib from "node:zlib";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { BalancerProcess, pool, SETUPS } from "./support/balancer-process.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";
import { respondEach, ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

afterAll(() => BalancerProcess.stopIdle());

const TEXT = JSON.stringify(Array.from({ length: 200 }, (_, id) => ({ id, name: `name ${id}`, isOn: id % 3 === 0 })));
const JSON_200 = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: "a"\r\nContent-Length: ${TEXT.length}\r\n\r\n`;
const RULE = { minBytes: 1024, maxStreams: 2, secrets: false };
const ask = (fields = "", method = "GET") =>
  `${method} / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n${fields}\r\n`;

/** Returns the received part of a chunked response's body. */
function unchunked(received: string): Buffer {
  const pieces: string[] = [];
  for (let at = received.indexOf("\r\n\r\n") + 4; ; ) {
    const size = Number.parseInt(received.slice(at, at + 8), 16);
    if (!(size > 0)) return Buffer.from(pieces.join(""), "latin1");
    at = received.indexOf("\r\n", at) + 2;
    pieces.push(received.slice(at, at + size));
    at += size + 2;
  }
}

/** Returns what a client can read of it so far. */
const readable = (received: string) =>
  zlib.gunzipSync(unchunked(received), { finishFlush: zlib.constants.Z_SYNC_FLUSH }).toString();

describe.each(SETUPS)("compression on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;

  const serve = async (onBytes: (connection: UpstreamConnection) => void, rule: object = {}) => {
    const socket = path.join(balancer.directory, "web.1#1.sock");
    upstream = await ScriptedUpstream.listen(socket, onBytes, protocol);
    const described = pool(balancer.poolName, ["/"], { "web.1#1": socket });
    await balancer.follow({}, [{ ...described, compress: { ...RULE, ...rule } }]);
  };

  beforeEach(async () => {
    balancer = await BalancerProcess.lease(runtime);
    balancer.protocol = protocol;
  });

  afterEach(async () => {
    await upstream.close();
    await balancer.giveBack();
  });

  it("sends a body with the coding that its client accepts, on a connection that stays open", async () => {
    await serve(respondEach(JSON_200 + TEXT));
    const client = await RawClient.connect(balancer.port);
    for (let n = 1; n <= 2; n++) {
      client.received = "";
      await client.send(ask());
      await client.until(({ received }) => received.endsWith("\r\n0\r\n\r\n"), `response ${n}`);
      expect(readable(client.received)).toBe(TEXT);
    }
    const head = client.received.split("\r\n\r\n", 1)[0];
    expect(head).toContain('\r\nVary: Accept-Encoding\r\nContent-Encoding: gzip\r\nETag: W/"a"\r\n');
    expect(head).not.toContain("Content-Length");
    client.destroy();
    const plain = await exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect(plain.received).toMatch(/\r\nETag: "a"\r\nVary: Accept-Encoding\r\n/);
    expect(plain.received.endsWith(`\r\n\r\n${TEXT}`)).toBe(true);
  });

  it("sends HEAD the same fields, and no body", async () => {
    await serve((connection) => {
      connection.socket.write(connection.received.startsWith("HEAD") ? JSON_200 : JSON_200 + TEXT);
      connection.received = "";
    });
    const fields = async (method: string) => {
      const { received } = await exchangeRaw(balancer.port, ask("Connection: close\r\n", method));
      const [head = "", ...body] = received.split("\r\n\r\n");
      return { fields: head.replace(/\r\n(Date: [^\r]*|Transfer-Encoding: chunked)/g, ""), body: body.join("") };
    };
    const head = await fields("HEAD");
    expect(head.body).toBe("");
    expect(head.fields).toBe((await fields("GET")).fields);
  });

  it("does the same over HTTP/2", async () => {
    await serve(respondEach(JSON_200 + TEXT));
    const client = http2.connect(`http://127.0.0.1:${balancer.port}`);
    const asked = client.request({ ":path": "/", "accept-encoding": "br, gzip;q=0.5" });
    const pieces: Buffer[] = [];
    let headers: http2.IncomingHttpHeaders = {};
    asked.on("response", (got) => {
      headers = got;
    });
    for await (const piece of asked) pieces.push(piece as Buffer);
    client.close();
    expect(headers).toMatchObject({ "content-encoding": "br", vary: "Accept-Encoding", etag: 'W/"a"' });
    expect(headers["content-length"]).toBeUndefined();
    expect(zlib.brotliDecompressSync(Buffer.concat(pieces)).toString()).toBe(TEXT);
  });

  it("sends each event immediately, and a client that disconnects frees its compressor", async () => {
    const streams: UpstreamConnection[] = [];
    const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    await serve(
      (connection) => {
        if (!connection.received.endsWith("\r\n\r\n")) return;
        streams.push(connection);
        connection.socket.write(`${head}9\r\ndata: 0\n\n\r\n`);
      },
      { maxStreams: 1 },
    );
    const follow = async () => {
      const client = await RawClient.connect(balancer.port);
      await client.send(ask());
      await client.until(({ received }) => received.includes("\r\n\r\n"), "the head");
      return client;
    };
    const client = await follow();
    const [stream] = streams;
    for (let n = 1; n <= 3; n++) {
      stream?.socket.write(`9\r\ndata: ${n}\n\n\r\n`);
      await client.until(({ received }) => readable(received).endsWith(`data: ${n}\n\n`), `event ${n}`);
    }
    const second = await follow();
    expect(second.received).not.toContain("Content-Encoding");
    client.destroy();
    second.destroy();
    await balancer.reports(({ inFlight }) => inFlight === 0);
    const third = await follow();
    expect(third.received).toContain("Content-Encoding: gzip");
    third.destroy();
  });

  it("keeps trailers, except those about the bytes that were compressed", async () => {
    const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    await serve(respondEach(`${head}5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Digest: d\r\nETag: "a"\r\n\r\n`));
    const { received } = await exchangeRaw(balancer.port, ask("TE: trailers\r\nConnection: TE, close\r\n"));
    expect(readable(received)).toBe("hello");
    expect(received.endsWith("\r\n0\r\nX-Sum: 1\r\n\r\n")).toBe(true);
  });

  it("waits for a slow reader, and sends everything", async () => {
    // Hexadecimal digits shrink to half: more than the sockets hold.
    const text = randomBytes(3_000_000).toString("hex");
    const head = `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${text.length}\r\n\r\n`;
    await serve(respondEach(head + text));
    const client = await RawClient.connect(balancer.port);
    client.socket.pause();
    await client.send(ask("Connection: close\r\n"));
    // The response's bytes wait, so the client counts as one that does not read.
    await balancer.reports(({ inFlight }) => inFlight === 1);
    client.socket.resume();
    await client.ended();
    const hash = (body: string) => createHash("sha256").update(body).digest("hex");
    expect(hash(readable(client.received))).toBe(hash(text));
    client.destroy();
  });
});
