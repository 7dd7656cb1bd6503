/** Upstreams that break the protocol: superfluous, early or late bytes must reach no client, above all no other client. */
import net from "node:net";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { inTime } from "../../../test/support/wait.js";
import { BalancerProcess, RUNTIMES, SETUPS } from "./support/balancer-process.js";
import { breakLane } from "./support/broken-lane.js";
import { brokenResponse, type Random, randomOf, whole } from "./support/broken-responses.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";
import { ScriptedLane } from "./support/scripted-lane.js";
import { ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

/** For peers that never complete what they announce. */
const LIMITS = { upstreamResponseTimeoutMs: 500, bodyTimeoutMs: 500 };
const HINT = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const get = (target: string, fields = "") => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;

describe.each(SETUPS)("a broken upstream of a balancer on %s over %s", (runtime, protocol) => {
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

  it.each([
    ["as many interim responses as are allowed are passed on", HINT.repeat(16) + OK, 200, 16],
    ["one too many is answered 502", HINT.repeat(17) + OK, 502, 16],
    ["those without end are answered 502", HINT.repeat(500), 502, 16],
    ["those of more than 64 KB are answered 502", HINT.replace("</a>", "x".repeat(30_000)).repeat(3) + OK, 502, 2],
    ["a head of 60 KB is passed on", OK.replace("Content", `X: ${"x".repeat(60_000)}\r\nContent`), 200, 0],
    ["one of more than 64 KB is answered 502", OK.replace("Content", `X: ${"x".repeat(66_000)}\r\nContent`), 502, 0],
    ["one of 257 fields is answered 502", OK.replace("Content", `${"X: x\r\n".repeat(256)}Content`), 502, 0],
    ["a status of no class is answered 502", OK.replace("200 OK", "600 No"), 502, 0],
    // An unrequested 100 is not forwarded.
    ["those that are not passed on count too", "HTTP/1.1 100 Continue\r\n\r\n".repeat(17) + OK, 502, 0],
  ])("%s", async (_, response, status, hints) => {
    onBytes = ({ socket }) => socket.write(response);
    const { received } = await exchangeRaw(balancer.port, get("/", "Connection: close\r\n"));
    expect(received.split("103 Early Hints").length - 1).toBe(hints);
    expect(received).toMatch(new RegExp(`(^|\r\n\r\n)HTTP/1\\.1 ${status} [\\s\\S]*(ok|502 Bad Gateway\n)$`));
  });

  it("a response that breaks before any of it was sent becomes a 502", async () => {
    onBytes = ({ socket }) =>
      socket.write(
        protocol === "http1"
          ? "HTTP/1.1 200 OK\r\nX: of the broken one\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
          : "HTTP/1.1 200 OK\r\nX: of the broken one\r\nContent-Length: 3\r\n\r\n",
        () => socket.end(),
      );
    const { received } = await exchangeRaw(balancer.port, get("/", "Connection: close\r\n"));
    if (protocol === "http1") {
      expect(received).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n[\s\S]*\n502 Bad Gateway\n$/);
      expect(received).not.toContain("of the broken one");
    } else expect(received).not.toContain("\r\n\r\nok");
  });

  it("white space before a chunk's extension is accepted as in RFC 9112", async () => {
    const chunked = "Transfer-Encoding: chunked\r\n\r\n3 ;a=b\r\nabc\r\n0 \t; c\r\n\r\n";
    onBytes = ({ socket, received }) => {
      if (received.endsWith("0\r\n\r\n")) socket.write(protocol === "http1" ? `HTTP/1.1 200 OK\r\n${chunked}` : OK);
    };
    const { received } = await exchangeRaw(
      balancer.port,
      `POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${chunked}`,
    );
    expect(received).toMatch(protocol === "http1" ? /\r\n3\r\nabc\r\n0\r\n\r\n$/ : /ok$/);
    expect(upstream.received).toContain("\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  });
});

describe.each(RUNTIMES)("a server that is not ours, behind a balancer on %s", (runtime) => {
  let balancer: BalancerProcess;
  let server: net.Server;
  let serve: (socket: net.Socket, request: string) => void = () => {};
  let connections = 0;

  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime);
    const socketPath = path.join(balancer.directory, "stranger.sock");
    server = net.createServer({ allowHalfOpen: true }, (socket) => {
      connections++;
      socket.on("error", () => {});
      socket.on("data", (bytes) => serve(socket, bytes.toString("latin1")));
      socket.on("end", () => socket.end());
    });
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    await followStranger();
  });

  const followStranger = async (follower = balancer) => {
    const socket = path.join(balancer.directory, "stranger.sock");
    const upstreams = [{ id: "api.1#1", name: "api.1", socket, foreign: true }];
    await follower.follow({}, [{ name: "api", routes: ["/"], upstreams }]);
  };

  afterAll(async () => {
    await balancer?.stop();
    server?.close();
  });

  it.each([
    ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"],
    ["GET", "HTTP/1.1 204 No Content\r\n\r\n"],
    ["GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"],
  ])("gets no further request on the same connection after %s %j", async (method, head) => {
    const spoiled = new Set<net.Socket>();
    serve = (socket, request) => {
      // The forbidden body of a bodiless response arrives late.
      if (!request.includes("/bodiless")) return void socket.write(spoiled.has(socket) ? whole("evil") : OK);
      socket.write(head);
      spoiled.add(socket);
    };
    const client = await RawClient.connect(balancer.port);
    const before = connections;
    await client.send(get("/bodiless").replace("GET", method) + get("/next", "Connection: close\r\n"));
    expect(await client.ended()).toMatch(
      /^HTTP\/1\.1 (200|204|304) [\s\S]*\r\n\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nok$/,
    );
    expect(client.received).not.toContain("evil");
    expect(connections - before).toBe(2);
    client.destroy();
  });

  it.each([
    ["a length", "Content-Length: 20000000"],
    ["chunks", "Transfer-Encoding: chunked"],
  ])("that refuses a body of %s and closes: its response is forwarded each time", async (_, framing) => {
    const refusal = "HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    // A close with unread bytes causes a reset.
    serve = (socket) => {
      socket.pause();
      socket.write(refusal, () => socket.destroy());
    };
    const piece = "x".repeat(100_000);
    const body = framing.startsWith("C") ? piece.repeat(40) : `186a0\r\n${piece}\r\n`.repeat(40);
    for (let i = 0; i < 8; i++) {
      const client = await RawClient.connect(balancer.port);
      void client.send(
        `POST / HTTP/1.1\r\nHost: a\r\n${framing.replace("20000000", String(body.length))}\r\n\r\n${body}`,
      );
      await client.until(({ received }) => received.endsWith("no"), "the refusal");
      expect(client.received).toMatch(/^HTTP\/1\.1 413 Too Much\r\n/);
      client.destroy();
    }
  });

  it("sends no client a byte that was meant for another, whatever it sends", async () => {
    const random = randomOf(12);
    const clientOf = new Map<net.Socket, string>();
    const mixed: string[] = [];
    const written = new Map<net.Socket, Promise<void>>();
    serve = (socket, request) => {
      // Requests without bodies arrive one at a time, complete.
      for (const [, token = "", name = ""] of request.matchAll(/^[A-Z]+ \/(\[(\w+)-\w+\]) HTTP/gm)) {
        if ((clientOf.get(socket) ?? name) !== name) mixed.push(`${token} after ${clientOf.get(socket)}`);
        clientOf.set(socket, name);
        const { pieces, end } = brokenResponse(token, random);
        // In order: if the rest of one response came between the pieces of the next, one token could not be distinguished from another.
        const respond = async () => {
          await write(socket, pieces);
          if (end === "fin") socket.end();
          else if (end === "reset") socket.destroy();
        };
        written.set(socket, (written.get(socket) ?? Promise.resolve()).then(respond));
      }
    };
    const hurried = await BalancerProcess.start(runtime, LIMITS);
    try {
      await followStranger(hurried);
      await expectOwnBytesOnly(hurried, random);
      expect(mixed).toEqual([]);
      serve = (socket) => socket.write(OK);
      const ask = () => exchangeRaw(hurried.port, get("/", "Connection: close\r\n"));
      expect((await inTime(ask, ({ received }) => received.startsWith("HTTP/1.1 504 "))).received).toMatch(/ok$/);
    } finally {
      await hurried.stop();
    }
  });
});

