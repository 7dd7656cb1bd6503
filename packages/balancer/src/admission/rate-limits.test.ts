/** Which requests share a bucket, and what a refused client is told. */
import type { RateLimitRule } from "@paceline/wire";
import { describe, expect, it } from "vitest";
import { LIMITS } from "../../test/support/balancer-process.js";
import { Forwarded } from "../http1/forwarded.js";
import { RequestHead } from "../http1/request-head.js";
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

/** Sends the requests; returns for each whether it may pass. */
function admitted(limits: RateLimits, requests: Sent[]): boolean[] {
  return requests.map(({ address = "10.0.0.1", target = "/", fields = "", host = "a" }) => {
    const bytes = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`, "latin1");
    expect(head.parse(bytes, 0, bytes.length)).toBe(bytes.length);
    const { targetStart, targetEnd } = head;
    const may = limits.admits(head, forwarded.peer(address, address === "unix"));
    // The head is still to be routed.
    expect([head.target === bytes, head.targetStart, head.targetEnd]).toEqual([true, targetStart, targetEnd]);
    return may;
  });
}

/** Nobody gets a second token in the time of a test. */
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

  it("each rule that it meets", () => {
    const limits = limitsOf({ by: "address", routes: ["/a/"] }, { by: "address", routes: ["/"] });
    expect(admitted(limits, [{ target: "/a/" }, { target: "/b" }])).toEqual([true, false]);
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
])("a refused client learns the rule and when to come again: %j", (rule, expected) => {
  const limits = new RateLimits([rule], forwarded);
  const may = admitted(limits, Array(1000).fill({ fields: "x-key: a\r\n" }));
  expect(may[0]).toBe(true);
  expect(may).toContain(false);
  expect(limits.fields).toBe(expected);
});
