/**
 * Sticky clients at a real balancer: what it sends with a response, and which instance a client gets if its own one is full, dead or gone.
 */
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BalancerProcess, type Protocol, pool, type Runtime } from "./support/balancer-process.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";
import { respondAll, ScriptedLane } from "./support/scripted-lane.js";
import { ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

/** Together they cover each runtime and each protocol. */
const SETUPS: [Runtime, Protocol, number][] = [
  ["bun", "lane", 60_000],
  ["node", "http1", 500],
];
const SLOTS = [1, 2, 3];
const COOKIES = SLOTS.map((slot) => `${slot}.signature-of-slot-${slot}`);

const STATUS_LINES: Record<string, string> = {
  "/public": "200 OK\r\nCache-Control: max-age=60, public",
  "/304": '304 Not Modified\r\nETag: "a"',
  "/own": "200 OK\r\nSet-Cookie: own=1",
};

describe.each(SETUPS)("sticky clients on %s over %s, which wait %i ms", (runtime, protocol, stickyWaitMs) => {
  let balancer: BalancerProcess;
  const upstreams: ScriptedUpstream[] = [];
  /** Requests for /held, which get no response before the test says so. */
  const held: { slot: number; release(): void }[] = [];
  const socketOf = (slot: number) => path.join(balancer.directory, `web.${slot}.sock`);

  const respond = (slot: number) => {
    const responded = new WeakMap<UpstreamConnection, number>();
    return (connection: UpstreamConnection) => {
      const heads = connection.received.split("\r\n\r\n").slice(0, -1);
      for (let i = responded.get(connection) ?? 0; i < heads.length; i++) {
        const target = heads[i]?.split(" ")[1] ?? "";
        const body = target === "/304" ? "" : `web.${slot}`;
        const status = STATUS_LINES[target] ?? "200 OK";
        const response =
          target === "/upgrade"
            ? "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
            : `HTTP/1.1 ${status}\r\n${body === "" ? "" : `Content-Length: ${body.length}\r\n`}\r\n${body}`;
        const release = () => connection.socket.write(response, "latin1");
        if (target.startsWith("/held")) held.push({ slot, release });
        else release();
      }
      responded.set(connection, heads.length);
    };
  };

  const follow = (sticky: { by: "cookie" | "address" | "header"; name?: string }, slots = SLOTS, extra = {}) => {
    const described = pool("web", ["/"], Object.fromEntries(slots.map((slot) => [`web.${slot}#1`, socketOf(slot)])));
    for (const upstream of described.upstreams) {
      upstream.cookie = COOKIES[Number(upstream.name.slice(4)) - 1] as string;
      Object.assign(upstream, extra);
    }
    return balancer.follow({}, [{ ...described, sticky }]);
  };

  /** One request on a separate connection: returns the slot that responded, and the response's head. */
  const ask = async (fields: Record<string, string> = {}, target = "/") => {
    const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
    const close = target === "/upgrade" ? "Connection: upgrade\r\nUpgrade: echo\r\n" : "Connection: close\r\n";
    const request = `GET ${target} HTTP/1.1\r\nHost: a\r\n${close}${lines.join("")}\r\n`;
    if (target === "/upgrade") {
      const client = await RawClient.connect(balancer.port);
      await client.send(request);
      await client.until(({ received }) => received.includes("\r\n\r\n"), "101");
      client.socket.destroy();
      return { slot: 0, head: client.received };
    }
    const { received } = await exchangeRaw(balancer.port, request);
    return { slot: Number(/web\.(\d)$/.exec(received)?.[1] ?? 0), head: received.split("\r\n\r\n")[0] as string };
  };

  const cookie = (slot: number) => ({ Cookie: `x=y; paceline_web=${COOKIES[slot - 1]}` });
  const set = (head: string) => /^set-cookie: paceline_web=(\d)\./im.exec(head)?.[1];

  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime, { stickyWaitMs, stallAfterMs: 200 }, ["127.0.0.1/32"]);
    balancer.protocol = protocol;
    for (const slot of SLOTS) upstreams.push(await ScriptedUpstream.listen(socketOf(slot), respond(slot), protocol));
  });

  afterAll(async () => {
    await Promise.all(upstreams.map((upstream) => upstream.close()));
    await balancer.stop();
  });

  it("get a cookie for the instance that responded, and then stay there", async () => {
    await follow({ by: "cookie", name: "paceline_web" });
    const first = await ask();
    expect(first.head).toContain(
      `\r\nSet-Cookie: paceline_web=${COOKIES[first.slot - 1]}; Path=/; HttpOnly; SameSite=Lax\r\nCache-Control: private`,
    );
    const secure = await ask({ "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1" });
    expect(secure.head).toContain("; SameSite=Lax; Secure\r\n");
    for (const slot of [2, 2, 1, 3, 3, 2]) {
      const { slot: served, head } = await ask(cookie(slot));
      expect(served).toBe(slot);
      expect(head).not.toMatch(/set-cookie|cache-control/i);
    }
    expect(upstreams[1]?.received).toContain(`x=y; paceline_web=${COOKIES[1]}\r\n`);
  });

  it("get another cookie for a forged one, with each kind of response for a single client", async () => {
    const forged = { Cookie: `paceline_web=2.signature-of-slot-3` };
    const slots = new Set<string | undefined>();
    for (let i = 0; i < 3; i++) {
      const { slot, head } = await ask(forged, "/own");
      expect(head).toContain("\r\nSet-Cookie: own=1\r\n");
      expect(set(head)).toBe(`${slot}`);
      slots.add(set(head));
    }
    expect(slots.size).toBe(3);
    expect((await ask({}, "/public")).head).not.toMatch(/set-cookie/i);
    expect((await ask({}, "/304")).head).not.toMatch(/set-cookie|private/i);
    expect((await ask({}, "/upgrade")).head).toMatch(/^HTTP\/1\.1 101 .*\r\nSet-Cookie: paceline_web=/s);
  });

  it("get another instance and a new cookie if their instance is gone, or refuses", async () => {
    await follow({ by: "cookie", name: "paceline_web" }, [1, 2]);
    const gone = await ask(cookie(3));
    expect(gone.slot).toBeLessThan(3);
    expect(set(gone.head)).toBe(`${gone.slot}`);
    await follow({ by: "cookie", name: "paceline_web" }, SLOTS);
    await upstreams[2]?.close();
    const refused = await ask(cookie(3));
    expect(refused.slot).toBeLessThan(3);
    expect(set(refused.head)).toBe(`${refused.slot}`);
    upstreams[2] = await ScriptedUpstream.listen(socketOf(3), respond(3), protocol);
  });

  it("wait for a full instance, and only after their time get another one, with the same cookie", async () => {
    await follow({ by: "cookie", name: "paceline_web" }, [1, 2]);
    await balancer.follow({}, []);
    await follow({ by: "cookie", name: "paceline_web" }, [1, 2], { maxInFlight: 1 });
    const [first, second] = [await RawClient.connect(balancer.port), await RawClient.connect(balancer.port)];
    const fields = `Host: a\r\nConnection: close\r\nCookie: paceline_web=${COOKIES[0]}\r\n\r\n`;
    await first.send(`GET /held-1 HTTP/1.1\r\n${fields}`);
    await upstreams[0]?.until(() => held.length === 1, "the first request");
    await second.send(`GET /held-2 HTTP/1.1\r\n${fields}`);
    if (stickyWaitMs > 1000) {
      // The others are free, but not for this client.
      for (let i = 0; i < 3; i++) expect((await ask()).slot).toBe(2);
      expect(held).toHaveLength(1);
      held.shift()?.release();
      await upstreams[0]?.until(() => held.length === 1, "the second request");
      expect(held[0]?.slot).toBe(1);
      held.shift()?.release();
    } else {
      await upstreams[1]?.until(() => held.length === 2, "the second request");
      expect(held[1]?.slot).toBe(2);
      for (const { release } of held.splice(0)) release();
      // Its own instance still has the client's state.
      await second.until(({ received }) => received.endsWith("web.2"), "its response");
      expect(second.received).not.toMatch(/set-cookie/i);
    }
    await Promise.all([first, second].map((client) => client.until(({ ending }) => ending !== "open", "the end")));
  });

  it("stay at a stalled instance for their time, while others already skip it", async () => {
    const socket = (name: string) => path.join(balancer.directory, `${name}.sock`);
    const silent = await ScriptedLane.listen(socket("silent"), {});
    const lively = await ScriptedLane.listen(socket("lively"), { onRequest: respondAll });
    const described = pool("web", ["/"], { "web.1#9": silent.path, "web.2#9": lively.path });
    for (const [at, upstream] of described.upstreams.entries())
      Object.assign(upstream, { protocol: "lane", cookie: COOKIES[at] });
    await balancer.follow({}, [{ ...described, sticky: { by: "cookie", name: "paceline_web" } }]);
    const clients: RawClient[] = [];
    const send = async (target: string, fields = "") => {
      const client = await RawClient.connect(balancer.port);
      clients.push(client);
      await client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields}\r\n`);
      await Promise.any([silent, lively].map((lane) => lane.until(() => lane.asked(target) !== undefined, target)));
      return client;
    };
    const own = `Cookie: paceline_web=${COOKIES[0]}\r\n`;
    await send("/at-work", own);
    const waiting = await send("/own", own);
    // In turn, every second request would go to the silent instance if it were not stalled.
    for (let i = 0, inRow = 0; inRow < 3; i++) {
      await send(`/other-${i}`);
      inRow = silent.asked(`/other-${i}`) === undefined ? inRow + 1 : 0;
    }
    if (stickyWaitMs > 1000) {
      await send("/late", own);
      expect(lively.asked("/late")).toBeUndefined();
      expect(silent.asked("/own")?.isCancelled).toBe(false);
    } else {
      expect(await waiting.ended()).toMatch(/^HTTP\/1\.1 200 (?!.*set-cookie).*\/own/is);
      const late = await send("/late", own);
      expect(silent.asked("/late")).toBeUndefined();
      expect(await late.ended()).not.toMatch(/set-cookie/i);
    }
    for (const client of clients) client.socket.destroy();
    await balancer.follow({}, []);
    await Promise.all([silent.close(), lively.close()]);
  });

  it("belong to an instance by their address, as a trusted proxy reports it, or by a field; without it they take turns", async () => {
    const slotsBy = async (name: string, values: string[]) => {
      const slots: number[] = [];
      for (const value of values) slots.push((await ask({ [name]: value })).slot);
      return slots;
    };
    const many = Array.from({ length: 12 }, (_, at) => at);
    for (const [rule, name, values, same] of [
      [
        { by: "address" },
        "X-Forwarded-For",
        many.map((at) => `198.51.100.${at}`),
        ["2001:db8:1:2::1", "2001:DB8:1:2:3::9"],
      ],
      [{ by: "header", name: "x-user" }, "X-User", many.map((at) => `user-${at}`), ["someone", "  someone "]],
    ] as const) {
      await follow(rule);
      const slots = await slotsBy(name, [...values]);
      expect(new Set(slots).size).toBe(3);
      expect(await slotsBy(name, [...values].reverse())).toEqual([...slots].reverse());
      expect(new Set(await slotsBy(name, [...same])).size).toBe(1);
      await follow(rule, [1, 2]);
      expect(await slotsBy(name, [...values])).toEqual(slots.map((slot) => (slot < 3 ? slot : expect.any(Number))));
      await follow(rule);
      expect(await slotsBy(name, [...values])).toEqual(slots);
    }
    expect(new Set([(await ask()).slot, (await ask()).slot, (await ask()).slot]).size).toBe(3);
  });
});
