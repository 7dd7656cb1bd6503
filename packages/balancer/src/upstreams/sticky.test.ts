/**
 * Sticky clients: by cookie, address or field, over changes of the pool. There are 2,000 clients; docs/sticky.md has the shares that move.
 */
import type { StickyRule } from "@paceline/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Forwarded } from "../http1/forwarded.js";
import { RequestHead } from "../http1/request-head.js";
import { ResponseHead } from "../http1/response-head.js";
import { networkOf } from "../http1/trusted-proxies.js";
import { OutOfTurn } from "./out-of-turn.js";
import { Pool } from "./pool.js";
import { RoundRobin } from "./round-robin.js";
import { Binding, Stickiness } from "./sticky.js";
import { Upstream } from "./upstream.js";
import type { UpstreamClient } from "./upstream-client.js";

const CLIENTS = 2000;
const LIMITS = { maxHeadBytes: 8192, maxHeaderFields: 50, maxBodyBytes: 1000 };
const forwarded = new Forwarded([]);

/** A connection to a process: whether it has room, and the count of its stall. */
interface Link {
  room: boolean;
  stall: number;
  reassigned: number;
}

function cookieOf(slot: number): string {
  return `${slot}.${"abcdefghijklmnopqrstuv".slice(0, 21)}${slot}`;
}

function upstream(slot: number, attempt = 1): { upstream: Upstream; link: Link } {
  const link: Link = { room: true, stall: 0, reassigned: 0 };
  const client = {
    hasRoom: () => link.room,
    pending: 0,
    countStall: () => link.stall,
    reassign: () => link.reassigned++,
  } as unknown as UpstreamClient;
  const made = new Upstream(`web.${slot}#${attempt}`, `web.${slot}`, client);
  made.cookie = cookieOf(slot);
  return { upstream: made, link };
}

type By = StickyRule["by"];
const RULES: By[] = ["cookie", "address", "header", "path", "cookie-value"];
const NAMES: Partial<Record<By, string>> = { cookie: "paceline_web", header: "x-user", "cookie-value": "Sid" };

class World {
  readonly pool = new Pool("web", new RoundRobin<Upstream>(), 1024);
  readonly members = new Map<string, ReturnType<typeof upstream>>();
  private readonly cookies: string[] = [];
  private sent = 0;
  private readonly head = new RequestHead(LIMITS);
  private readonly binding = new Binding();

  constructor(
    readonly by: By,
    private readonly seed = 0,
  ) {
    const name = NAMES[by];
    this.pool.sticky = new Stickiness<Upstream>({ by, ...(name !== undefined && { name }) });
  }

  has(...ids: [number, number][]): this {
    const names = ids.map(([slot, attempt]) => `web.${slot}#${attempt}`);
    for (const name of this.members.keys()) if (!names.includes(name)) this.members.delete(name);
    for (const [at, name] of names.entries()) {
      const [slot, attempt] = ids[at] as [number, number];
      if (!this.members.has(name)) this.members.set(name, upstream(slot, attempt));
    }
    this.pool.setMembers(names.map((name) => this.of(name).upstream));
    return this;
  }

  slots(count: number, attempt = 1): this {
    return this.has(...Array.from({ length: count }, (_, at): [number, number] => [at + 1, attempt]));
  }

  of(id: string) {
    return this.members.get(id) as ReturnType<typeof upstream>;
  }

