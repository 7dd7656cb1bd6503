import { isUrlHost } from "@paceline/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ClientFields, plainAddress, type ReportedClient, readClient, TrustedProxies } from "./trusted-proxies.js";

const trusted = new TrustedProxies(["10.0.0.0/8", "127.0.0.1/32", "fd00::/8", "unix"]);
const NOTHING: ClientFields = { forwardedFor: [], forwarded: [], proto: [], host: [], prefix: [] };

function read(fields: Partial<ClientFields>, peer = "127.0.0.1"): ReportedClient {
  return readClient({ ...NOTHING, ...fields }, peer, trusted, isUrlHost);
}

describe("the client of a trusted proxy", () => {
  it.each([
    // Read from the right; everything left of the first untrusted address is dropped.
    [["9.9.9.9"], ["9.9.9.9", "127.0.0.1"]],
    [["6.6.6.6, 9.9.9.9"], ["9.9.9.9", "127.0.0.1"]],
    [["6.6.6.6, 9.9.9.9, 10.1.2.3"], ["9.9.9.9", "10.1.2.3", "127.0.0.1"]],
    [
      ["6.6.6.6", "9.9.9.9"],
      ["9.9.9.9", "127.0.0.1"],
    ],
    [
      ["6.6.6.6", "9.9.9.9, 10.1.2.3"],
      ["9.9.9.9", "10.1.2.3", "127.0.0.1"],
    ],
    // All addresses are trusted: the leftmost one is the client.
    [[], ["127.0.0.1"]],
    [["10.0.0.5, 10.0.0.6"], ["10.0.0.5", "10.0.0.6", "127.0.0.1"]],
    // Empty elements are ignored.
    [[""], ["127.0.0.1"]],
    [[" , ,9.9.9.9,, "], ["9.9.9.9", "127.0.0.1"]],
    [
      ["6.6.6.6,9.9.9.9", ""],
      ["9.9.9.9", "127.0.0.1"],
    ],
    // In all spellings.
    [["9.9.9.9:5678"], ["9.9.9.9", "127.0.0.1"]],
    [['"9.9.9.9"'], ["9.9.9.9", "127.0.0.1"]],
    [["2001:DB8:0::1"], ["2001:db8::1", "127.0.0.1"]],
    [["[2001:db8::1]:443"], ["2001:db8::1", "127.0.0.1"]],
    [["fe80::1%eth0"], ["fe80::1", "127.0.0.1"]],
    [["6.6.6.6, fd00::7, ::ffff:10.0.0.1"], ["6.6.6.6", "fd00::7", "10.0.0.1", "127.0.0.1"]],
    [["6.6.6.6, ::ffff:0909:0909"], ["9.9.9.9", "127.0.0.1"]],
    [["6.6.6.6, unix:"], ["unknown", "127.0.0.1"]],
    [["6.6.6.6, unix"], ["unknown", "127.0.0.1"]],
    // The client is unknown.
    [["6.6.6.6, unknown"], ["unknown", "127.0.0.1"]],
    [["6.6.6.6, _hidden"], ["unknown", "127.0.0.1"]],
    [["6.6.6.6, 10.0.0.1x"], ["unknown", "127.0.0.1"]],
    [["6.6.6.6, [10.0.0.1]"], ["unknown", "127.0.0.1"]],
    [["6.6.6.6, 010.0.0.1"], ["unknown", "127.0.0.1"]],
    [["6.6.6.6, 10.0.0.1/8"], ["unknown", "127.0.0.1"]],
    [["6.6.6.6, a.example"], ["unknown", "127.0.0.1"]],
    [["6.6.6.6, <script>"], ["unknown", "127.0.0.1"]],
  ])("with X-Forwarded-For %j is %j", (forwardedFor, chain) => {
    expect(read({ forwardedFor }).chain).toEqual(chain);
  });

  it.each([
    ['for=9.9.9.9;proto=https;host="shop.example"', ["9.9.9.9"], "https", "shop.example"],
    ["FOR=9.9.9.9;Proto=HTTPS", ["9.9.9.9"], "https", undefined],
    ["for=6.6.6.6;proto=https, for=9.9.9.9", ["9.9.9.9"], "http", undefined],
    ['for="[2001:db8::1]:80"', ["2001:db8::1"], "http", undefined],
    ["for=[2001:db8::1]", ["2001:db8::1"], "http", undefined],
    ["for=6.6.6.6, for=9.9.9.9;proto=https, for=10.0.0.1;proto=http", ["9.9.9.9", "10.0.0.1"], "https", undefined],
    ["for=6.6.6.6, for=unknown", ["unknown"], "http", undefined],
    ["for=6.6.6.6, for=_gazonk", ["unknown"], "http", undefined],
    ["for=6.6.6.6, proto=https", ["unknown"], "https", undefined],
    ["for=6.6.6.6, nonsense", ["unknown"], "http", undefined],
    // A client's unbalanced quote cannot hide the element of its proxy.
    ['for="6.6.6.6, for=9.9.9.9', ["9.9.9.9"], "http", undefined],
    ['a=", for="[2001:db8::1]"', ["2001:db8::1"], "http", undefined],
    ['x=",for=6.6.6.6;y=", for="[2001:db8::1]"', ["2001:db8::1"], "http", undefined],
    // A client's text within a quote that its proxy wrote cannot do that, either.
    ['for=9.9.9.9;host="x, for=6.6.6.6"', ["9.9.9.9"], "http", undefined],
    ['host="x;for=6.6.6.6";for=9.9.9.9', ["9.9.9.9"], "http", undefined],
  ])("with Forwarded %s is %j", (forwarded, chain, scheme, host) => {
    expect(read({ forwarded: [forwarded] })).toMatchObject({ chain: [...chain, "127.0.0.1"], scheme, host });
  });

  it("is read from X-Forwarded-For if both fields are present", () => {
    const { chain, scheme } = read({ forwardedFor: ["9.9.9.9"], forwarded: ["for=6.6.6.6;proto=https"] });
    expect([chain, scheme]).toEqual([["9.9.9.9", "127.0.0.1"], "http"]);
  });

  it("may connect over a unix socket, which has no address", () => {
    expect(read({ forwardedFor: ["6.6.6.6, 9.9.9.9"] }, "unix").chain).toEqual(["9.9.9.9"]);
    expect(read({ forwardedFor: ["6.6.6.6, 9.9.9.9, 10.0.0.1"] }, "unix").chain).toEqual(["9.9.9.9", "10.0.0.1"]);
    expect(read({}, "unix").chain).toEqual(["unknown"]);
  });

  it.each([
    [["https"], "https"],
    [["HTTPS"], "https"],
    [["wss"], "https"],
    [["http"], "http"],
    [["evil"], "http"],
    [["javascript"], "http"],
    [[""], "http"],
    [["https, http"], "http"],
    [["evil, https"], "https"],
    [["http", "https"], "https"],
  ])("with X-Forwarded-Proto %j used %s", (proto, scheme) => {
    expect(read({ proto }).scheme).toBe(scheme);
  });

  it.each([
    [["shop.example"], "shop.example"],
    [["evil.example, shop.example:8443"], "shop.example:8443"],
    [["evil.example", "shop.example"], "shop.example"],
    [["a:b"], undefined],
    [["%61dmin.example"], undefined],
    [["0x7f.1"], undefined],
    [["shop.example/x"], undefined],
    [["a@b"], undefined],
  ])("with X-Forwarded-Host %j requested %s", (host, asked) => {
    expect(read({ host }).host).toBe(asked);
  });

  it.each([
    [["/shop"], "/shop"],
    [["/shop/"], "/shop"],
    [["/evil, /a/b"], "/a/b"],
    [["//evil.example"], ""],
    [["/a//b"], ""],
    [["/\\evil.example"], ""],
    [["https://evil.example"], ""],
    [["/a/../.."], ""],
    [["/a%zz"], ""],
    [['/"><script>'], ""],
    [["/"], ""],
  ])("with X-Forwarded-Prefix %j removed %s", (prefix, taken) => {
    expect(read({ prefix }).prefix).toBe(taken);
  });

  it("is never an address that the client could choose", () => {
    const piece = fc.constantFrom(
      ...['"', ",", ";", "=", " ", "for=", "\\", "6.6.6.6", "10.0.0.1", "[", "]", ":", "%", "unix", "a"],
    );
    const word = fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join(""));
    // Proxies append either to the same line, or as a new line.
    fc.assert(
      fc.property(word, fc.boolean(), (said, isOnLine) => {
        const with_ = (added: string) => (isOnLine ? [`${said}, ${added}`] : [said, added]);
        expect(read({ forwardedFor: with_("9.9.9.9") }).chain).toEqual(["9.9.9.9", "127.0.0.1"]);
        for (const node of ["9.9.9.9", '"[2001:db8::9]"']) {
          const { chain } = read({ forwarded: with_(`for=${node};proto=https`) });
          expect(chain).toEqual([node.replace(/[[\]"]/g, ""), "127.0.0.1"]);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it("is searched for only among a bounded number of addresses", () => {
    const { chain } = read({ forwardedFor: [Array(5000).fill("10.0.0.1").join()] });
    expect(chain.length).toBeLessThan(40);
    expect(read({ forwarded: [Array(5000).fill("for=10.0.0.1").join()] }).chain.length).toBeLessThan(40);
  });
});

describe("trusted proxies", () => {
  it("are recognized by their addresses in every spelling; a peer without an address is never trusted", () => {
    const list = new TrustedProxies(["::ffff:10.0.0.0/104", "2001:db8::/32"]);
    expect(list.trusts("10.9.9.9")).toBe(true);
    expect(list.trusts("11.0.0.1")).toBe(false);
    expect(list.trusts("2001:db8::5")).toBe(true);
    for (const node of ["unix", "unknown"]) expect(list.trusts(node)).toBe(false);
    expect(new TrustedProxies(["unix"]).trusts("unknown")).toBe(false);
    expect(new TrustedProxies(["0.0.0.0/0"]).trusts("unix")).toBe(false);
    // A block of one address family does not match the other family.
    expect(new TrustedProxies(["::/0", "::1/64"]).trusts("8.8.8.8")).toBe(false);
    expect(new TrustedProxies(["0.0.0.0/0"]).trusts("2001:db8::1")).toBe(false);
  });

  it.each([
    ["::FFFF:1.2.3.4", "1.2.3.4"],
    ["::ffff:102:304", "1.2.3.4"],
    ["0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4"],
    ["2001:DB8:0:0::1", "2001:db8::1"],
    ["fe80::1%eth0", "fe80::1"],
    ["1.2.3.4", "1.2.3.4"],
    ["", ""],
  ])("%s is normalized to %s", (address, plain) => {
    expect(plainAddress(address)).toBe(plain);
  });
});
