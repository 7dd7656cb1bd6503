/** Upstreams that are not our servers: also over TCP, free to close idle connections, and counted here. */
import net from "node:net";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "../../../test/support/wait.js";
import { BalancerProcess, pool, RUNTIMES } from "./support/balancer-process.js";
import { Changes } from "./support/changes.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";
import { ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

const GET = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const POST = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";

describe.each(RUNTIMES)("a foreign upstream on %s", (runtime) => {
  let balancer: BalancerProcess;
  let server: net.Server;
  let status = 200;
  /** Whether it closes each connection after a response, without announcing that. */
  let closes = false;
  /** For each connection, the methods of its requests, in order. */
  let connections: string[][] = [];
  /** Counted per test, because connections of the previous test may close late. */
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
          // Requests that arrive in the meantime are lost.
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

  it("is used over TCP, and requests that must not be sent twice get a new connection", async () => {
    await follow();
    const client = await RawClient.connect(balancer.port);
    await askAll(client, [GET, GET, POST, GET, POST]);
    expect(connections).toEqual([["GET", "GET"], ["POST", "GET"], ["POST"]]);
    client.destroy();
  });

  it("that handles one request at a time gets the new connection in place of the idle one", async () => {
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
  ])(
    "that is %s has its connection kept for one client only, and closed when that client disconnects",
    async (_, told) => {
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
    },
  );

  it("that closes connections without announcing it loses no request", async () => {
    closes = true;
    await follow();
    const ask = async () => {
      for (let i = 0; i < 50; i++) {
        expect((await exchangeRaw(balancer.port, GET)).received).toMatch(/^HTTP\/1\.1 200 [\s\S]*ok$/);
      }
    };
    await Promise.all(Array.from({ length: 8 }, ask));
  });

  it("has its responses counted", async () => {
    await follow();
    // Each report has the latencies since the previous one; that of a request may come in any of them.
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

describe.each(RUNTIMES)("a pool with `hedge` on %s", (runtime) => {
  it("sends a late GET to one more upstream, and the first successful one of the two serves it", async () => {
    const balancer = await BalancerProcess.start(runtime);
    /** By path, the connections that got the request, in order. */
    const got = new Map<string, UpstreamConnection[]>();
    const onBytes = (connection: UpstreamConnection) => {
      const asked = /^GET (\S+)/.exec(connection.received.split("\r\n\r\n").at(-2) ?? "")?.[1] ?? "";
      if (asked === "/quick") respond(connection, "quick");
      else got.set(asked, [...(got.get(asked) ?? []), connection]);
    };
    const respond = ({ socket }: UpstreamConnection, body: string, status = 200) =>
      socket.write(`HTTP/1.1 ${status} X\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    const ids = ["api.1#1", "api.2#1", "api.3#1"];
    const listening = ids.map((id) => ScriptedUpstream.listen(path.join(balancer.directory, `${id}.sock`), onBytes));
    const upstreams = await Promise.all(listening);
    const described = pool("api", ["/api/"], Object.fromEntries(upstreams.map((each, at) => [ids[at], each.path])));
    const foreign = described.upstreams.map((upstream) => ({ ...upstream, foreign: true }));
    const identity = { ids: true, inResponse: false };
    await balancer.follow({}, [{ ...described, upstreams: foreign, stripPrefix: true, hedge: true }], { identity });

    const quick = await RawClient.connect(balancer.port);
    let asked = 0;
    /** Sends quick requests until the balancer knows how long they take, and may send a request for a path twice. */
    const doubled = (target: string) =>
      waitFor(`a second upstream for ${target}`, async () => {
        asked += 60;
        await quick.send("GET /api/quick HTTP/1.1\r\nHost: a\r\n\r\n".repeat(60));
        await quick.until(({ received }) => received.split("\nquick").length === asked + 1, "60 responses");
        const [first, second] = got.get(target) ?? [];
        return first !== undefined && second !== undefined && { first, second };
      });
    const isClosed = ({ socket }: UpstreamConnection) => socket.destroyed || socket.readableEnded;
    const ask = (target: string) => exchangeRaw(balancer.port, GET.replace("GET /", `GET /x/../api${target}`));

    const cases: [string, RegExp, (first: UpstreamConnection, second: UpstreamConnection) => unknown][] = [
      ["/second", / 200 [\s\S]*second$/, (_, second) => respond(second, "second")],
      ["/first", / 200 [\s\S]*first$/, (first) => respond(first, "first")],
      ["/lost", / 200 [\s\S]*second$/, (first, second) => [first.socket.destroy(), respond(second, "second")]],
      ["/both-lost", / 502 /, (first, second) => [second.socket.destroy(), first.socket.destroy()]],
    ];
    for (const [target, expected, act] of cases) {
      const response = ask(target);
      const { first, second } = await doubled(target);
      const [sent, sentAgain] = [first, second].map(({ received }) => received.split("\r\n\r\n").at(-2));
      expect(sentAgain).toBe(sent);
      expect(sent).toMatch(/\r\nx-forwarded-prefix: \/api\r\n/i);
      expect(sent).toMatch(/\r\nx-request-id: [0-9a-f-]{36}(\r\n|$)/i);
      act(first, second);
      expect((await response).received).toMatch(expected);
      // The client has closed its connection, so both are closed.
      await waitFor(`the end of both connections of ${target}`, () => isClosed(first) && isClosed(second));
    }
    const response = ask("/failing");
    const { first, second } = await doubled("/failing");
    respond(second, "", 503);
    await waitFor("the end of the failed one", () => isClosed(second));
    respond(first, "first");
    expect((await response).received).toMatch(/ 200 [\s\S]*first$/);

    expect([...got.values()].map((connections) => connections.length)).toEqual([2, 2, 2, 2, 2]);
    const report = await balancer.reports(({ inFlight }) => inFlight === 0);
    expect(report.upstreams.map(({ inFlight }) => inFlight)).toEqual([0, 0, 0]);
    expect(report.hedgesTotal).toBeGreaterThanOrEqual(5);
    expect(report.hedgesWonTotal).toBeGreaterThanOrEqual(2);
    quick.destroy();
    await Promise.all(upstreams.map((upstream) => upstream.close()));
    await balancer.stop();
  });
});