describe.each(RUNTIMES)("an instance that breaks its lane behind a balancer on %s", (runtime) => {
  it("sends no client a byte that was meant for another, whatever it sends", async () => {
    const random = randomOf(13);
    const balancer = await BalancerProcess.start(runtime, LIMITS);
    const upstreams: Record<string, string> = {};
    const instances: ScriptedLane[] = [];
    try {
      // Two upstreams, so that a client's next request rarely gets the slot of its last one.
      for (const id of ["web.1#1", "web.2#1"]) {
        const socket = path.join(balancer.directory, `${id}.sock`);
        instances.push(await ScriptedLane.listen(socket, { onRequest: (request) => breakLane(request, random) }));
        upstreams[id] = socket;
      }
      balancer.protocol = "lane";
      await balancer.follow(upstreams);
      await expectOwnBytesOnly(balancer, random);
    } finally {
      await balancer.stop();
      for (const instance of instances) await instance.close();
    }
  });
});

/** Many clients, each with some requests on its own connection; the targets identify the clients. */
async function expectOwnBytesOnly(balancer: BalancerProcess, random: Random): Promise<void> {
  const ask = async (name: string) => {
    const requests = Array.from({ length: 6 }, (_, i) => {
      const method = random() < 0.2 ? "HEAD" : random() < 0.3 ? "POST" : "GET";
      return get(`/[${name}-${i}]`, i === 5 ? "Connection: close\r\n" : "").replace("GET", method);
    });
    const { received } = await exchangeRaw(balancer.port, requests.join(""));
    const others = received.match(/\[\w+-\w+\]/g)?.filter((token) => !token.startsWith(`[${name}-`));
    expect(others ?? []).toEqual([]);
    return received.split("HTTP/1.1 200").length - 1;
  };
  let answered = 0;
  // More rounds if a busy machine misses the deadlines of most requests.
  for (let round = 0; round < 20 || (answered <= 200 && round < 50); round++) {
    const clients = Array.from({ length: 10 }, (_, i) => ask(`${round}x${i}`));
    for (const count of await Promise.all(clients)) answered += count;
  }
  // Many responses were broken, but not all, so the test has compared something.
  expect(answered).toBeGreaterThan(200);
}

async function write(socket: net.Socket, pieces: readonly { text: string; afterMs: number }[]): Promise<void> {
  for (const { text, afterMs } of pieces) {
    await new Promise((resolve) => (afterMs === 0 ? setImmediate(resolve) : setTimeout(resolve, afterMs)));
    if (socket.destroyed) return;
    socket.write(text, "latin1");
  }
}
