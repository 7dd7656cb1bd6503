/** Who may connect: the limits of all connections and of each address, and whose connection is closed to make room for a new client. */
import { describe, expect, it } from "vitest";
import { Forwarded } from "../http1/forwarded.js";
import { AddressConnections, Crowd, Door, type Guest, MIN_WAIT_MS } from "./door.js";

const NOW = 100_000;

class Client implements Guest {
  isClosed = false;

  constructor(
    readonly owesRequestSince: number,
    readonly isKept = false,
  ) {}

  closeForOthers(): void {
    this.isClosed = true;
  }
}

const busy = () => new Client(Number.POSITIVE_INFINITY);
const arrived = () => new Client(NOW - MIN_WAIT_MS + 1);
const slow = (forMs: number) => new Client(NOW - forMs);
const idle = (forMs: number) => new Client(NOW - forMs, true);

describe("who makes room", () => {
  it.each<[string, Client[], number]>([
    ["the one that owes a head for the longest", [slow(2000), slow(9000), slow(3000)], 1],
    ["rather a slow head than an idle client that is older", [idle(60_000), slow(2000)], 1],
    ["an idle client, the one that is idle for the longest", [busy(), idle(5000), idle(7000), arrived()], 2],
    ["nobody who has a request in progress, or has just come", [busy(), arrived()], -1],
    ["nobody where there is nobody", [], -1],
  ])("is %s", (_, clients, expected) => {
    expect(new Crowd(new Set(clients)).choose(NOW)).toBe(clients[expected]);
  });

  it("goes round: among many active clients it finds the slow ones after some time, and checks few each time", () => {
    let looks = 0;
    const working = Array.from({ length: 1000 }, () => ({
      get owesRequestSince() {
        looks++;
        return Number.POSITIVE_INFINITY;
      },
      isKept: false,
      closeForOthers() {},
    }));
    const attacker = slow(5000);
    const crowd = new Crowd<Guest>(new Set<Guest>([...working, attacker]));
    const found = Array.from({ length: 20 }, () => {
      looks = 0;
      const chosen = crowd.choose(NOW);
      expect(looks).toBeLessThanOrEqual(64);
      return chosen;
    });
    expect(found).toContain(attacker);
  });
});

describe("the door", () => {
  const forwarded = new Forwarded(["10.9.0.0/16"]);
  const peer = (address: string) => forwarded.peer(address, address === "");
  const doorOf = (clients: Iterable<Guest>, perAddress = 0) =>
    new Door({ maxConnections: 10, maxConnectionsPerAddress: perAddress }, { now: NOW }, clients);

  it("lets in as many as the limit allows, then one for each that makes room, and otherwise responds with 503", () => {
    const clients = [slow(2000), busy()];
    const door = doorOf(new Set(clients));
    expect(door.enter(peer("10.0.0.1"), 10)).toBe("stays");
    expect(clients.map(({ isClosed }) => isClosed)).toEqual([false, false]);
    expect(door.enter(peer("10.0.0.1"), 11)).toBe("stays");
    expect(clients.map(({ isClosed }) => isClosed)).toEqual([true, false]);
    expect(doorOf([busy()]).enter(peer("10.0.0.1"), 11)).toBe(503);
    expect([door.isOverrun(265), door.isOverrun(266)]).toEqual([false, true]);
  });

  it.each([
    [
      "of an address get 429, later resets",
      Array(21).fill("10.0.0.1"),
      ["stays", "stays", ...Array(16).fill(429), "reset", "reset", "reset"],
    ],
    [
      "of an IPv6 network count together",
      ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:9::3", "2001:db8:0:1::1"],
      ["stays", "stays", 429, "stays"],
    ],
    ["of trusted proxies have no limit", Array(4).fill("10.9.1.1"), Array(4).fill("stays")],
    ["of unix sockets have no limit", Array(4).fill(""), Array(4).fill("stays")],
  ])("further connections %s", (_, addresses: string[], expected) => {
    const door = doorOf([], 2);
    expect(addresses.map((address) => door.enter(peer(address), 0))).toEqual(expected);
  });

  it("forgets an address with its last connection", () => {
    const addresses = new AddressConnections();
    const one = peer("10.0.0.1");
    expect([addresses.enter(one), addresses.enter(one), addresses.size]).toEqual([1, 2, 1]);
    addresses.leave(one);
    expect([addresses.enter(one), addresses.size]).toEqual([2, 1]);
    addresses.leave(one);
    addresses.leave(one);
    expect(addresses.size).toBe(0);
  });
});
