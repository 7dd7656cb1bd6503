/** Which requests share a bucket, and what a refused client is told. */
import type { RateLimitRule } from "@paceline/wire";
import { describe, expect, it } from "vitest";
import { LIMITS } from "../../test/support/balancer-process.js";
import { Forwarded } from "../http1/forwarded.js";
import { RequestHead } from "../http1/request-head.js";
import { NEW_KEYS } from "./bucket-table.js";
import { RateLimits } from "./rate-limits.js";

const PROXY = "10.9.0.1";
const forwarded = new Forwarded([`${PROXY}/32`]);
const head = new RequestHead(LIMITS);

interface Sent {
  address?: string;
  target?: string;
  fields?: string;
  host?: string;
}

/** Sends the requests; returns for each whether it is admitted. */
function admitted(limits: RateLimits, requests: Sent[]): boolean[] {
  return requests.map(({ address = "10.0.0.1", target = "/", fields = "", host = "a" }) => {
    const bytes = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`, "latin1");
    if (head.parse(bytes, 0, bytes.length) !== bytes.length) throw new Error(target);
    const { targetStart, targetEnd } = head;
    const may = limits.admits(head, forwarded.peer(address, address === "unix"));
    // The head has not been routed yet.
    if (head.target !== bytes || head.targetStart !== targetStart || head.targetEnd !== targetEnd)
      throw new Error(target);
    return may;
  });
}

/** Nobody gets a second token during a test. */
const ONCE = { requests: 1, periodMs: 3_600_000, burst: 1 };
const limitsOf = (...rules: Omit<RateLimitRule, keyof typeof ONCE>[]) =>
  new RateLimits(
    rules.map((rule) => ({ ...ONCE, ...rule })),
    forwarded,
  );

describe("a request takes a token of", () => {
  it.each<[string, Omit<RateLimitRule, keyof typeof ONCE>, Sent[], boolean[]]>([
    ["its address", { by: "address" }, [{}, {}, { address: "10.0.0.2" }], [true, false, true]],
    [
      "its IPv6 network",
      { by: "address" },
      [{ address: "2001:db8::1" }, { address: "2001:db8::ffff" }, { address: "2001:db8:0:1::1" }],
      [true, false, true],
    ],
    ["an IPv4 address that is mapped", { by: "address" }, [{}, { address: "::ffff:10.0.0.1" }], [true, false]],
    [
      "the client that a trusted proxy names",
      { by: "address" },
      [
        { address: PROXY, fields: "X-Forwarded-For: 1.1.1.1\r\n" },
        { address: PROXY, fields: "X-Forwarded-For: 1.1.1.1\r\n" },
        { address: PROXY, fields: "X-Forwarded-For: 9.9.9.9, 1.1.1.1\r\n" },
        { address: PROXY, fields: "X-Forwarded-For: 1.1.1.2\r\n" },
      ],
      [true, false, false, true],
    ],
    [
      "its own address, whatever a stranger says",
      { by: "address" },
      [{ fields: "X-Forwarded-For: 1.1.1.1\r\n" }, { fields: "X-Forwarded-For: 1.1.1.2\r\n" }],
      [true, false],
    ],
    ["nobody without an address", { by: "address" }, [{ address: "unix" }, { address: "unix" }], [true, true]],
    [
      "the value of its field, or else its address",
      { by: "header", name: "x-key" },
      [{ fields: "X-Key: a\r\n" }, { fields: "x-key: a\r\n", address: "10.0.0.2" }, { fields: "X-Key: b\r\n" }, {}, {}],
      [true, false, true, true, false],
    ],
    [
      "its address if it has the field twice, or with another spelling",
      { by: "header", name: "x-key" },
      [
        { fields: "X-Key: a\r\nX-Key: b\r\n" },
        { fields: "X-Key: a\r\nx-key: c\r\nX-Key: d\r\n" },
        { fields: "X_Key: a\r\n" },
        { fields: "X-Key: a\r\n" },
      ],
      [true, false, false, true],
    ],
    ["all clients", { by: "route" }, [{}, { address: "10.0.0.2" }], [true, false]],
    [
      "each route",
      { by: "route", routes: ["/a/", "/a/b/", "h.example/"] },
      [
        { target: "/a/x" },
        { target: "/a/y" },
        { target: "/a/b/x" },
        { target: "/c" },
        { target: "/c", host: "h.example" },
      ],
      [true, false, true, true, true],
    ],
    [
      "a route, however its path is written",
      { by: "address", routes: ["/login/"] },
      ["/login", "/login/", "/login?a", "/%6cogin", "//login", "/x/../login", "/login%2Fx", "/logins", "/"].map(
        (target) => ({
          target,
        }),
      ),
      [true, false, false, false, false, false, false, true, true],
    ],
  ])("%s", (_, rule, requests, expected) => {
    expect(admitted(limitsOf(rule), requests)).toEqual(expected);
  });

  it("each rule that applies to it", () => {
    const limits = limitsOf({ by: "address", routes: ["/a/"] }, { by: "address", routes: ["/"] });
    expect(admitted(limits, [{ target: "/a/" }, { target: "/b" }])).toEqual([true, false]);
  });
});

describe.each<[string, RateLimitRule, (n: number) => Sent, (n: number) => Sent, Sent]>([
  [
    "invented values of a field",
    { by: "header", name: "x-key", ...ONCE, burst: 2 },
    (n) => ({ fields: `X-Key: invented ${n}\r\n`, address: "10.6.6.6" }),
    (n) => ({ fields: `X-Key: own ${n}\r\n`, address: `10.0.0.${n}` }),
    { address: "10.6.6.6" },
  ],
  [
    "the networks of an IPv6 site",
    { by: "address", ...ONCE, burst: 2 },
    (n) => ({ address: `2001:db8:6:${n.toString(16)}::1` }),
    (n) => ({ address: `2001:db8:7:${n}::1` }),
    { address: "2001:db8:6:fff0::1" },
  ],
])("%s", (_, rule, inventedOf, ownOf, attacker) => {
  it("do not fill the table: other clients keep their tokens, and new clients have tokens", () => {
    const limits = new RateLimits([rule], forwarded);
    const others = Array.from({ length: 12 }, (_, n) => ownOf(n));
    expect(admitted(limits, others)).toEqual(others.map(() => true));
    const tried = admitted(
      limits,
      Array.from({ length: 60_000 }, (_, n) => inventedOf(n)),
    ).filter(Boolean);
    // Two more, because of the bucket of the address.
    expect(tried.length).toBeGreaterThanOrEqual(NEW_KEYS + 2);
    expect(tried.length).toBeLessThanOrEqual(2 * NEW_KEYS + 2);
    expect(admitted(limits, [attacker])).toEqual([false]);
    const known = admitted(limits, [...others, ...others]);
    expect(known).toEqual([...others.map(() => true), ...others.map(() => false)]);
    const newcomers = Array.from({ length: 12 }, (_, n) => ownOf(100 + n));
    expect(admitted(limits, newcomers)).toEqual(newcomers.map(() => true));
  });
});

it.each<[RateLimitRule, string]>([
  [
    { by: "address", requests: 5, periodMs: 10_000, burst: 1 },
    'Retry-After: 2\r\nRateLimit-Policy: "address";q=5;w=10\r\nRateLimit: "address";r=0;t=2\r\n',
  ],
  [
    { by: "header", name: "x-key", requests: 1000, periodMs: 500, burst: 1 },
    'Retry-After: 1\r\nRateLimit-Policy: "x-key";q=1000;w=1\r\nRateLimit: "x-key";r=0;t=1\r\n',
  ],
])("a refused client learns the rule and when to try again: %j", (rule, expected) => {
  const limits = new RateLimits([rule], forwarded);
  const may = admitted(limits, Array(1000).fill({ fields: "x-key: a\r\n" }));
  expect(may[0]).toBe(true);
  expect(may).toContain(false);
  expect(limits.fields).toBe(expected);
});