  /** One request of a client, like an exchange. Returns the process, or undefined if the request must wait. */
  /** @param mayWait undefined: as its rule has it */
  request(client: number, { tried, ...how }: { mayWait?: boolean | undefined; tried?: Upstream[] } = {}) {
    const user = `user-${this.seed}-${client}`;
    const field = this.by === "header" ? `X-User: ${user}\r\n` : "";
    const own = this.by === "cookie-value" ? user : this.cookies[client];
    const cookie = own === undefined ? "" : `Cookie: a=b; ${NAMES[this.by]}=${own}; sid=c\r\n`;
    // The query is not a part of the path.
    const target = this.by === "path" ? `/${user}?${this.sent++}` : "/";
    const bytes = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: a\r\n${field}${cookie}\r\n`);
    this.head.parse(bytes, 0, bytes.length);
    const number = this.seed * CLIENTS + client;
    const peer = forwarded.peer(`10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`, false);
    this.pool.sticky?.bind(this.binding, this.head, forwarded, peer);
    const { mayWait } = "mayWait" in how ? how : { mayWait: true };
    if (mayWait !== undefined) this.binding.mayWait = mayWait;
    const picked = this.pool.pick(tried, true, false, this.binding);
    if (this.binding.needsCookie && picked !== undefined) this.cookies[client] = picked.cookie as string;
    return picked;
  }

  /** Sends one request of each client; returns the slot of each. */
  everyone(): number[] {
    return Array.from({ length: CLIENTS }, (_, client) => (this.request(client) as Upstream).slot);
  }
}

it("a client that waits for its full instance gets another one when that instance is drained", () => {
  const world = new World("address").slots(2);
  const home = world.request(1) as Upstream;
  const { link, upstream } = world.of(home.id);
  link.room = false;
  expect(world.request(1)).toBeUndefined();
  let isLost = false;
  world.pool.requestQueue.add({
    ...{ isWaiting: true, isIdempotent: true, home: home.slot, order: 0, tried: undefined },
    onUpstreamFree: () => {},
    onHomeLost: () => {
      isLost = true;
    },
    onPoolDown: () => {},
  });
  if (upstream.putOut(OutOfTurn.DRAINED)) world.pool.turnsChanged();
  expect(isLost).toBe(true);
  expect(world.request(1)?.slot).toBe(3 - home.slot);
});

it("with a policy, a request whose instance is full or has more than its share goes to the next choice, and back later", () => {
  const world = new World("path").slots(3);
  world.pool.sticky = new Stickiness<Upstream>({ by: "path", isLoose: true });
  world.slots(3);
  const home = world.request(1, { mayWait: undefined }) as Upstream;
  const { link, upstream } = world.of(home.id);
  link.room = false;
  const second = world.request(1, { mayWait: undefined }) as Upstream;
  expect(second).not.toBe(home);
  expect(world.request(1, { mayWait: undefined })).toBe(second);
  link.room = true;
  expect(world.request(1, { mayWait: undefined })).toBe(home);
  upstream.inFlight = 3;
  expect(world.request(1, { mayWait: undefined })).toBe(home);
  upstream.inFlight = 8;
  world.slots(3);
  expect(world.request(1, { mayWait: undefined })).toBe(second);
  for (const id of ["web.1#1", "web.2#1", "web.3#1"]) world.of(id).upstream.inFlight = 8;
  world.slots(3);
  expect(world.request(1, { mayWait: undefined })).toBe(home);
});

function moved(before: number[], after: number[]): number[] {
  return before.flatMap((slot, client) => (after[client] === slot ? [] : [client]));
}

function largest(slots: number[]): number {
  const counts = new Map<number, number>();
  for (const slot of slots) counts.set(slot, (counts.get(slot) ?? 0) + 1);
  return Math.max(...counts.values());
}

describe.each(RULES)("clients by %s", (by) => {
  const anyPool = fc.record({ seed: fc.nat(7999), slots: fc.integer({ min: 2, max: 5 }) });

  it("keep their slots, each of which has at most 1.25 times its share, also in another balancer process", () => {
    fc.assert(
      fc.property(anyPool, ({ seed, slots }) => {
        const world = new World(by, seed).slots(slots);
        const before = world.everyone();
        expect(largest(before)).toBeLessThanOrEqual((1.25 * CLIENTS) / slots);
        expect(world.everyone()).toEqual(before);
        if (by !== "cookie") expect(new World(by, seed).slots(5).slots(1).slots(slots).everyone()).toEqual(before);
        // After a reload.
        world.slots(slots, 2);
        expect(world.everyone()).toEqual(before);
      }),
      { numRuns: 4 },
    );
  });

  it("move only to an added slot, and only from a removed one", () => {
    fc.assert(
      fc.property(anyPool, ({ seed, slots }) => {
        const world = new World(by, seed).slots(slots);
        const before = world.everyone();
        const after = world.slots(slots + 1).everyone();
        const joined = moved(before, after);
        expect(joined.every((client) => after[client] === slots + 1)).toBe(true);
        if (by === "cookie") expect(joined).toEqual([]);
        else expect(Math.abs(joined.length - CLIENTS / (slots + 1))).toBeLessThan((0.3 * CLIENTS) / (slots + 1));
        const again = world.slots(slots).everyone();
        expect(again).toEqual(before);
      }),
      { numRuns: 4 },
    );
  });

  it("move from a crashed slot to all others, and by hash return to it", () => {
    fc.assert(
      fc.property(anyPool, fc.nat(4), ({ seed, slots: count }, which) => {
        const slots = count + 1;
        const lost = (which % slots) + 1;
        const world = new World(by, seed).slots(slots);
        const before = world.everyone();
        world.has(
          ...Array.from({ length: slots }, (_, at): [number, number] => [at + 1, 1]).filter(([slot]) => slot !== lost),
        );
        const during = world.everyone();
        const drained = new World(by, seed).slots(slots);
        expect(drained.everyone()).toEqual(before);
        const { upstream } = drained.of(`web.${lost}#1`);
        if (upstream.putOut(OutOfTurn.DRAINED)) drained.pool.turnsChanged();
        expect(drained.everyone()).toEqual(during);
        const left = moved(before, during);
        expect(left).toEqual(before.flatMap((slot, client) => (slot === lost ? [client] : [])));
        expect(left.length).toBeLessThanOrEqual((1.25 * CLIENTS) / slots);
        expect(largest(left.map((client) => during[client] as number))).toBeLessThanOrEqual((0.75 * left.length) | 0);
        expect(world.everyone()).toEqual(during);
        const after = world.slots(slots).everyone();
        expect(after).toEqual(by === "cookie" ? during : before);
      }),
      { numRuns: 4 },
    );
  });

  it("all use the newer of two processes in a slot, and the older one if the newer failed", () => {
    const world = new World(by).slots(2);
    const before = world.everyone();
    world.has([1, 1], [1, 2], [2, 1]);
    const older = world.of("web.1#1").upstream;
    for (let client = 0; client < 50; client++) {
      const picked = world.request(client) as Upstream;
      expect(picked.slot).toBe(before[client]);
      expect(picked).not.toBe(older);
      const newer = world.of("web.1#2").upstream;
      if (picked === newer) expect(world.request(client, { tried: [newer] })).toBe(older);
    }
    // New clients too, because the next request finds them there.
    for (let client = CLIENTS; client < CLIENTS + 10; client++) expect(world.request(client)).not.toBe(older);
  });

  it("wait for a full or briefly stalled process, and leave it if they may not wait or it stalls for long", () => {
    const world = new World(by).slots(3);
    world.pool.patienceTicks = 10;
    const home = world.request(0) as Upstream;
    const { link } = world.of(home.id);
    link.room = false;
    expect(world.request(0)).toBeUndefined();
    expect(world.request(0, { mayWait: false })?.slot).not.toBe(home.slot);
    link.room = true;
    // It kept its cookie, because its process still has its state.
    expect(world.request(0)).toBe(home);
    link.stall = 5;
    world.pool.markStalled(4, 1);
    expect(world.request(0)).toBe(home);
    for (let client = CLIENTS; by === "cookie" && client < CLIENTS + 10; client++)
      expect(world.request(client)).not.toBe(home);
    link.stall = 10;
    world.pool.markStalled(4, 1);
    expect(world.request(0)?.slot).not.toBe(home.slot);
    // Requests that have not started are reassigned twice: those of other clients immediately, its own after the wait.
    expect(link.reassigned).toBe(2);
    link.stall = 0;
    world.pool.markStalled(4, 1);
    expect(world.request(0)).toBe(home);
  });
});

