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

it("many small pieces of one body keep every connection from being read for the rest of the turn, idle ones too", async () => {
  const [busy, idle, tunnel, gone] = [connection(), connection(), connection(), connection()];
  const all = [busy, idle, tunnel, gone];
  leaveConnection(tunnel);
  await new Promise((resolve) => gone.once("close", resolve).destroy());
  const paused = () => all.map((socket) => socket.isPaused());
  for (let i = 0; i < 2048; i++) {
    expect(paused()).toEqual([false, false, false, false]);
    countPiece();
  }
  expect(paused()).toEqual([true, true, false, false]);
  const late = connection();
  expect(late.isPaused()).toBe(true);
  await new Promise((resolve) => setImmediate(resolve));
  expect([...paused(), late.isPaused()]).toEqual([false, false, false, false, false]);
});

const REQUESTS = 500;
const get = (n: number) => `GET /${n} HTTP/1.1\r\nHost: a\r\n\r\n`;

test("is served one request after the other, all of them in order, and no more than it reads", async () => {
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
      // Some at once, some in a later turn.
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
  await expect.poll(() => begun.at(-1), { timeout: 10_000 }).toBe("/last");
  client.write("def");
  await expect.poll(() => received.endsWith("]"), { timeout: 10_000 }).toBe(true);
  await expect.poll(() => received).toContain("[/lastabcdef]");
  const targets = [...received.matchAll(/\[\/(\w+)\]/g)].map(([, target]) => target);
  expect(targets).toEqual([...Array.from({ length: REQUESTS }, (_, n) => `${n}`), "lastabcdef"]);
  expect(most).toBe(1);
});
