/** A client of node:http that sends requests ahead of their responses. */
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import net, { type AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { oneAfterTheOther } from "./pipelining.js";

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
