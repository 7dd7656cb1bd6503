import { once } from "node:events";
import net from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { DEFAULT_LIMITS } from "../shared/limits.js";
import { serveOnNode } from "./node.js";

it("reports a handler's own error, and not that its client left during the body", async () => {
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
