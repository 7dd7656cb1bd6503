/** Upstreams that refuse, die, are full or leave: round robin, retries, the queue, snapshots and drains. */
import path from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it as test } from "vitest";
import { BalancerProcess, pool, SETUPS } from "./support/balancer-process.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";
import { HELLO, respondEach, ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;

const GET = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const POST = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";

function named(name: string): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${name.length}\r\n\r\n${name}`;
}

afterAll(() => BalancerProcess.stopIdle());

describe.concurrent.each(SETUPS)("failover on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  const upstreams: ScriptedUpstream[] = [];

  const start = async (limits = {}, take: typeof BalancerProcess.lease = BalancerProcess.lease) => {
    balancer = await take(runtime, limits);
    balancer.protocol = protocol;
  };

  const listen = async (id: string, onBytes: (connection: UpstreamConnection) => void) => {
    const upstream = await ScriptedUpstream.listen(path.join(balancer.directory, `${id}.sock`), onBytes, protocol);
    upstreams.push(upstream);
    return upstream;
  };

  const dead = (id: string) => path.join(balancer.directory, `${id}.nobody.sock`);

  beforeEach(() => {
    upstreams.length = 0;
  });

  afterEach(async () => {
    await Promise.all(upstreams.map((upstream) => upstream.close()));
    await balancer.giveBack();
  });

  it("uses the upstreams in strict turn, and keeps the turn when one joins", async () => {
    await start();
    const paths: Record<string, string> = {};
    for (const name of ["web.1", "web.2", "web.3"]) {
      paths[`${name}#1`] = (await listen(`${name}#1`, respondEach(named(name)))).path;
    }
    const ask = async () => (await exchangeRaw(balancer.port, GET)).received.slice(-5);
    const { "web.3#1": third, ...firstTwo } = paths;
    await balancer.follow(firstTwo);
    expect([await ask(), await ask(), await ask()]).toEqual(["web.1", "web.2", "web.1"]);
    await balancer.follow({ ...firstTwo, "web.3#1": third as string });
    expect([await ask(), await ask(), await ask()]).toEqual(["web.2", "web.3", "web.1"]);
  });

  it.each([GET, POST])("tries the next upstream when one refuses: %j", async (request) => {
    // Its counters begin at 0.
    await start({}, BalancerProcess.start);
    const alive = await listen("web.2#1", respondEach(HELLO));
    await balancer.follow({ "web.1#1": dead("web.1"), "web.2#1": alive.path });
    for (let i = 0; i < 4; i++) {
      expect((await exchangeRaw(balancer.port, request)).received).toMatch(/^HTTP\/1\.1 200 /);
    }
    // An earlier report may still be on its way.
    const last = await balancer.reports(({ retriesTotal, requestsTotal }) => retriesTotal > 0 && requestsTotal >= 4);
    expect(last.requestsTotal).toBe(4);
  });

  it("sends a GET to another upstream when its upstream dies before the response, and a PUT with all of its body", async () => {
    await start();
    const dying = await listen("web.1#1", ({ socket, received }) => {
      if (/(\r\n\r\n|abc)$/.test(received)) socket.destroy();
    });
    const alive = await listen("web.2#1", (connection) => {
      if (/(^GET.*\r\n\r\n|abc)$/s.test(connection.received)) connection.socket.write(HELLO);
    });
    await balancer.follow({ "web.1#1": dying.path, "web.2#1": alive.path });
    for (const request of [GET, GET, POST.replace("POST", "PUT"), POST.replace("POST", "PUT")]) {
      expect((await exchangeRaw(balancer.port, request)).received).toMatch(/^HTTP\/1\.1 200 /);
    }
    expect(dying.received).toContain("abc");
    expect(alive.received.match(/abc/g)).toHaveLength(2);
  });

  it("gives up a request after two instances have died because of it, before the others die", async () => {
    await start();
    const paths: Record<string, string> = {};
    for (const id of ["web.1#1", "web.2#1", "web.3#1"]) {
      paths[id] = (await listen(id, ({ socket }) => socket.destroy())).path;
    }
    await balancer.follow(paths);
    expect((await exchangeRaw(balancer.port, GET)).received).toMatch(/^HTTP\/1\.1 502 /);
    expect(upstreams.map(({ received }) => received.split("GET ").length - 1).reduce((a, b) => a + b)).toBe(2);
  });

  it("does not send a POST twice once it was written", async () => {
    await start();
    const dying = await listen("web.1#1", ({ socket }) => socket.destroy());
    const alive = await listen("web.2#1", respondEach(HELLO));
    await balancer.follow({ "web.1#1": dying.path, "web.2#1": alive.path });
    expect((await exchangeRaw(balancer.port, POST)).received).toMatch(/^HTTP\/1\.1 502 /);
    expect(alive.received).toBe("");
  });

  // On a lane a head arrives complete or not at all; see its own tests.
  if (protocol === "http1")
    it("does not try again after the first byte of the response", async () => {
      await start();
      const dying = await listen("web.1#1", ({ socket }) => void socket.write("HTTP/1.", () => socket.destroy()));
      const alive = await listen("web.2#1", respondEach(HELLO));
      await balancer.follow({ "web.1#1": dying.path, "web.2#1": alive.path });
      expect((await exchangeRaw(balancer.port, GET)).received).toMatch(/^HTTP\/1\.1 502 /);
      expect(alive.received).toBe("");
    });

  it("responds with 503 and Retry-After while no instance is ready, and keeps the connection for later requests", async () => {
    await start();
    await balancer.follow({});
    const client = await RawClient.connect(balancer.port);
    await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.until(({ received }) => received.includes("503 Service Unavailable\n"), "503");
    expect(client.received).toMatch(/\r\nRetry-After: \d+\r\n/);
    const alive = await listen("web.1#1", respondEach(HELLO));
    await balancer.follow({ "web.1#1": alive.path });
    await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.until(({ received }) => received.endsWith("hello"), "the answer");
    client.destroy();
  });

  const follow = (awaited: boolean) =>
    balancer.follow({}, [{ name: balancer.poolName, routes: ["/"], awaited, upstreams: [] }]);
  const ask = (request: string) =>
    exchangeRaw(balancer.port, `${request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);

  it("lets requests wait for an instance that is expected soon, up to the limit of the queue, while it is expected", async () => {
    await start({ maxQueue: 2 });
    const dying = await listen("web.1#1", () => {});
    await balancer.follow({ "web.1#1": dying.path });
    const [retried, lost] = [ask("GET /0"), ask("POST /1")];
    await dying.until(({ received }) => received.includes("GET /0") && received.includes("POST /1"), "both");
    await follow(true);
    for (const socket of dying.accepted) socket.destroy();
    expect((await lost).received).toMatch(/^HTTP\/1\.1 50[23] /);
    const waiting = ask("POST /2");
    await balancer.reports(({ inFlight }) => inFlight === 2);
    expect((await ask("GET /3")).received).toMatch(/^HTTP\/1\.1 503 /);
    const alive = await listen("web.1#2", respondEach(HELLO));
    await balancer.follow({ "web.1#2": alive.path });
    for (const served of [retried, waiting]) expect((await served).received).toMatch(/hello$/);
    await follow(true);
    const given = ask("GET /4");
    await balancer.reports(({ inFlight }) => inFlight === 1);
    await follow(false);
    expect((await given).received).toMatch(/^HTTP\/1\.1 503 /);
  });

  it("lets requests wait in their order while all are full, and refuses requests beyond the limit of the queue", async () => {
    await start({ maxConnectionsPerUpstream: 1, maxQueue: 2 });
    const held: (() => void)[] = [];
    const upstream = await listen("web.1#1", ({ socket, received }) => {
      const path = received.split(" ").at(-2)?.split("\n").at(-1) ?? "";
      held.push(() => socket.write(named(path)));
    });
    await balancer.follow({ "web.1#1": upstream.path });
    const clients: RawClient[] = [];
    for (const target of ["/first", "/second", "/third"]) {
      const client = await RawClient.connect(balancer.port);
      await client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
      clients.push(client);
      await balancer.reports(({ inFlight }) => inFlight === clients.length);
    }
    const refused = await exchangeRaw(balancer.port, GET);
    expect(refused.received).toMatch(/^HTTP\/1\.1 503 /);
    for (const [i, client] of clients.entries()) {
      await upstream.until(() => held.length === i + 1, `request ${i + 1}`);
      held[i]?.();
      await client.until(({ received }) => received.includes("200 OK"), `answer ${i + 1}`);
      client.destroy();
    }
    expect([...upstream.received.matchAll(/GET (\S+)/g)].map(([, target]) => target)).toEqual([
      "/first",
      "/second",
      "/third",
    ]);
  });

  it("responds with 503 to a request that waited for an upstream until its deadline", async () => {
    await start({ upstreamConnectTimeoutMs: 300 });
    await balancer.follow({ "web.1#1": dead("web.1") });
    expect((await ask("GET /")).received).toMatch(/^HTTP\/1\.1 503 [\s\S]*Retry-After: /);
    await follow(true);
    expect((await ask("GET /")).received).toMatch(/^HTTP\/1\.1 503 [\s\S]*Retry-After: /);
  });

  it("finishes the requests in progress at an upstream that leaves, and then reports that it does not use the upstream any more", async () => {
    await start();
    const held: (() => void)[] = [];
    const outgoing = await listen("web.1#1", ({ socket }) => held.push(() => socket.write(HELLO)));
    const stayer = await listen("web.2#1", respondEach(HELLO));
    await balancer.follow({ "web.1#1": outgoing.path });
    const client = await RawClient.connect(balancer.port);
    await client.send(GET);
    await outgoing.until(() => held.length === 1, "the request");
    const { version, leaving } = await balancer.follow({ "web.2#1": stayer.path });
    expect(leaving).toEqual(["web.1#1"]);
    expect((await exchangeRaw(balancer.port, GET)).received).toContain("hello");
    expect(stayer.received).not.toBe("");
    held[0]?.();
    expect(await client.ended()).toContain("hello");
    await balancer.hears(
      (message) => message.type === "applied" && message.version === version && message.leaving.length === 0,
    );
    await outgoing.until(({ connections }) => connections.every(({ socket }) => socket.readableEnded), "the close");
    client.destroy();
  });

  it("drains: accepts no more connections, responds to requests in progress with a close, closes idle clients, exits with 0", async () => {
    await start({ idleDrainMs: 200 });
    const held: (() => void)[] = [];
    const upstream = await listen("web.1#1", ({ socket }) => held.push(() => socket.write(HELLO)));
    await balancer.follow({ "web.1#1": upstream.path });
    const busy = await RawClient.connect(balancer.port);
    await busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await upstream.until(() => held.length === 1, "the request");
    const idle = await RawClient.connect(balancer.port);
    await balancer.reports(({ connections }) => connections === 2);
    balancer.say({ type: "drain", deadlineMs: 60_000 });
    expect(await idle.ended()).toBe("");
    held[0]?.();
    expect(await busy.ended()).toMatch(/Connection: close\r\n[\s\S]*hello$/);
    busy.destroy();
    expect(await balancer.exited()).toBe(0);
  });

  it("drains: all clients that wait to be accepted get their responses", async () => {
    await start();
    const upstream = await listen("web.1#1", respondEach(HELLO));
    await balancer.follow({ "web.1#1": upstream.path });
    process.kill(balancer.pid, "SIGSTOP");
    balancer.say({ type: "drain", deadlineMs: 60_000 });
    const clients = await Promise.all(Array.from({ length: 8 }, () => RawClient.connect(balancer.port)));
    for (const client of clients) await client.send(GET);
    process.kill(balancer.pid, "SIGCONT");
    for (const client of clients) {
      expect(await client.ended()).toMatch(/Connection: close\r\n[\s\S]*hello$/);
      client.destroy();
    }
    expect(await balancer.exited()).toBe(0);
  });

  it("cuts off requests in progress at the drain's deadline, and reports how many; no part looks whole", async () => {
    await start();
    const upstream = await listen("web.1#1", ({ socket, received }) => {
      if (received.startsWith("GET /part "))
        socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n");
    });
    await balancer.follow({ "web.1#1": upstream.path });
    const client = await RawClient.connect(balancer.port);
    await client.send(GET);
    await upstream.until(({ received }) => received !== "", "the request");
    // Only the end of the connection would end its response.
    const older = await RawClient.connect(balancer.port);
    await older.send("GET /part HTTP/1.0\r\n\r\n");
    await older.until(({ received }) => received.endsWith("part"), "the part");
    balancer.say({ type: "drain", deadlineMs: 200 });
    expect(await balancer.exited()).toBe(0);
    expect(balancer.output).toContain("2 connections cut off");
    await older.ended();
    expect(older.ending).toBe("reset");
    client.destroy();
  });

  it("routes by host and path on segment boundaries, the longest first; 404 if nothing matches", async () => {
    await start();
    const site = await listen("site.1#1", respondEach(named("site")));
    const api = await listen("api.1#1", respondEach(named("api")));
    await balancer.follow({}, [
      pool("site", ["example.com/"], { "site.1#1": site.path }),
      pool("api", ["/api/", "*.api.example/"], { "api.1#1": api.path }),
    ]);
    const ask = async (target: string, host: string) => {
      const { received } = await exchangeRaw(
        balancer.port,
        `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
      );
      return received.startsWith("HTTP/1.1 200") ? received.split("\r\n\r\n")[1] : received.slice(9, 12);
    };
    expect(await ask("/", "Example.com:80")).toBe("site");
    expect(await ask("/api/x?y", "other")).toBe("api");
    expect(await ask("/api", "other")).toBe("api");
    expect(await ask("/apical", "other")).toBe("404");
    expect(await ask("/", "a.api.example")).toBe("api");
    expect(await ask("http://example.com/x", "other")).toBe("site");
  });
});
