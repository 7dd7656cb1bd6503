/** Slow clients and an instance that runs one request at a time: the clients must not occupy it. */
import { readFileSync } from "node:fs";
import net from "node:net";
import { afterAll, afterEach, describe, expect, it as test } from "vitest";
import { inTime, waitFor } from "../../../test/support/wait.js";
import { BalancerProcess, CLIENT_RUNTIMES } from "./support/balancer-process.js";
import { itUnless } from "./support/it-unless.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;

const GET = "GET /fast HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const POST = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
/** More than the sockets of both ends hold. */
const LARGE_BYTES = 12_000_000;

/** One request at a time: the next connection is served after the previous response. */
class Serial {
  readonly server = net.createServer((socket) => this.serve(socket));
  readonly requests: string[] = [];
  /** Requests whose head has arrived. */
  readonly heads: string[] = [];
  large = Buffer.alloc(0);

  private serve(socket: net.Socket): void {
    let received = "";
    socket.on("error", () => {});
    socket.setEncoding("latin1").on("data", (text: string) => {
      received += text;
      const end = received.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.heads.push(received);
      if (!isWhole(received, end)) return;
      this.requests.push(received);
      const body = received.startsWith("GET /large") ? this.large : Buffer.from("ok");
      received = "";
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
      socket.write(body);
    });
  }
}

/** Returns how many bytes the kernel holds for this client at the balancer's end, which the client has not received. */
function bytesInKernel(port: number, { socket }: RawClient): number {
  const [local, remote] = [port, socket.localPort ?? 0].map((each) => each.toString(16).toUpperCase().padStart(4, "0"));
  const row = new RegExp(`:${local} [0-9A-F]+:${remote} [0-9A-F]+ ([0-9A-F]+):`);
  return Number.parseInt(row.exec(readFileSync("/proc/net/tcp", "latin1"))?.[1] ?? "", 16);
}

function isWhole(received: string, headEnd: number): boolean {
  const length = /content-length: (\d+)/i.exec(received)?.[1];
  if (length !== undefined) return received.length - headEnd - 4 >= Number(length);
  return !/transfer-encoding/i.test(received) || received.endsWith("0\r\n\r\n");
}

/** Starts an instance behind this balancer. */
async function serveOne(balancer: BalancerProcess): Promise<Serial> {
  const instance = new Serial();
  const path = `${balancer.directory}/one.sock`;
  await new Promise<void>((resolve) => instance.server.listen(path, resolve));
  const upstreams = [{ id: "web.1#1", name: "web.1", socket: path, maxInFlight: 1 }];
  await balancer.follow({}, [{ name: "web", routes: ["/"], upstreams }]);
  return instance;
}

afterAll(() => BalancerProcess.stopIdle());

