import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import net, { type AddressInfo } from "node:net";
import { PassThrough } from "node:stream";
import { expect, it, onTestFinished, test } from "vitest";
import { countPiece, leaveConnection, oneAfterTheOther, watchConnection } from "./held-sockets.js";

const connection = (): Socket => {
  const socket = new PassThrough();
  watchConnection(socket.resume() as unknown as Socket);
  return socket as unknown as Socket;
};

const turn = () => new Promise((resolve) => setImmediate(resolve));

it("after many small pieces of one body, no connection is read for the rest of the turn, not even idle ones", async () => {
  const [busy, idle, tunnel, gone] = [connection(), connection(), connection(), connection()];
  const all = [busy, idle, tunnel, gone];
  leaveConnection(tunnel);
  await new Promise((resolve) => gone.once("close", resolve).destroy());
  const paused = () => all.map((socket) => socket.isPaused());
  for (let i = 0; i < 1024; i++) {
    expect(paused()).toEqual([false, false, false, false]);
    countPiece(busy);
  }
  expect(paused()).toEqual([true, true, false, false]);
  const late = connection();
  expect(late.isPaused()).toBe(true);
  await turn();
  // The next turn belongs to the others.
  expect([...paused(), late.isPaused()]).toEqual([true, false, false, false, false]);
  // Sockets of other test files may be held, too: each is read in its turn.
  for (let n = 0; busy.isPaused() && n < 200; n++) await turn();
  expect(busy.isPaused()).toBe(false);
});

it("of many connections with small pieces, one is read every second turn, in rotation, and other connections in every turn", async () => {
  const [idle, ...busy] = Array.from({ length: 6 }, connection) as [Socket, ...Socket[]];
  const reads = busy.map(() => 0);
  /** Each connection that is read sends as much as a read returns. */
  const sendAll = () => {
    for (const [n, socket] of busy.entries()) {
      if (socket.isPaused()) continue;
      reads[n] = (reads[n] ?? 0) + 1;
      for (let i = 0; i < 4000; i++) countPiece(socket);
    }
  };
  // Each connection uses up a turn before it is recognized.
  for (let n = 0; n < 6; n++, await turn()) sendAll();
  reads.fill(0);
  for (let n = 0; n < 50; n++) {
    expect(idle.isPaused()).toBe(false);
    sendAll();
    await turn();
  }
  expect(reads).toEqual([5, 5, 5, 5, 5]);
  // No connection sends any more: all are read again.
  for (let n = 0; n < 10; n++) await turn();
  expect(busy.some((socket) => socket.isPaused())).toBe(false);
  for (const socket of [idle, ...busy]) await new Promise((resolve) => socket.once("close", resolve).destroy());
});

it("closes connections that use up a turn while 64 similar ones wait, and no connection with few pieces", async () => {
  const busy = Array.from({ length: 80 }, connection);
  const quiet = connection();
  for (const socket of busy) for (let i = 0; i < 600; i++) countPiece(socket);
  countPiece(quiet);
  await turn();
  expect(busy.map((socket) => socket.destroyed)).toEqual(busy.map((_, n) => n >= 64));
  expect([quiet.destroyed, quiet.isPaused()]).toEqual([false, false]);
  for (const socket of [quiet, ...busy])
    if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve).destroy());
  // All places are free again.
  for (let n = 0; n < 64; n++) await turn();
});

