import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import net from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { DEFAULT_LIMITS } from "../shared/limits.js";
import { serveOnNode } from "./node.js";

it("reports a handler's error, but not that its client disconnected during the body", async () => {
  const errors: unknown[] = [];
  const own = new Error("own");
  let failed: (error: unknown) => void;
  const handler = async (request: Request) => {
    try {
      for await (const _ of request.body ?? []);
    } catch (error) {
      setImmediate(failed, error);
      throw request.url.endsWith("/own") ? own : error;
    }
    return new Response();
  };
  const server = await serveOnNode({
    address: { kind: "tcp", host: "127.0.0.1", port: 0 },
    app: { style: "fetch", handler },
    limits: DEFAULT_LIMITS,
    behindBalancer: false,
    onError: (error: unknown) => errors.push(error),
    onNotice: () => {},
  } as never);
  onTestFinished(() => server.closeNow());
  for (const target of ["/", "/own"]) {
    const aborted = new Promise<unknown>((resolve) => {
      failed = resolve;
    });
    const client = net.connect((server.address as { port: number }).port, "127.0.0.1");
    await once(client, "connect");
    client.write(`POST ${target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n`, () =>
      client.destroy(),
    );
    expect(await aborted).toMatchObject({ code: "ECONNRESET" });
  }
  await expect.poll(() => errors.map((error) => (error as Error).message)).toEqual(["own"]);
});

it.each(["fetch", "node"])("gives an app of style %s no trailers that a balancer would drop", async (style) => {
  const fetchHandler = async (request: Request, info: { trailers: Headers }) => {
    await request.text();
    return new Response(JSON.stringify([...info.trailers]));
  };
  const nodeHandler = (request: IncomingMessage, response: ServerResponse) => {
    request.resume().on("end", () => {
      const { rawTrailers, trailers } = request;
      response.end(JSON.stringify(Object.entries(trailers).concat([rawTrailers as [string, string]])));
    });
  };
  const server = await serveOnNode({
    address: { kind: "tcp", host: "127.0.0.1", port: 0 },
    app: { style, handler: style === "fetch" ? fetchHandler : nodeHandler, upgrade: () => undefined },
    limits: DEFAULT_LIMITS,
    behindBalancer: false,
    onError: () => {},
    onNotice: () => {},
  } as never);
  onTestFinished(() => server.closeNow());
  const client = net.connect((server.address as { port: number }).port, "127.0.0.1");
  client
    .setEncoding("latin1")
    .write(
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" +
        "0\r\nHost: b\r\nX-Sum: 1\r\nX-Forwarded-For: 6\r\nx_real_ip: 6\r\nRemote-User: r\r\n\r\n",
    );
  let received = "";
  for await (const text of client) received += text;
  expect(received).toContain(style === "fetch" ? '[["x-sum","1"]]' : '[["x-sum","1"],["X-Sum","1"]]');
});
