/** Routing: which pool gets a request, which target its instance sees, and which requests are rejected. */
import path from "node:path";
import type { SnapshotPool } from "@paceline/wire";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../../test/support/wait.js";
import { BalancerProcess, pool, SETUPS } from "./support/balancer-process.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";
import { HELLO, respondEach, ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

const POOLS = {
  web: { routes: ["/"], stripPrefix: false },
  api: { routes: ["/api/", "/v2/api"], stripPrefix: true },
  beb: { routes: ["/b%C3%A9b/"], stripPrefix: true },
  docs: { routes: ["docs.example.com/", "*.example.com/x"], stripPrefix: false },
};

type PoolName = keyof typeof POOLS;

describe.each(SETUPS)("routes on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  const upstreams = new Map<PoolName, ScriptedUpstream>();

  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime, {}, ["127.0.0.1"]);
    balancer.protocol = protocol;
    const pools = [];
    for (const [name, { routes, stripPrefix }] of Object.entries(POOLS)) {
      const socket = path.join(balancer.directory, `${name}.sock`);
      upstreams.set(name as PoolName, await ScriptedUpstream.listen(socket, respondEach(HELLO), protocol));
      pools.push({ ...pool(name, routes, { [`${name}.1#1`]: socket }), stripPrefix });
    }
    await balancer.follow({}, pools);
  });

  afterAll(async () => {
    for (const upstream of upstreams.values()) await upstream.close();
    await balancer?.stop();
  });

  /** Returns the heads that each pool got since the last call. */
  const seenBefore = new Map<PoolName, number>();
  function heads(): [PoolName, string][] {
    return [...upstreams].flatMap(([name, { received }]) => {
      const fresh = received.slice(seenBefore.get(name) ?? 0);
      seenBefore.set(name, received.length);
      return fresh === "" ? [] : [[name, fresh] as [PoolName, string]];
    });
  }

  async function ask(target: string, fields = "Host: a\r\n"): Promise<string> {
    const { received } = await exchangeRaw(
      balancer.port,
      `GET ${target} HTTP/1.1\r\n${fields}Connection: close\r\n\r\n`,
    );
    return received;
  }

  it.each([
    ["/", "Host: a\r\n", "web", "/", undefined],
    ["/a/../b?c=/../%2F", "Host: a\r\n", "web", "/b?c=/../%2F", undefined],
    ["/%7Euser//x%2f%c3%A9", "Host: a\r\n", "web", "/%7Euser//x%2f%c3%A9", undefined],
    ["//a", "Host: a\r\n", "web", "//a", undefined],
    ["//h/api/x", "Host: a\r\n", "web", "/h/api/x", undefined],
    ["/a/../%7e", "Host: a\r\n", "web", "/%7e", undefined],
    ["/api/%7Ex//%2f", "Host: a\r\n", "api", "/%7Ex//%2f", "/api"],
    ["/api/x?y", "Host: a\r\n", "api", "/x?y", "/api"],
    ["/api", "Host: a\r\n", "api", "/", "/api"],
    ["/api?y", "Host: a\r\n", "api", "/?y", "/api"],
    ["/v2/api//h/x", "Host: a\r\n", "api", "/h/x", "/v2/api"],
    ["/x/../%61pi/./y?z", "Host: a\r\n", "api", "/y?z", "/api"],
    ["/apis", "Host: a\r\n", "web", "/apis", undefined],
    ["/api/x", "Host: Docs.Example.com.:80\r\n", "docs", "/api/x", undefined],
    ["/x/y", "Host: b.example.com\r\n", "docs", "/x/y", undefined],
    ["/y", "Host: b.example.com\r\n", "web", "/y", undefined],
    ["http://docs.example.com/z", "Host: a\r\n", "docs", "/z", undefined],
    ["http://docs.example.com?z", "Host: a\r\n", "docs", "/?z", undefined],
    // Browsers percent-encode non-ASCII bytes; curl sends them raw.
    ["/caf\xc3\xa9?q=\xe2\x82\xac#", "Host: a\r\n", undefined, "", undefined],
    ["/caf\xc3\xa9/%c3%a9?q=\xe2\x82\xac&a", "Host: a\r\n", "web", "/caf%C3%A9/%c3%a9?q=%E2%82%AC&a", undefined],
    ["/api/\xff", "Host: a\r\n", "api", "/%FF", "/api"],
    ["/\xc3\xa9/../api/\xc3\xa9", "Host: a\r\n", "api", "/%C3%A9", "/api"],
    ["/b\xc3\xa9b/x", "Host: a\r\n", "beb", "/x", "/b%C3%A9b"],
    ["/b%C3%A9b/x", "Host: a\r\n", "beb", "/x", "/b%C3%A9b"],
    ["http://docs.example.com/\xc3\xa9", "Host: a\r\n", "docs", "/%C3%A9", undefined],
    ["http://d\xc3\xa9.example.com/x", "Host: a\r\n", undefined, "", undefined],
    // The stripped prefix of a trusted peer counts, and precedes the prefix stripped here.
    ["/api/x", "Host: a\r\nX-Forwarded-Prefix: /shop/\r\n", "api", "/x", "/shop/api"],
    ["/x", "Host: a\r\nX-Forwarded-Prefix: /shop\r\n", "web", "/x", "/shop"],
  ])("%s with %j goes to %s", async (target, fields, name, seen, prefix) => {
    const response = await ask(target, fields);
    if (name === undefined) {
      expect(response).toMatch(/^HTTP\/1\.1 400 /);
      expect(heads()).toEqual([]);
      return;
    }
    expect(response).toMatch(/^HTTP\/1\.1 200 /);
    const [[got, head] = [undefined, ""], ...more] = heads();
    expect(more).toEqual([]);
    expect(got).toBe(name);
    expect(head.split("\r\n")[0]).toBe(`GET ${seen} HTTP/1.1`);
    expect(/^x-forwarded-prefix: (.*)\r$/im.exec(head)?.[1]).toBe(prefix);
    expect(head.match(/x-forwarded-prefix/gi)?.length ?? 0).toBe(prefix === undefined ? 0 : 1);
  });

  it("rejects with 400 a request whose route is not certain, and keeps the connection", async () => {
    const client = await RawClient.connect(balancer.port);
    const targets = ["/..", "/a%00", "/%zz", "/a\\b", "/api%2Fx", "/x/..%2Fapi"];
    for (const target of targets) await client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await client.send("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const responses = await client.ended();
    client.destroy();
    expect(responses.match(/HTTP\/1\.1 \d+/g)).toEqual([...targets.map(() => "HTTP/1.1 400"), "HTTP/1.1 200"]);
    expect(heads().map(([name, head]) => [name, head.split("\r\n")[0]])).toEqual([["web", "GET /last HTTP/1.1"]]);
  });

  it("does not mistake the body of a request without a route for the next request", async () => {
    const { received } = await exchangeRaw(
      balancer.port,
      "POST /.. HTTP/1.1\r\nHost: a\r\nContent-Length: 37\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n\r\n",
    );
    expect(received.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 400"]);
    expect(heads()).toEqual([]);
  });

  it("uses the same route when a request has to wait, and when it is sent again", async () => {
    const api = upstreams.get("api") as ScriptedUpstream;
    const refusing = await ScriptedUpstream.listen(
      path.join(balancer.directory, "refusing.sock"),
      ({ socket }) => socket.destroy(),
      protocol,
    );
    const described = {
      ...pool("api", ["/api/"], { "api.1#2": refusing.path, "api.2#1": api.path }),
      stripPrefix: true,
    };
    await balancer.follow({}, [described]);
    for (const target of ["/api/x", "/y/../api//%78?z"]) {
      for (let turn = 0; turn < 2; turn++) expect(await ask(target)).toMatch(/^HTTP\/1\.1 200 /);
    }
    const [[, head] = [undefined, ""]] = heads();
    const lines = head.split("\r\n").filter((line) => /^GET|x-forwarded-prefix/i.test(line));
    expect(lines.map((line) => line.toLowerCase())).toEqual(
      ["/x", "/x", "/%78?z", "/%78?z"].flatMap((target) => [`get ${target} http/1.1`, "x-forwarded-prefix: /api"]),
    );
    expect(refusing.received).toMatch(/^GET \/x /);
    // These routes no longer have a pool.
    expect(await ask("/")).toMatch(/^HTTP\/1\.1 404 /);
    await refusing.close();
    const pools = Object.entries(POOLS).map(([name, { routes, stripPrefix }]) => ({
      ...pool(name, routes, { [`${name}.1#1`]: (upstreams.get(name as PoolName) as ScriptedUpstream).path }),
      stripPrefix,
    }));
    await balancer.follow({}, pools);
  });

  it("removes the prefix of an upgrade, too", async () => {
    const upgrade = "Connection: upgrade\r\nUpgrade: chat\r\n\r\n";
    const client = await RawClient.connect(balancer.port);
    await client.send(`GET /api/room HTTP/1.1\r\nHost: a\r\n${upgrade}`);
    await client.until(({ received }) => received.includes("hello"), "an answer");
    client.destroy();
    const [[name, head] = [undefined, ""]] = heads();
    expect([name, head.split("\r\n")[0]]).toEqual(["api", "GET /room HTTP/1.1"]);
    expect(head).toMatch(/x-forwarded-prefix: \/api\r\n/i);
    expect(head).toMatch(/upgrade: chat\r\n/i);
  });
});