describe.concurrent.each(CLIENT_RUNTIMES)(
  "slow clients of an instance that takes one request at a time, on %s",
  (runtime) => {
    let balancer: BalancerProcess;
    let instance: Serial;

    async function start(limits: object = {}): Promise<void> {
      balancer = await BalancerProcess.lease(runtime, limits);
      instance = await serveOne(balancer);
    }

    afterEach(async () => {
      instance.server.close();
      await balancer.giveBack();
    });

    const isFree = async () =>
      expect((await exchangeRaw(balancer.port, GET)).received).toMatch(/^HTTP\/1\.1 200 [\s\S]*ok$/);

    it.each([
      ["with a length", "Content-Length: 6\r\n\r\nabc", "def", /Content-Length: 6\r\n(?:.+\r\n)*\r\nabcdef$/i],
      [
        "in chunks",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "3\r\ndef\r\n0\r\n\r\n",
        /chunked\r\n(?:.+\r\n)*\r\n6\r\nabcdef\r\n0\r\n\r\n$/,
      ],
    ])("a body %s has arrived completely before the instance gets the request", async (_, begin, rest, asked) => {
      await start();
      const client = await RawClient.connect(balancer.port);
      await client.send(POST + begin);
      await balancer.reports(({ inFlight }) => inFlight === 1);
      await isFree();
      expect(instance.requests).toHaveLength(1);
      await client.send(rest);
      await client.until(({ received }) => received.endsWith("ok"), "the answer");
      expect(instance.requests[1]).toMatch(asked);
    });

    it("a client that waits for 100 Continue gets it, and one with a larger body than is held gets it from the instance", async () => {
      await start({ bufferBytes: 10 });
      const client = await RawClient.connect(balancer.port);
      await client.send(`${POST}Expect: 100-continue\r\nContent-Length: 6\r\n\r\n`);
      await client.until(({ received }) => received === "HTTP/1.1 100 Continue\r\n\r\n", "the 100");
      await isFree();
      await client.send("abcdef");
      await client.until(({ received }) => /\r\n\r\nHTTP\/1\.1 200 [\s\S]*ok$/.test(received), "the answer");
      const large = await RawClient.connect(balancer.port);
      await large.send(`${POST}Expect: 100-continue\r\nContent-Length: 11\r\n\r\n`);
      await waitFor("its head", () => /Content-Length: 11\r\n/i.test(instance.heads.at(-1) ?? ""));
      expect(large.received).toBe("");
      large.destroy();
    });

    it("a body beyond the limit continues at the client's rate, and arrives completely", async () => {
      await start({ bufferBytes: 5 });
      const client = await RawClient.connect(balancer.port);
      await client.send(`${POST}Content-Length: 9\r\n\r\nabc`);
      await client.send("def");
      await client.send("ghi");
      await client.until(({ received }) => received.endsWith("ok"), "the answer");
      expect(instance.requests[0]).toMatch(/\r\n\r\nabcdefghi$/);
      await isFree();
    });

    itUnless(runtime.endsWith("HTTP/2") ? "over HTTP/2 bodies have frames of their own" : undefined)(
      "a body that is refused with its last piece is never read as the next request",
      async () => {
        await start({ bufferBytes: 5, maxQueue: 0 });
        const holder = await RawClient.connect(balancer.port);
        await holder.send(`${POST}Content-Length: 9\r\n\r\nabcdef`);
        await waitFor("its head", () => instance.heads.length === 1);
        const client = await RawClient.connect(balancer.port);
        const body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        await client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`);
        await balancer.reports(({ inFlight }) => inFlight === 2);
        await client.send(body);
        expect((await client.ended()).match(/^HTTP\/1\.1 \d+/gm)).toEqual(["HTTP/1.1 503"]);
        holder.destroy();
      },
    );

    it("a body that stops gets 408, a client that disconnects is forgotten, and the held bytes of both are freed", async () => {
      await start({ bodyTimeoutMs: 300, maxBufferedBytes: 4096 });
      for (const isLeaving of [false, true, false]) {
        const client = await RawClient.connect(balancer.port);
        await client.send(`${POST}Content-Length: 4000\r\n\r\n${"x".repeat(3000)}`);
        if (isLeaving) {
          // Either way; the deadline may pass before a report.
          const refused = client.until(({ received }) => received !== "", "a response").catch(() => undefined);
          await Promise.race([balancer.reports(({ inFlight }) => inFlight === 1), refused]);
          client.destroy();
          await balancer.reports(({ inFlight }) => inFlight === 0);
        } else await client.until(({ received }) => received.startsWith("HTTP/1.1 408 "), "the 408");
      }
      expect(instance.requests).toEqual([]);
      await isFree();
    });

    it("a response that is not read waits in the balancer, and arrives completely", async () => {
      await start({ bufferBytes: 32_000_000 });
      instance.large = Buffer.alloc(LARGE_BYTES, "0123456789");
      const client = await RawClient.connect(balancer.port);
      client.socket.pause();
      await client.send("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      await balancer.reports(({ inFlight, requestsTotal }) => inFlight === 0 && requestsTotal === 1);
      // Over loopback the kernel would accept megabytes of it. Node cannot limit that.
      if (runtime === "bun" && process.platform === "linux")
        expect(bytesInKernel(balancer.port, client)).toBeLessThan(400_000);
      await isFree();
      client.socket.resume();
      await client.until(({ ending }) => ending === "fin", "the end");
      expect(client.received.length - client.received.indexOf("\r\n\r\n") - 4).toBe(LARGE_BYTES);
      expect(client.received.endsWith("0123456789")).toBe(true);
    });

    it("a response beyond the limit waits in the instance, and so do all when the budget is used up", async () => {
      await start({ bufferBytes: 32_000_000, maxBufferedBytes: 1_000_000, upstreamConnectTimeoutMs: 500 });
      instance.large = Buffer.alloc(LARGE_BYTES, "0123456789");
      const client = await RawClient.connect(balancer.port);
      client.socket.pause();
      await client.send("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      await balancer.reports(({ inFlight }) => inFlight === 1);
      expect((await exchangeRaw(balancer.port, GET)).received).toMatch(/^HTTP\/1\.1 503 /);
      client.socket.resume();
      await client.until(({ ending }) => ending === "fin", "the end");
      expect(client.received.length - client.received.indexOf("\r\n\r\n") - 4).toBe(LARGE_BYTES);
      await isFree();
    });
  },
);

// All cases at once, because they mostly wait.
test.concurrent.each(CLIENT_RUNTIMES)(
  "a pause of the balancer does not count: what arrived in the meantime is read first, on %s",
  async (runtime) => {
    const limits = { keepAliveTimeoutMs: 1200, bodyTimeoutMs: 1200, upstreamResponseTimeoutMs: 60_000 };
    const balancer = await BalancerProcess.start(runtime, limits);
    const instance = await serveOne(balancer);
    try {
      const begin = async () => {
        const begunAt = performance.now();
        const kept = await RawClient.connect(balancer.port);
        await kept.send("GET /fast HTTP/1.1\r\nHost: a\r\n\r\n");
        await kept.until(({ received }) => /ok$/.test(received), "the first response");
        const upload = await RawClient.connect(balancer.port);
        await upload.send(`${POST}Content-Length: 6\r\n\r\nabc`);
        process.kill(balancer.pid, "SIGSTOP");
        return { kept, upload, tookMs: performance.now() - begunAt };
      };
      const { kept, upload } = await inTime(begin, ({ tookMs }) => {
        if (tookMs > 800) process.kill(balancer.pid, "SIGCONT");
        return tookMs > 800;
      });
      await kept.send("GET /fast HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      await upload.send("def");
      // Longer than both deadlines and the threshold of a late tick.
      await new Promise((resolve) => setTimeout(resolve, 2500));
      process.kill(balancer.pid, "SIGCONT");
      await kept.until(({ received }) => /ok[\s\S]*ok$/.test(received), "the second response");
      await upload.until(({ received }) => received.startsWith("HTTP/1.1 200 "), "the response to the upload");
    } finally {
      await balancer.stop();
      instance.server.close();
    }
  },
);
