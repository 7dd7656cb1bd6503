/** HTTP/2 towards clients, by node:http2 as the client, on both runtimes and over both upstream protocols. */
import { once } from "node:events";
import http2 from "node:http2";
import path from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { BalancerProcess, SETUPS } from "./support/balancer-process.js";
import { HELLO, respondEach, ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

afterAll(() => BalancerProcess.stopIdle());

interface Got {
  status: number | undefined;
  headers: http2.IncomingHttpHeaders;
  body: string;
  trailers: http2.IncomingHttpHeaders;
  error: string | undefined;
}

/** Resolves when the stream has closed. */
async function got(request: http2.ClientHttp2Stream): Promise<Got> {
  const result: Got = { status: undefined, headers: {}, body: "", trailers: {}, error: undefined };
  request.on("response", (headers) => Object.assign(result, { status: headers[":status"], headers }));
  request.on("trailers", (trailers) => Object.assign(result, { trailers }));
  request.on("data", (bytes: Buffer) => {
    result.body += bytes.toString("latin1");
  });
  request.on("error", (error: NodeJS.ErrnoException) => Object.assign(result, { error: error.message }));
  if (!request.closed) await once(request, "close").catch(() => {});
  return result;
}

const bodyOf = ({ received }: UpstreamConnection) => received.slice(received.indexOf("\r\n\r\n") + 4);

describe.each(SETUPS)("HTTP/2 on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream | undefined;
  let client: http2.ClientHttp2Session;

  const serve = async (onBytes: (connection: UpstreamConnection) => void) => {
    const socket = path.join(balancer.directory, "web.1#1.sock");
    upstream = await ScriptedUpstream.listen(socket, onBytes, protocol);
    await balancer.follow({ "web.1#1": socket });
    client = http2.connect(`http://127.0.0.1:${balancer.port}`);
    client.on("error", () => {});
    return upstream;
  };
  const ask = (headers: http2.OutgoingHttpHeaders, options?: http2.ClientSessionRequestOptions) =>
    client.request({ ":path": "/", ...headers }, options);

  beforeEach(async () => {
    balancer = await BalancerProcess.lease(runtime);
    balancer.protocol = protocol;
  });

  afterEach(async () => {
    client.destroy();
    await upstream?.close();
    upstream = undefined;
    await balancer.giveBack();
  });

  it("handles many requests at once, each with its own response", async () => {
    await serve((connection) => {
      const path = /^GET (\S+) /.exec(connection.received)?.[1] ?? "";
      connection.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\nX-Y: z\r\n\r\n${path}`);
      connection.received = "";
    });
    const all = await Promise.all(Array.from({ length: 300 }, (_, n) => got(ask({ ":path": `/${n}` }))));
    expect(all.map(({ status, body }) => [status, body])).toEqual(all.map((_, n) => [200, `/${n}`]));
    expect(all[0]?.headers).toMatchObject({ "x-y": "z", "content-length": "2" });
  });

  it("forwards bodies and trailers, and tells the upstream when the client has disconnected", async () => {
    const upstream = await serve((connection) => {
      if (connection.received.startsWith("POST") && connection.received.endsWith("0\r\n\r\n"))
        connection.socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    });
    const post = ask({ ":method": "POST", te: "trailers" });
    const response = got(post);
    post.write("abc");
    post.end("def");
    expect(await response).toMatchObject({ status: 200, body: "ok", error: undefined });
    expect(upstream.received).toMatch(/^POST \/ HTTP\/1\.1\r\n/);
    expect(upstream.received).toMatch(/host: 127\.0\.0\.1:\d+\r\n/i);
    expect(upstream.received).toContain("abc");
    const left = ask({});
    left.on("error", () => {});
    await upstream.until(
      ({ connections }) => connections.some((it) => it.received.includes("GET /")),
      "the second request",
    );
    left.close(http2.constants.NGHTTP2_CANCEL);
    await upstream.until(
      ({ connections }) =>
        connections.some(
          ({ received, socket }) => received.includes("GET /") && (socket.readableEnded || socket.destroyed),
        ),
      "the cancellation",
    );
  });

  it("has no body for HEAD, 204 and 304, and forwards interim responses", async () => {
    await serve((connection) => {
      const [, method, target] = /^(\S+) \/(\S*) /.exec(connection.received) ?? [];
      connection.received = "";
      if (method === "HEAD") connection.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
      else if (target === "early")
        connection.socket.write(
          "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        );
      else connection.socket.write(`HTTP/1.1 ${target} X\r\n\r\n`);
    });
    expect(await got(ask({ ":method": "HEAD" }))).toMatchObject({
      status: 200,
      body: "",
      headers: { "content-length": "7" },
    });
    expect(await got(ask({ ":path": "/204" }))).toMatchObject({ status: 204, body: "" });
    expect(await got(ask({ ":path": "/304" }))).toMatchObject({ status: 304, body: "" });
    const early = ask({ ":path": "/early" });
    const hints = once(early, "headers");
    expect(await got(early)).toMatchObject({ status: 200 });
    expect((await hints)[0]).toMatchObject({ ":status": 103, link: "</a>" });
  });

  it("moves a large upload and a large download at the pace of the slower side", async () => {
    const size = 3_000_000;
    await serve((connection) => {
      if (bodyOf(connection).length < size || connection.received === "") return;
      const body = bodyOf(connection).slice(0, size);
      connection.received = "";
      connection.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n${body}`, "latin1");
    });
    const post = ask({ ":method": "POST", "content-length": size });
    const body = Buffer.alloc(size, "0123456789abcdef");
    post.end(body);
    // The client reads nothing for a while: its window limits the rate.
    await once(post, "response");
    const response = await got(post);
    expect(response.error).toBeUndefined();
    expect(response.body.length).toBe(size);
    expect(response.body === body.toString("latin1")).toBe(true);
  });

  it("opens a WebSocket by an extended CONNECT", async () => {
    const upstream = await serve((connection) => {
      const { received } = connection;
      if (!received.endsWith("\r\n\r\n")) {
        if (received.endsWith("ping")) connection.socket.write("pong");
        if (received.endsWith("bye")) connection.socket.end();
        return;
      }
      connection.socket.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello",
      );
    });
    if (!client.remoteSettings?.enableConnectProtocol) await once(client, "remoteSettings");
    const tunnel = ask(
      { ":method": "CONNECT", ":protocol": "websocket", "sec-websocket-version": "13" },
      { endStream: false },
    );
    const [headers] = (await once(tunnel, "response")) as [http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader];
    expect(headers).toMatchObject({ ":status": 200 });
    expect(Object.keys(headers)).not.toContain("sec-websocket-accept");
    let heard = "";
    tunnel.on("data", (bytes: Buffer) => {
      heard += bytes;
      if (heard === "hello") tunnel.write("ping");
      if (heard === "hellopong") tunnel.write("bye");
    });
    await once(tunnel, "close");
    expect(heard).toBe("hellopong");
    expect(upstream.received).toMatch(/upgrade: websocket\r\n/i);
    expect(upstream.received).toMatch(/sec-websocket-key: [A-Za-z0-9+/]{22}==\r\n/i);
  });

  it("loses no request in a drain: those sent before the client knows are served, and then it ends", async () => {
    await serve(respondEach(HELLO));
    expect(await got(ask({}))).toMatchObject({ status: 200, body: "hello" });
    const away = once(client, "goaway");
    const last = got(ask({}));
    balancer.say({ type: "drain", deadlineMs: 60_000 });
    expect(await last).toMatchObject({ status: 200, body: "hello" });
    await away;
    if (!client.destroyed) await once(client, "close");
    expect(await balancer.exited()).toBe(0);
  });
});
