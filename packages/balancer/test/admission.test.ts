/** What happens to clients and requests before they have an instance: limits of connections and rates, slow clients, an overloaded pool. */
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it as test } from "vitest";
import { BalancerProcess, CLIENT_RUNTIMES } from "./support/balancer-process.js";
import { itUnless } from "./support/it-unless.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";
import { HELLO, respondEach, ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;

const LAST = "Host: a\r\nConnection: close\r\n\r\n";

describe.concurrent.each(CLIENT_RUNTIMES)("admission on %s", (runtime) => {
  const isHttp2 = runtime.endsWith("HTTP/2");
  let balancer: BalancerProcess;
  const upstreams: ScriptedUpstream[] = [];
  /** The requests that wait for a response in the pool `busy`, and a function that responds to each. */
  const held: { target: string; respond: () => void }[] = [];

  const listen = async (name: string, onBytes: (connection: UpstreamConnection) => void) => {
    const upstream = await ScriptedUpstream.listen(path.join(balancer.directory, `${name}.sock`), onBytes);
    upstreams.push(upstream);
    return { id: `${name}.1#1`, name: `${name}.1`, socket: upstream.path };
  };
  const hold = ({ socket, received }: UpstreamConnection) => {
    if (!received.endsWith("\r\n\r\n")) return;
    const target = /.*GET (\S+) /s.exec(received)?.[1] ?? "";
    held.push({ target, respond: () => socket.write(HELLO) });
  };
  const heldOnes = (count: number) =>
    (upstreams[1] as ScriptedUpstream).until(() => held.length === count, `${count} requests`);

  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime, {
      ...{ maxConnections: 6, maxConnectionsPerAddress: 4, bodyTimeoutMs: 1000, minBodyBytesPerSecond: 1000 },
      ...{ headTimeoutMs: 60_000, upstreamConnectTimeoutMs: 60_000 },
    });
    const [web, busy, late, silent] = [
      await listen("web", respondEach(HELLO)),
      await listen("busy", hold),
      await listen("late", hold),
      await listen("silent", () => {}),
    ];
    const pools = [
      { name: "web", routes: ["/"], upstreams: [web] },
      { name: "silent", routes: ["/silent/"], upstreams: [silent] },
      {
        ...{ name: "busy", routes: ["/busy/"], queueTimeoutMs: 60_000 },
        priority: { high: ["/busy/checkout/"], low: ["/busy/search/"] },
        upstreams: [{ ...busy, maxInFlight: 1 }],
      },
      { name: "late", routes: ["/late/"], queueTimeoutMs: 100, upstreams: [{ ...late, maxInFlight: 1 }] },
    ];
    const rule = { requests: 1, periodMs: 3_600_000, burst: 1, routes: ["/limited/"] };
    await balancer.follow({}, pools, { rateLimits: [{ by: "address", ...rule }] });
  });

  afterAll(async () => {
    for (const upstream of upstreams) await upstream.close();
    await balancer.stop();
  });

  it("429 with its fields for a client without a token, whose connection stays open", async () => {
    const client = await RawClient.connect(balancer.port);
    const ask = async (target: string, end: string) => {
      client.received = "";
      await client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await client.until(({ received }) => received.endsWith(end), end);
      return client.received;
    };
    await ask("/limited/a", "hello");
    expect(await ask("/limited/b", "429 Too Many Requests\n")).toMatch(
      /^HTTP\/1\.1 429 [\s\S]*\r\nRetry-After: 3600\r\nRateLimit-Policy: "address";q=1;w=3600\r\nRateLimit: "address";r=0;t=3600\r\n(?:.+\r\n)*\r\n/i,
    );
    await ask("/other", "hello");
    client.destroy();
    expect((await exchangeRaw(balancer.port, `GET /limited/ HTTP/1.1\r\n${LAST}`, "127.0.0.2")).received).toMatch(
      /hello$/,
    );
  });

  itUnless(isHttp2 ? "over HTTP/2 such a connection ends with GOAWAY" : undefined)(
    "429 for the connections of an address beyond its limit; others connect",
    async () => {
      const clients = await Promise.all(Array.from({ length: 4 }, () => RawClient.connect(balancer.port, "127.0.0.3")));
      await balancer.reports(({ connections }) => connections === 4);
      const beyond = await exchangeRaw(balancer.port, "", "127.0.0.3");
      expect(beyond.received).toMatch(/^HTTP\/1\.1 429 [\s\S]*\r\nConnection: close\r\nRetry-After: 1\r\n/);
      expect((await exchangeRaw(balancer.port, `GET / HTTP/1.1\r\n${LAST}`)).received).toMatch(/hello$/);
      for (const client of clients) client.destroy();
      await balancer.reports(({ connections }) => connections === 0);
    },
  );

  itUnless(isHttp2 ? "over HTTP/2 such a connection ends with GOAWAY" : undefined)(
    "clients that never finish their heads lock nobody out when they have all the connections",
    async () => {
      const slow: RawClient[] = [];
      for (let n = 0; n < 6; n++) {
        const client = await RawClient.connect(balancer.port, `127.0.0.${n < 3 ? 4 : 5}`);
        await client.send("GET / HTTP/1.1\r\nX: ");
        slow.push(client);
        await balancer.reports(({ connections }) => connections === n + 1);
      }
      let received = "";
      // A client that has just connected is not closed to make room for another.
      for (const deadline = Date.now() + 60_000; !received.endsWith("hello") && Date.now() < deadline; ) {
        await balancer.reports(() => true);
        ({ received } = await exchangeRaw(balancer.port, `GET / HTTP/1.1\r\n${LAST}`, "127.0.0.6"));
      }
      expect(received).toMatch(/hello$/);
      for (const client of slow) client.destroy();
      await balancer.reports(({ connections }) => connections === 0);
    },
  );

  it("408 for a body that arrives in drips, although it never stops", async () => {
    const client = await RawClient.connect(balancer.port);
    await client.send("POST /silent/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    const drip = setInterval(() => void client.socket.write("x"), 50);
    try {
      expect(await client.ended()).toMatch(/^HTTP\/1\.1 408 /);
    } finally {
      clearInterval(drip);
      client.destroy();
    }
  });

  it("requests of a higher class leave the queue first", async () => {
    held.splice(0);
    // A request of another test that is still counted would stand for the first one, so that two would be on their way at once.
    await balancer.reportsNow(({ inFlight }) => inFlight === 0);
    const clients: Promise<{ received: string }>[] = [];
    for (const [at, name] of ["first", "search/a", "cart", "checkout/b"].entries()) {
      clients.push(exchangeRaw(balancer.port, `GET /busy/${name} HTTP/1.1\r\n${LAST}`));
      await balancer.reports(({ inFlight }) => inFlight === at + 1);
    }
    for (let served = 1; served <= 4; served++) {
      await heldOnes(served);
      held[served - 1]?.respond();
    }
    for (const client of clients) expect((await client).received).toMatch(/hello$/);
    expect(held.map(({ target }) => target)).toEqual([
      "/busy/first",
      "/busy/checkout/b",
      "/busy/cart",
      "/busy/search/a",
    ]);
  });

  it("503 with Retry-After for a request that has waited for queueTimeoutMs; it does not run", async () => {
    held.splice(0);
    const first = exchangeRaw(balancer.port, `GET /late/first HTTP/1.1\r\n${LAST}`);
    await (upstreams[2] as ScriptedUpstream).until(() => held.length === 1, "the first request");
    const second = await exchangeRaw(balancer.port, `GET /late/second HTTP/1.1\r\n${LAST}`);
    expect(second.received).toMatch(/^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: 1\r\n/);
    held[0]?.respond();
    expect((await first).received).toMatch(/hello$/);
    expect(held.map(({ target }) => target)).toEqual(["/late/first"]);
  });
});