describe.each(SETUPS)("a client that is not trusted, on %s over %s", (runtime, protocol) => {
  it("cannot claim that a prefix was stripped", async () => {
    const balancer = await BalancerProcess.start(runtime);
    balancer.protocol = protocol;
    const socket = path.join(balancer.directory, "web.sock");
    const upstream = await ScriptedUpstream.listen(socket, respondEach(HELLO), protocol);
    await balancer.follow({}, [{ ...pool("web", ["/", "/api/"], { "web.1#1": socket }), stripPrefix: true }]);
    const field = "Host: a\r\nX-Forwarded-Prefix: //evil\r\nConnection: close\r\n\r\n";
    for (const target of ["/x", "/api/x"]) await exchangeRaw(balancer.port, `GET ${target} HTTP/1.1\r\n${field}`);
    expect(upstream.received).not.toContain("evil");
    expect(upstream.received.match(/(?<=x-forwarded-prefix: ).*(?=\r)/gi)).toEqual(["/api"]);
    await upstream.close();
    await balancer.stop();
  });
});

/** What happens to a request before it is served. */
interface Way {
  waits?: true;
  refuses?: true;
  dies?: true;
  /** Returns the classes of its pool. */
  priority?: (way: string) => SnapshotPool["priority"] & {};
}

describe.each(SETUPS)("a request that has to wait or is sent again, on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  const upstreams: ScriptedUpstream[] = [];

  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime);
    balancer.protocol = protocol;
  });

  afterAll(async () => {
    for (const upstream of upstreams) await upstream.close();
    await balancer.stop();
  });

  const [LOW, OTHERS] = [(way: string) => ({ high: [], low: [`/${way}/`] }), () => ({ high: ["/other/"], low: [] })];
  /** Each has a pool and a path of its own. */
  const ways: [what: string, way: string, what: Way][] = [
    ["is sent at once", "once", {}],
    ["waits", "waits", { waits: true }],
    ["waits in its class", "class", { waits: true, priority: LOW }],
    ["waits in no class", "none", { waits: true, priority: OTHERS }],
    ["was refused", "refused", { refuses: true }],
    ["was lost", "lost", { dies: true }],
    ["was lost, and waits", "again", { dies: true, waits: true }],
    ["was lost, and waits in its class", "both", { dies: true, waits: true, priority: LOW }],
  ];

  it.each(ways)("arrives unchanged if it %s", async (_, way, { waits, refuses, dies, priority }) => {
    const heads: string[] = [];
    /** Responds to the request in front of it, which has arrived then. */
    let release: (() => void) | undefined;
    const onBytes = ({ socket, received }: UpstreamConnection) => {
      if (!received.endsWith("\r\n\r\n")) return;
      const head = received.split("\r\n\r\n").at(-2) as string;
      if (head.startsWith("GET /first ")) {
        release = () => socket.write(HELLO);
        return;
      }
      heads.push(head);
      if (dies === true && heads.length === 1) socket.destroy();
      else socket.write(HELLO);
    };
    const described = await Promise.all(
      [1, 2].map(async (n) => {
        const socket = path.join(balancer.directory, `${way}.${n}.sock`);
        if (n === 2 || refuses !== true) upstreams.push(await ScriptedUpstream.listen(socket, onBytes, protocol));
        return { id: `${way}.${n}#1`, name: `${way}.${n}`, socket, ...(waits === true && { maxInFlight: 1 }) };
      }),
    );
    // Without a loss, it waits for the only one.
    if (dies !== true && refuses !== true) described.pop();
    const classes = priority !== undefined && { priority: priority(way) };
    const pools = [{ name: way, routes: [`/${way}/`], stripPrefix: true, ...classes, upstreams: described }];
    const identity = { ids: true, inResponse: false, trace: { keep: "trusted" as const, sampled: 1 } };
    await balancer.follow({}, pools, { identity });
    const ask = (target: string) =>
      exchangeRaw(
        balancer.port,
        `GET ${target} HTTP/1.1\r\nHost: a\r\nX-Request-Id: sent\r\ntraceparent: 00-${"5".repeat(32)}-${"5".repeat(16)}-01\r\nX-Forwarded-For: 10.9.9.9\r\nX-Forwarded-Prefix: /sent\r\nConnection: close\r\n\r\n`,
      );
    const first = waits === true ? ask(`/${way}/first`) : undefined;
    if (first !== undefined) await waitFor("the first request", () => release !== undefined);
    const response = ask(`/y/../${way}/./x?q`);
    if (first !== undefined) {
      if (dies === true) await waitFor("the loss", () => heads.length > 0);
      else await balancer.reports(({ inFlight }) => inFlight === 2);
      release?.();
    }
    expect((await response).received).toMatch(/^HTTP\/1\.1 200 /);
    await first;
    const known = (head: string) =>
      head
        .toLowerCase()
        .replace(/[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/, "<new id>")
        .replace(/00-(?!5{32})[0-9a-f]{32}-[0-9a-f]{16}-01/, "<new trace>")
        .split("\r\n")
        .filter((line) => !line.startsWith("connection:"))
        .sort();
    const expected = [
      "forwarded: for=127.0.0.1;proto=http",
      "get /x?q http/1.1",
      "host: a",
      "traceparent: <new trace>",
      "x-forwarded-for: 127.0.0.1",
      "x-forwarded-host: a",
      `x-forwarded-prefix: /${way}`,
      "x-forwarded-proto: http",
      "x-request-id: <new id>",
    ];
    expect(heads.map(known)).toEqual(dies === true ? [expected, expected] : [expected]);
    // The same id each time.
    expect(new Set(heads.map((head) => /x-request-id: .*/i.exec(head)?.[0])).size).toBe(1);
  });
});
