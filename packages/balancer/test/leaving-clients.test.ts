/** Clients that disconnect while nobody reads their body: this is detected within seconds, however they disconnect. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BalancerProcess, RUNTIMES, SECURE_SETUPS, SETUPS } from "./support/balancer-process.js";
import { connectTo, RawClient, resetSocket } from "./support/raw-client.js";
import { ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

/** More than the balancer, the upstream and the kernels hold; and so little that the client's FIN still arrives. */
const MUCH_BYTES = 3_000_000;
const LITTLE_BYTES = 150_000;

/** More than all buffers on the way hold. */
const MUCH_TUNNEL_BYTES = 30_000_000;

describe.concurrent.each(SECURE_SETUPS)("clients that disconnect unread, on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;
  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime, { upstreamResponseTimeoutMs: 60_000, bodyTimeoutMs: 60_000 });
    balancer.protocol = protocol;
    // Stops reading after a piece of each body.
    upstream = await ScriptedUpstream.listen(
      `${balancer.directory}/one.sock`,
      () => {
        for (const socket of upstream.accepted) if (upstream.connections.length === 3) socket.pause();
      },
      protocol,
    );
    await balancer.follow({ "web.1#1": upstream.path });
  });
  afterAll(async () => {
    await balancer.stop();
    await upstream.close();
  });

  it("are closed, and one that stays is not", async () => {
    const clients = await Promise.all(
      [MUCH_BYTES, LITTLE_BYTES, MUCH_BYTES].map(async (bytes) => {
        const client = await RawClient.connect(balancer.port);
        void client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n${"x".repeat(bytes)}`);
        return client;
      }),
    );
    await balancer.reports(({ inFlight }) => inFlight === 3);
    const [reset, ended, stays] = clients as [RawClient, RawClient, RawClient];
    resetSocket(reset.socket);
    ended.destroy();
    await balancer.reports(({ inFlight }) => inFlight === 1);
    expect(stays.ending).toBe("open");
    stays.destroy();
  });
});

describe.concurrent.each(SETUPS)(
  "clients that pipeline, read nothing and leave, on %s over %s",
  (runtime, protocol) => {
    let balancer: BalancerProcess;
    let upstream: ScriptedUpstream;
    beforeAll(async () => {
      balancer = await BalancerProcess.start(runtime, { sendTimeoutMs: 600_000 });
      balancer.protocol = protocol;
      const response = `HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n${"x".repeat(300_000)}`;
      upstream = await ScriptedUpstream.listen(
        `${balancer.directory}/one.sock`,
        (connection) => {
          if (!connection.received.endsWith("\r\n\r\n")) return;
          connection.received = "";
          connection.socket.write(response);
        },
        protocol,
      );
      await balancer.follow({ "web.1#1": upstream.path });
    });
    afterAll(async () => {
      await balancer.stop();
      await upstream.close();
    });

    it("leave no connection behind, whenever they disconnect", async () => {
      for (let n = 0; n < 60; n++) {
        const socket = connectTo(balancer.port).on("error", () => {});
        socket.pause().write("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3));
        await new Promise((resolve) => setTimeout(resolve, n % 5));
        if (n % 2 === 0) socket.destroy();
        else resetSocket(socket);
      }
      await balancer.reports(({ connections, connectionsTotal }) => connections === 0 && connectionsTotal >= 50);
    });
  },
);

describe.concurrent.each(RUNTIMES)("clients that send FIN during a response, on %s", (runtime) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;
  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime);
    upstream = await ScriptedUpstream.listen(`${balancer.directory}/one.sock`, ({ socket, received }) => {
      const length = received.includes("/known") ? "Content-Length: 1000\r\n" : "Transfer-Encoding: chunked\r\n";
      socket.write(`HTTP/1.1 200 OK\r\n${length}\r\n4\r\npart\r\n`);
    });
    await balancer.follow({ "web.1#1": upstream.path });
  });
  afterAll(async () => {
    await balancer.stop();
    await upstream.close();
  });

  it.each([
    ["is reset if only FIN would tell it the end", "GET / HTTP/1.0\r\n\r\n", "reset"],
    ["gets FIN if it knows the length", "GET /known HTTP/1.0\r\n\r\n", "fin"],
    ["gets FIN if the chunks tell it the end", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "fin"],
  ])("one %s", async (_, request, ending) => {
    const client = await RawClient.connect(balancer.port);
    await client.send(request);
    await client.until(({ received }) => received.includes("part"), "the begin of the body");
    client.socket.end();
    await client.ended();
    expect(client.ending).toBe(ending);
  });
});

/** Whether the balancer's end of the connection has a timer of keepalive probes (proc(5): `tr` is 2, `tx_queue` empty). */
function isAsked(port: number, { socket }: RawClient): boolean {
  const [local, remote] = [port, socket.localPort ?? 0].map((each) => each.toString(16).toUpperCase().padStart(4, "0"));
  const row = new RegExp(`:${local} [0-9A-F]+:${remote} [0-9A-F]+ 0+:0+ 02:`);
  return row.test(readFileSync("/proc/net/tcp", "latin1"));
}

describe.concurrent.each(RUNTIMES)("clients that disconnect from a tunnel, on %s", (runtime) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;
  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime);
    // Reads nothing of a tunnel; in some tunnels it writes more than anyone reads.
    upstream = await ScriptedUpstream.listen(`${balancer.directory}/one.sock`, ({ socket, received }) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
      if (received.includes("/writes")) socket.write("y".repeat(MUCH_TUNNEL_BYTES));
      for (const accepted of upstream.accepted) accepted.pause();
    });
    await balancer.follow({ "web.1#1": upstream.path });
  });
  afterAll(async () => {
    await balancer.stop();
    await upstream.close();
  });

  /** A tunnel whose client has sent as much as the balancer and the kernels accept, and does not read. */
  const fill = async (path: string) => {
    const client = await RawClient.connect(balancer.port);
    await client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n`);
    await client.until(({ received }) => received.includes("\r\n\r\n"), "the 101");
    client.socket.pause();
    void client.send("x".repeat(MUCH_TUNNEL_BYTES));
    // With reports every 50 ms, eight equal ones mean that nothing moves.
    for (let before = 0, same = 0; same < 8; ) {
      await balancer.reports(({ inFlight }) => inFlight === 1);
      const now = client.socket.bytesWritten - client.socket.writableLength;
      same = now > 0 && now === before ? same + 1 : 0;
      before = now;
    }
    return client;
  };

  it("end it immediately, with its connection to the upstream, which does not read", async () => {
    const quiet = await fill("/");
    resetSocket(quiet.socket);
    await balancer.reports(({ inFlight }) => inFlight === 0);
    const client = await fill("/writes");
    resetSocket(client.socket);
    const { socket } = upstream.connections.at(-1) as UpstreamConnection;
    await upstream.until(() => socket.destroyed, "the end of the tunnel");

    // A client that sends FIN may still read, and the kernel probes whether it is there.
    if (process.platform !== "linux") return;
    const half = await RawClient.connect(balancer.port);
    await half.send("GET /half HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    await half.until(({ received }) => received.includes("\r\n\r\n"), "the 101");
    expect(isAsked(balancer.port, half)).toBe(false);
    half.socket.end();
    while (!isAsked(balancer.port, half)) await balancer.reports(({ inFlight }) => inFlight === 1);
    half.socket.resetAndDestroy();
    await balancer.reports(({ inFlight }) => inFlight === 0);
  });
});