it("after a turn was used up, the bytes of a connection are parsed in slices, completely and in order, even if it is upgraded", async () => {
  let pieces = 0;
  let most = 0;
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    const { push } = request;
    request.push = (piece: Buffer | null) => {
      // Only for later connections: the first read of the first connection is parsed in one piece.
      if (request.url === "/counted" && pieces++ === 0) setImmediate(nextTurn);
      if (piece !== null) countPiece(request.socket);
      return push.call(request, piece);
    };
    let body = "";
    request.setEncoding("latin1").on("data", (text) => {
      body += text;
    });
    request.on("end", () => {
      bodies.push(body);
      response.end(`${body.length}`);
    });
  });
  function nextTurn() {
    most = Math.max(most, pieces);
    pieces = 0;
  }
  server.on("connection", watchConnection);
  server.on("upgrade", (_, socket: Socket, head: Buffer) => {
    leaveConnection(socket);
    let received = head.toString("latin1");
    socket.on("data", (bytes: Buffer) => {
      received += bytes.toString("latin1");
      if (received.endsWith("!")) socket.end(received);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  async function exchange(bytes: string): Promise<string> {
    const client = net.connect(port, "127.0.0.1");
    onTestFinished(() => void client.destroy());
    let received = "";
    client.setEncoding("latin1").on("data", (text) => {
      received += text;
    });
    client.write(bytes);
    await once(client, "close");
    return received;
  }
  const letters = Array.from({ length: 20_000 }, (_, n) => String.fromCharCode(97 + (n % 26))).join("");
  const post = (target: string) =>
    `POST ${target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${letters.replace(/./g, "1\r\n$&\r\n")}0\r\n\r\n`;
  const last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  await exchange(post("/first") + last);
  const received = await Promise.all([1, 2, 3].map(() => exchange(post("/counted") + post("/counted") + last)));
  for (const text of received) expect(text.match(/HTTP\/1.1 200 OK/g)).toHaveLength(3);
  expect(bodies.filter((body) => body !== "")).toEqual(Array.from({ length: 7 }, () => letters));
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThan(4096);
  const upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: b\r\n\r\n";
  expect(await exchange(`${upgrade}${letters}!`)).toBe(`${letters}!`);
});

it("starts only some of many pipelined requests in one turn", async () => {
  let started = 0;
  let turns = 0;
  let most = 0;
  const server = createServer(
    oneAfterTheOther((_, response) => {
      if (started++ === 0) setImmediate(count, 0);
      response.end();
    }),
  );
  function count(before: number) {
    turns++;
    most = Math.max(most, started - before);
    if (started < 1000) setImmediate(count, started);
  }
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const client = net.connect((server.address() as AddressInfo).port, "127.0.0.1");
  onTestFinished(() => void client.destroy());
  client.resume().write("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000));
  await expect.poll(() => started).toBe(1000);
  await turn();
  expect(most).toBeLessThan(200);
  expect(turns).toBeGreaterThan(5);
});

const REQUESTS = 500;
const get = (n: number) => `GET /${n} HTTP/1.1\r\nHost: a\r\n\r\n`;

test("is served one request after the other, all in order, and no more than it reads", async () => {
  const begun: string[] = [];
  let open = 0;
  let most = 0;
  const respond = (response: ServerResponse, text: string) => {
    open--;
    response.end(`${"x".repeat(30_000)}[${text}]`);
  };
  const server = createServer(
    oneAfterTheOther((request, response) => {
      begun.push(request.url as string);
      most = Math.max(most, ++open);
      let body = "";
      request.on("data", (piece) => {
        body += piece;
      });
      // Some immediately, some in a later turn.
      request.on("end", () =>
        begun.length % 2
          ? respond(response, `${request.url}${body}`)
          : setImmediate(respond, response, `${request.url}${body}`),
      );
    }),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const client = net.connect((server.address() as AddressInfo).port, "127.0.0.1");
  onTestFinished(() => void client.destroy());
  const [accepted] = (await once(server, "connection")) as [net.Socket];
  client.pause();
  client.write(Array.from({ length: REQUESTS }, (_, n) => get(n)).join(""));
  client.write("POST /last HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
  await expect.poll(() => accepted.writableLength).toBeGreaterThan(29_000);
  expect(begun.length).toBeLessThan(REQUESTS);
  let received = "";
  client.setEncoding("latin1").on("data", (text: string) => {
    received += text.replaceAll("x", "");
  });
  client.resume();
  await expect.poll(() => begun.at(-1)).toBe("/last");
  client.write("def");
  await expect.poll(() => received.endsWith("]")).toBe(true);
  await expect.poll(() => received).toContain("[/lastabcdef]");
  const targets = [...received.matchAll(/\[\/(\w+)\]/g)].map(([, target]) => target);
  expect(targets).toEqual([...Array.from({ length: REQUESTS }, (_, n) => `${n}`), "lastabcdef"]);
  expect(most).toBe(1);
});