describe("the load of slots by hash", () => {
  it("is at most 1.25 times the average once a process has 64 requests, and one client uses few slots", () => {
    const world = new World("header").slots(4);
    const [first] = [world.request(7) as Upstream];
    const counts = () => [...world.members.values()].map(({ upstream: each }) => each.inFlight);
    for (let requests = 1; requests <= 1000; requests++) {
      (world.request(7) as Upstream).inFlight++;
      if (requests <= 64) expect(first.inFlight).toBe(requests);
      // The sum is computed again only once in as many picks as there are slots.
      expect(Math.max(...counts())).toBeLessThanOrEqual(Math.max(65, (1.25 * (requests + 5)) / 4 + 1));
    }
    expect(counts().filter((count) => count > 0).length).toBe(4);
  });
});

describe("cookies", () => {
  const sticky = new Stickiness<Upstream>({ by: "cookie", name: "paceline_web" });
  sticky.rebuild([1, 2, 12].map((slot) => upstream(slot).upstream));
  const head = new RequestHead(LIMITS);

  function slotIn(...values: string[]): number {
    const lines = values.map((value) => `COOKIE: ${value}\r\n`).join("");
    const bytes = Buffer.from(`GET / HTTP/1.1\r\nHost: a\r\n${lines}\r\n`, "latin1");
    expect(head.parse(bytes, 0, bytes.length)).toBe(bytes.length);
    const binding = new Binding();
    sticky.bind(binding, head, forwarded, forwarded.peer("192.0.2.1", false));
    expect(binding.needsCookie).toBe(binding.home === 0);
    return binding.home;
  }

  it.each<[number, string[]]>([
    [1, [`paceline_web=${cookieOf(1)}`]],
    [12, [`a=b;paceline_web=${cookieOf(12)} ; c=d`]],
    [2, ["a=b", `x; ;=;  paceline_web=${cookieOf(2)};`]],
    [2, [`paceline_web=forged; paceline_web=${cookieOf(2)}`]],
    [1, [`paceline_web=; paceline_web=${cookieOf(1)}`, `paceline_web=${cookieOf(2)}`]],
    [0, []],
    [0, ["paceline_web"]],
    [0, [`paceline_web = ${cookieOf(1)}`]],
    [0, [`Paceline_web=${cookieOf(1)}`]],
    [0, [`paceline_web2=${cookieOf(1)}`]],
    [0, [`other_paceline_web=${cookieOf(1)}`]],
    [0, [`paceline_web="${cookieOf(1)}"`]],
    [0, [`paceline_web=${cookieOf(3)}`]],
    [0, [`paceline_web=${cookieOf(2).replace("2.", "1.")}`]],
  ])("names slot %j: %j", (slot, values) => {
    expect(slotIn(...values)).toBe(slot);
  });

  it("are ignored if any byte differs", () => {
    const byte = fc
      .integer({ min: 32, max: 255 })
      .filter((code) => code !== 127)
      .map((code) => String.fromCharCode(code));
    fc.assert(
      fc.property(fc.constantFrom(1, 2, 12), fc.nat(30), fc.array(byte, { maxLength: 3 }), (slot, at, put) => {
        const valid = cookieOf(slot);
        const value = valid.slice(0, at) + put.join("") + valid.slice(at + put.length);
        const sent = value.replace(/;.*/, "").replace(/[ \t]+$/, "");
        expect(slotIn(`paceline_web=${value}`)).toBe([1, 2, 12].find((each) => cookieOf(each) === sent) ?? 0);
      }),
    );
  });
});

