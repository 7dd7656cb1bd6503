import { isUrlHost } from "@paceline/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isHost } from "./request-target.js";

function judge(text: string): boolean {
  const bytes = Buffer.from(`:.${text}-:9`, "latin1");
  return isHost(bytes, 2, bytes.length - 3);
}

describe("a Host", () => {
  it.each([
    ...[
      "",
      "a",
      "shop.example",
      "Shop.Example.",
      "a_b",
      "1.2.3.4",
      "1.2.3.4:80",
      "[::1]",
      "[2001:db8::1]:8080",
      "a:",
      "a:65535",
    ],
    ...["a..b", "1a.example", "a.b1", "xn--80ak6aa92e.com", "a--b", "a!b", "[::0:1]:80", "A:080"],
  ])("%s is one", (host) => {
    expect(judge(host)).toBe(true);
  });

  it.each([
    ...[
      "a:b",
      "[::1",
      "::1",
      "[::1]x",
      "a:65536",
      "a:999999",
      ":80",
      "1.2.3.4.5",
      "256.1.1.1",
      "1.2.3.999",
      "a.1",
      "08",
      "xn--a",
    ],
    ...[
      "%",
      "%2f",
      "%61",
      "a.%65xample",
      "127.1",
      "0x7f.1",
      "0x7f000001:80",
      "127.0.0.01",
      "2130706433",
      "%00",
      "a@b",
      "a,b",
      "a b",
      "a/b",
      "a\\b",
      "a?b",
      "a#b",
      "[fe80::1%25eth0]",
      "[1.2.3.4]",
      "a:+1",
      "é",
    ],
  ])("%s is none", (host) => {
    expect(judge(host)).toBe(false);
  });

  it("gets the same verdict from the fast path and from the URL parser", () => {
    const character = fc.constantFrom(...[..."abxnX0129.-_:[]%~!=", "xn--", "..", "255", "256", ":80", "::"]);
    fc.assert(
      fc.property(fc.array(character, { minLength: 1, maxLength: 9 }), (characters) => {
        const host = characters.join("");
        expect(judge(host), host).toBe(isUrlHost(host));
      }),
      { numRuns: 5000 },
    );
  });
});
