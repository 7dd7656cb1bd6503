/** Upstreams that are not our servers: also over TCP, free to close idle connections, and counted here. */
import net from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BalancerProcess, RUNTIMES } from "./support/balancer-process.js";
import { Changes } from "./support/changes.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";

const GET = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const POST = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";

describe.each(RUNTIMES)("a foreign upstream on %s", (runtime) => {
  let balancer: BalancerProcess;
  let server: net.Server;
  let status = 200;
  /** It closes each connection after a response, without announcing it. */
  let closes = false;
  /** Per connection, the methods of its requests, in order. */
  let connections: string[][] = [];
  /** Counted per test: connections of the previous test may close late. */
  let counts = { closed: 0 };
  const changes = new Changes();

  beforeEach(async () => {
    status = 200;
    closes = false;
    connections = [];
    const own = { closed: 0 };
    counts = own;
    balancer = await BalancerProcess.start(runtime);
    server = net.createServer((socket) => {
      const methods: string[] = [];
      connections.push(methods);
      socket.on("error", () => {});
      socket.on("close", () => {
        own.closed++;
        changes.tell();
      });
      socket.setEncoding("latin1").on("data", (text: string) => {
        for (const [, method = ""] of text.matchAll(/(GET|POST) \//g)) {
          methods.push(method);
          socket.write(`HTTP/1.1 ${status} X\r\nContent-Length: 2\r\n\r\nok`);
          // Requests arriving meanwhile are lost.
          if (closes) setImmediate(() => socket.destroy());
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });

  afterEach(async () => {
    await balancer.stop();
    server.close();
  });

  const follow = (more: object = {}) => {
    const { port } = server.address() as net.AddressInfo;
    const tcp = { host: "127.0.0.1", port };
    const upstreams = [{ id: "api.1#1", name: "api.1", tcp, foreign: true, ...more }];
    return balancer.follow({}, [{ name: "api", routes: ["/"], upstreams }]);
  };

  /** One client that sends these requests one after another. */
  const askAll = async (client: RawClient, requests: readonly string[]) => {
    let responses = client.received.split("ok").length;
    for (const request of requests) {
      await client.send(request.replace("Connection: close\r\n", ""));
      responses++;
      await client.until(({ received }) => received.split("ok").length === responses, `answer ${responses}`);
    }
  };

  it("is spoken to over TCP, and what must not be sent twice gets a new connection", async () => {
    await follow();
    const client = await RawClient.connect(balancer.port);
    await askAll(client, [GET, GET, POST, GET, POST]);
    expect(connections).toEqual([["GET", "GET"], ["POST", "GET"], ["POST"]]);
    client.destroy();
  });

  it("that takes one request at a time gets the new connection in the place of the idle one", async () => {
    await follow({ maxInFlight: 1 });
    const client = await RawClient.connect(balancer.port);
    const other = await RawClient.connect(balancer.port);
    await askAll(client, [GET, POST, POST]);
    await askAll(other, [GET]);
    await askAll(client, [GET]);
    expect(connections).toEqual([["GET"], ["POST"], ["POST"], ["GET"], ["GET"]]);
    client.destroy();
    other.destroy();
  });

  it.each([
    ["foreign", {}],
    // One of our instances in the role of a foreign upstream, as in proxy pools.
    ["its clients'", { foreign: false, perClient: true }],
  ])("that is %s has its connection kept for one client alone, and closed when that leaves", async (_, told) => {
    await follow(told);
    const clients = await Promise.all([1, 2].map(() => RawClient.connect(balancer.port)));
    for (const client of [...clients, ...clients]) await askAll(client, [GET]);
    expect(connections).toEqual([
      ["GET", "GET"],
      ["GET", "GET"],
    ]);
    clients[0]?.destroy();
    await changes.until(
      () => counts.closed === 1,
      () => "the kept connection was not closed",
    );
    clients[1]?.destroy();
  });

  it("that closes connections without saying so loses no request", async () => {
    closes = true;
    await follow();
    const ask = async () => {
      for (let i = 0; i < 50; i++) {
        expect((await exchangeRaw(balancer.port, GET)).received).toMatch(/^HTTP\/1\.1 200 [\s\S]*ok$/);
      }
    };
    await Promise.all(Array.from({ length: 8 }, ask));
  });

  it("has its answers counted", async () => {
    await follow();
    // Each report has the latencies since the one before; a request's may come in any of them.
    const latencies = new Map<unknown, number>();
    const reported = balancer.reports((stats) => {
      const { latency = [], requestsTotal } = stats.upstreams[0] ?? {};
      latencies.set(
        stats,
        latency.reduce((sum, each, at) => sum + (at % 2) * each, 0),
      );
      return requestsTotal === 2 && [...latencies.values()].reduce((sum, each) => sum + each, 0) === 2;
    });
    await exchangeRaw(balancer.port, GET);
    status = 500;
    await exchangeRaw(balancer.port, GET);
    const { upstreams } = await reported;
    expect(upstreams).toMatchObject([{ id: "api.1#1", requestsTotal: 2, errorsTotal: 1, inFlight: 0 }]);
  });
});
