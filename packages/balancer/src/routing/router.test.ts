import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeForMatch } from "../http1/normal-path.js";
import { Router } from "./router.js";

/** A router whose routes lead to their own texts. */
const routerOf = (...texts: string[]) => new Router(texts.map((text) => ({ text, target: text })));

function match(router: Router<string>, host: string, path: string): string | undefined {
  const bytes = Buffer.from(`x${host}|${path}x`, "latin1");
  return router.match(bytes, 1, 1 + host.length, bytes, host.length + 2, bytes.length - 1)?.target;
}

describe("the router", () => {
  const router = routerOf(
    ...["/", "/api/", "/api/v2", "/@me/", "/caf%C3%A9"],
    ...["example.com/", "example.com/api", "*.example.com/", "*.b.example.com/x/", "docs.example.com/docs/"],
    "[::1]/",
  );

  it.each([
    // Segment boundaries, and the longest route.
    ["other", "/", "/"],
    ["other", "/api", "/api/"],
    ["other", "/api/", "/api/"],
    ["other", "/api/x", "/api/"],
    ["other", "/apix", "/"],
    ["other", "/API", "/"],
    ["other", "/api/v2", "/api/v2"],
    ["other", "/api/v2/x", "/api/v2"],
    ["other", "/api/v22", "/api/"],
    ["other", "/ap", "/"],
    // Prefixes are normalized.
    ["other", "/@me/x", "/@me/"],
    ["other", "/caf\xc3\xa9/x", "/caf%C3%A9"],
    // Hosts.
    ["example.com", "/x", "example.com/"],
    ["example.com", "/api/x", "example.com/api"],
    ["EXAMPLE.com", "/x", "example.com/"],
    ["example.com:8080", "/x", "example.com/"],
    ["example.com:", "/x", "example.com/"],
    ["example.com.", "/x", "example.com/"],
    ["Example.Com.:80", "/x", "example.com/"],
    ["example.com..", "/x", "/"],
    ["notexample.com", "/", "/"],
    ["example.com.evil", "/", "/"],
    ["example.co", "/", "/"],
    ["", "/", "/"],
    [":80", "/", "/"],
    [".", "/", "/"],
    // A wildcard matches one or more labels before the name; exact hosts and longer wildcards take precedence.
    ["a.example.com", "/api", "*.example.com/"],
    ["A.Example.COM:1", "/api", "*.example.com/"],
    ["a.c.example.com", "/", "*.example.com/"],
    [".example.com", "/", "/"],
    ["a.b.example.com", "/x/y", "*.b.example.com/x/"],
    ["a.b.example.com", "/y", "*.example.com/"],
    ["docs.example.com", "/docs", "docs.example.com/docs/"],
    ["docs.example.com", "/other", "*.example.com/"],
    // Addresses.
    ["[::1]", "/", "[::1]/"],
    ["[::1]:8080", "/", "[::1]/"],
    ["[0:0:0:0:0:0:0:1]:80", "/", "[::1]/"],
    ["[0000::0001]", "/", "[::1]/"],
    ["[::2]", "/", "/"],
    ["[::1", "/", "/"],
    ["127.0.0.1", "/", "/"],
  ])("%s%s leads to %s", (host, path, target) => {
    expect(match(router, host, path)).toBe(target);
  });

  it("leads nowhere if nothing matches", () => {
    const narrow = routerOf("/api/", "example.com/x");
    expect(match(narrow, "other", "/")).toBeUndefined();
    expect(match(narrow, "example.com", "/y")).toBeUndefined();
    expect(match(routerOf(), "other", "/")).toBeUndefined();
  });

  it("knows whether there is only one route", () => {
    expect(routerOf("/").only?.target).toBe("/");
    expect(routerOf("/x").only).toBeUndefined();
    expect(routerOf("a/").only).toBeUndefined();
    expect(router.only).toBeUndefined();
    expect(routerOf().only).toBeUndefined();
  });

  it("decides like a simple model", () => {
    const segment = fc.constantFrom("a", "b", "ab", "%40", "@", "");
    const path = fc.array(segment, { maxLength: 4 }).map((segments) => `/${segments.join("/")}`);
    const host = fc.constantFrom("", "h.x", "g.h.x", "*.h.x", "*.x", "x");
    const route = fc.tuple(host, path).map(([name, prefix]) => name + prefix.replace(/\/+/g, "/"));
    const routes = fc.uniqueArray(route, { maxLength: 8, selector: (text) => decodeForMatch(text).replace(/\/$/, "") });
    fc.assert(
      fc.property(routes, fc.constantFrom("h.x", "g.h.x", "f.g.h.x", "x", "z", ""), path, (texts, name, asked) => {
        const decoded = decodeForMatch(asked);
        expect(match(routerOf(...texts), name, decoded)).toBe(model(texts, name, decoded));
      }),
      { numRuns: 3000 },
    );
  });
});

/** The first matching route in this order: exact hosts, wildcards, any host; then longer hosts, then longer prefixes. */
function model(texts: readonly string[], name: string, path: string): string | undefined {
  const fitting = texts
    .map((text) => {
      const slash = text.indexOf("/");
      return { text, host: text.slice(0, slash), prefix: decodeForMatch(text.slice(slash)).replace(/\/$/, "") };
    })
    .filter(({ host, prefix }) => {
      const isHost =
        host === "" ||
        host === name ||
        (host.startsWith("*.") && name.endsWith(host.slice(1)) && name.length >= host.length);
      return isHost && (path === prefix || path.startsWith(`${prefix}/`));
    });
  const kind = (host: string) => (host === "" ? 0 : host.startsWith("*") ? 1 : 2);
  fitting.sort(
    (a, b) => kind(b.host) - kind(a.host) || b.host.length - a.host.length || b.prefix.length - a.prefix.length,
  );
  return fitting[0]?.text;
}
