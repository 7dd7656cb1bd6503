/** A body in one-byte chunks, on node:http. */
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import net, { type AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { DEFAULT_LIMITS } from "../shared/limits.js";
import { limitBody } from "./body-limit.js";

const CHUNKS = 20_000;

test("arrives complete and in order, in few pieces, before its end", async () => {
  const server = createServer((request, response) => {
    if (limitBody(request, response, DEFAULT_LIMITS, undefined)) response.on("finish", () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const client = net.connect((server.address() as AddressInfo).port, "127.0.0.1");
  onTestFinished(() => void client.destroy());
  client.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  const [request] = (await once(server, "request")) as [IncomingMessage];
  const bytes = Array.from({ length: CHUNKS }, (_, n) => String.fromCharCode(97 + (n % 26)));
  client.write(bytes.map((byte) => `1\r\n${byte}\r\n`).join(""));
  client.write(`2000\r\n${"L".repeat(0x2000)}\r\n1\r\n!\r\n0\r\n\r\n`);
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece);
  expect(Buffer.concat(pieces).toString("latin1")).toBe(`${bytes.join("")}${"L".repeat(0x2000)}!`);
  expect(pieces.length).toBeLessThan(CHUNKS / 100);
});

test("leaves other requests their turn, however many clients send one, and is only read while the app reads it", async () => {
  const bodies: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    limitBody(request, response, DEFAULT_LIMITS, undefined);
    bodies.push(request);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const chunk = "1\r\nx\r\n";
  const clients = Array.from({ length: 12 }, () => {
    const client = net.connect((server.address() as AddressInfo).port, "127.0.0.1");
    onTestFinished(() => void client.destroy());
    client.on("error", () => {});
    client.write(`POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`);
    return client;
  });
  await expect.poll(() => bodies.filter(({ readableLength }) => readableLength > 0).length).toBe(clients.length);
  const lengths = () => bodies.map(({ readableLength }) => readableLength);
  const reads: number[] = [];
  const before = lengths();
  const look = () => {
    const now = lengths();
    reads.push(now.filter((length, at) => length > (before[at] as number) + 1000).length);
    for (const [at, length] of now.entries()) before[at] = length;
    if (reads.length < 40) setImmediate(look);
  };
  for (const client of clients) client.write(chunk.repeat(30_000));
  look();
  await expect.poll(() => reads.length).toBe(40);
  // One read contains more than the share of a turn.
  expect(Math.max(...reads)).toBeLessThan(4);
  for (const length of lengths()) expect(length).toBeLessThan(30_000);
  let read = 0;
  for (const body of bodies) body.on("data", ({ length }: Buffer) => (read += length));
  await expect.poll(() => read).toBe(12 * 30_001);
});