describe("the network of an address", () => {
  it.each([
    ["192.0.2.7", "192.0.2.7"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2"],
    ["2001:db8::6", "2001:db8:0:0"],
    ["2001:db8:1:2::", "2001:db8:1:2"],
    ["::1", "0:0:0:0"],
    ["::", "0:0:0:0"],
    ["unknown", undefined],
    ["unix", undefined],
  ])("%s is in %s", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});

describe.each(RULES)("during a deploy, clients by %s", (by) => {
  const SHARE = 0.1;

  /** Four slots; the first has a canary in addition to its process. */
  function withCanary(world: World): World {
    world.has([1, 1], [1, 2], [2, 1], [3, 1], [4, 1]);
    for (const { upstream } of world.members.values()) upstream.weight = 9;
    const canary = world.of("web.1#2").upstream;
    Object.assign(canary, { isCanary: true, weight: 4, cookie: "1.canary" });
    return world.has([1, 1], [1, 2], [2, 1], [3, 1], [4, 1]);
  }

  const everyone = (world: World) => Array.from({ length: CLIENTS }, (_, client) => world.request(client)?.id);

  it("stay where they are, except those of the canary, which stay with it and with its replacement", () => {
    const world = new World(by).slots(4);
    const before = everyone(world);
    withCanary(world);
    const during = everyone(world);
    const own = during.flatMap((id, client) => (id === "web.1#2" ? [client] : []));
    if (by === "cookie") expect(during).toEqual(before);
    else {
      expect(Math.abs(own.length / CLIENTS - SHARE)).toBeLessThan(0.03);
      expect(during.filter((id, client) => id !== before[client])).toEqual(own.map(() => "web.1#2"));
    }
    expect(everyone(world)).toEqual(during);
    // The canary is promoted.
    const promoted = world.of("web.1#2").upstream;
    Object.assign(promoted, { isCanary: false, weight: 1, cookie: cookieOf(1), alsoCookie: "1.canary" });
    world.has([1, 2], [2, 1], [3, 1], [4, 1]);
    expect(everyone(world)).toEqual(during.map((id) => (id === "web.1#1" ? "web.1#2" : id)));
  });

  it("that are new go to the canary by its share, and to their slot again when it is rolled back", () => {
    const world = withCanary(new World(by));
    const first = everyone(world);
    const own = first.filter((id) => id === "web.1#2").length;
    if (by === "cookie") expect(own).toBe(CLIENTS * SHARE);
    else expect(Math.abs(own / CLIENTS - SHARE)).toBeLessThan(0.03);
    expect(everyone(world)).toEqual(first);
    world.slots(4);
    const after = everyone(world);
    const stayed = first.flatMap((id, client) => (id === "web.1#2" ? [] : [client]));
    expect(stayed.map((client) => after[client])).toEqual(stayed.map((client) => first[client]));
    expect(after.includes("web.1#2")).toBe(false);
  });

  it("of a canary that stalls or is lost get another process", () => {
    const world = withCanary(new World(by));
    const own = everyone(world).flatMap((id, client) => (id === "web.1#2" ? [client] : []));
    const canary = world.of("web.1#2");
    canary.link.room = false;
    for (const client of own.slice(0, 5)) {
      expect(world.request(client)).toBeUndefined();
      expect(world.request(client, { mayWait: false })?.id).not.toBe("web.1#2");
    }
  });
});

it("sets a cookie for https alone in a response over https", () => {
  const { pool, members } = new World("cookie").slots(1);
  const head = new ResponseHead();
  const bytes = Buffer.from("HTTP/1.1 200 OK\r\n\r\n");
  head.parse(bytes, 0, bytes.length, false);
  const [{ upstream: first }] = [...members.values()] as [ReturnType<typeof upstream>];
  const linesFor = (isHttps: boolean) =>
    Buffer.from(pool.sticky?.cookieLinesFor(head, first, isHttps) ?? []).toString();
  const set = `Set-Cookie: paceline_web=${cookieOf(1)}; Path=/; HttpOnly; SameSite=Lax`;
  // Each twice, because the lines are cached.
  for (const isHttps of [true, false, true, false])
    expect(linesFor(isHttps)).toBe(`${set}${isHttps ? "; Secure" : ""}\r\nCache-Control: private\r\n`);
});
