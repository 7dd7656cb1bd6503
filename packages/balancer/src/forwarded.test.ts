import { describe, expect, it } from "vitest";
import { requestHead } from "../test/support/lane-bench.js";
import { Forwarded, type ForwardedFields } from "./forwarded.js";

const asked = (lines = "") => requestHead(`GET / HTTP/1.1\r\nHost: inner\r\n${lines}\r\n`);

/** The fields as they go over the lane, which has to say the same as HTTP/1.1. */
function both(fields: ForwardedFields): string[] {
  const lines = Buffer.from(fields.lines).toString("latin1").split("\r\n").slice(0, -1);
  const lane = Buffer.from(fields.lane);
  const pairs: string[] = [];
  for (let at = 0; at < lane.length; ) {
    const value = at + 5 + lane.readUInt16LE(at);
    const end = value + lane.readUIntLE(at + 2, 3);
    pairs.push(`${lane.toString("latin1", at + 5, value)}: ${lane.toString("latin1", value, end)}`);
    at = end;
  }
  const lower = (line: string) => line.replace(/^[^:]+/, (name) => name.toLowerCase());
  expect(pairs).toEqual(lines.map(lower));
  expect(pairs.length).toBe(fields.count);
  return lines;
}

describe("a peer", () => {
  it("is trusted over a unix socket where unix sockets are, and never for having no address", () => {
    const forwarded = new Forwarded(["unix", "10.0.0.0/8"]);
    expect(forwarded.peer("", true).isTrusted).toBe(true);
    // Whoever has reset its TCP connection has no address any more.
    expect(forwarded.peer("", false)).toMatchObject({ isTrusted: false, node: "unknown" });
    expect(new Forwarded(["10.0.0.0/8"]).peer("", true).isTrusted).toBe(false);
    expect(new Forwarded([]).peer("", true).isTrusted).toBe(false);
  });

  it.each([
    ["10.1.2.3", true, "10.1.2.3"],
    ["::ffff:10.1.2.3", true, "10.1.2.3"],
    ["11.1.2.3", false, "11.1.2.3"],
    ["fe80::1%eth0", false, "fe80::1"],
  ])("at %s: trusted is %s", (address, isTrusted, node) => {
    expect(new Forwarded(["10.0.0.0/8"]).peer(address, false)).toMatchObject({ isTrusted, node });
  });
});

describe("forwarded fields", () => {
  it("of a stranger are the same for each of its requests", () => {
    const forwarded = new Forwarded(["10.0.0.0/8"]);
    const peer = forwarded.peer("2001:db8::1", false);
    const fields = forwarded.fields(asked("X-Forwarded-For: 6.6.6.6\r\n"), peer);
    expect(fields).toBe(peer.fields);
    expect(fields).toMatchObject({ isTold: false, isElsewhere: false });
    expect(both(fields)).toEqual([
      "X-Forwarded-For: 2001:db8::1",
      "X-Forwarded-Proto: http",
      'Forwarded: for="[2001:db8::1]";proto=http',
    ]);
  });

  it("of a trusted peer are made of what it says, and kept for the next request that says the same", () => {
    const forwarded = new Forwarded(["10.0.0.0/8"]);
    const peer = forwarded.peer("10.0.0.1", false);
    const lines = "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /shop/\r\n";
    const head = asked(lines);
    head.prefix = Buffer.from("/api");
    const fields = forwarded.fields(head, peer);
    expect(fields).toMatchObject({ isTold: true, isElsewhere: true });
    expect(both(fields)).toEqual([
      "X-Forwarded-For: 9.9.9.9, 10.0.0.1",
      "X-Forwarded-Proto: https",
      "Forwarded: for=9.9.9.9;proto=https, for=10.0.0.1;proto=http",
      "X-Forwarded-Host: inner",
      "X-Forwarded-Prefix: /shop/api",
    ]);
    expect(forwarded.fields(head, peer)).toBe(fields);
    // Each of these is another request.
    const others = [asked(lines), asked("X-Forwarded-For: 9.9.9.9\r\n"), asked("Forwarded: for=9.9.9.9\r\n")];
    for (const other of others) expect(both(forwarded.fields(other, peer))).not.toEqual(both(fields));
    const elsewhere = forwarded.fields(head, forwarded.peer("10.0.0.2", false));
    expect(both(elsewhere)[0]).toBe("X-Forwarded-For: 9.9.9.9, 10.0.0.2");
  });

  it("with the same scheme and host as the request's own send nobody to look for others", () => {
    const forwarded = new Forwarded(["10.0.0.0/8"]);
    const peer = forwarded.peer("10.0.0.1", false);
    expect(forwarded.fields(asked("X-Forwarded-Host: INNER\r\n"), peer).isElsewhere).toBe(false);
    expect(forwarded.fields(asked("X-Forwarded-Host: outer\r\n"), peer).isElsewhere).toBe(true);
  });
});
