/** Hosts, origins and tokens that are accepted, and which routes the admin listener serves. */
import { describe, expect, it } from "vitest";
import { ADMIN_ROUTES, hasToken, isForeign, isLoopbackHost, isSocketHost, narrowed } from "./access.js";
import { routes } from "./routes.js";

describe("hosts", () => {
  it.each([
    ["localhost:9090", true, true],
    ["127.0.0.1", true, true],
    ["[::1]:9090", true, true],
    ["paceline", false, true],
    ["", false, true],
    ["evil.example", false, false],
    ["evil:9090", false, false],
    ["127.0.0.1.evil.example", false, false],
    ["localhost:9090@evil.example", false, false],
  ])("%j: loopback %s, of a socket %s", (host, loopback, ofSocket) => {
    expect([isLoopbackHost(host), isSocketHost(host)]).toEqual([loopback, ofSocket]);
  });
});

describe("origins", () => {
  const host = "127.0.0.1:9090";
  it.each([
    [{}, false],
    [{ origin: "http://127.0.0.1:9090", "sec-fetch-site": "same-origin" }, false],
    [{ "sec-fetch-site": "none" }, false],
    [{ origin: "http://127.0.0.1:8080" }, true],
    [{ origin: "http://localhost:9090" }, true],
    [{ origin: "null" }, true],
    [{ "sec-fetch-site": "same-site" }, true],
    [{ "sec-fetch-site": "cross-site" }, true],
  ])("%j: foreign %s", (from, foreign) => {
    expect(isForeign({ host, ...from })).toBe(foreign);
  });
});

describe("the token", () => {
  it.each([
    ["Bearer secret", "secret", true],
    ["bearer  secret", "secret", true],
    ["Bearer secre", "secret", false],
    ["Bearer secret2", "secret", false],
    ["Basic secret", "secret", false],
    ["Bearer ", "secret", false],
    ["Bearer undefined", undefined, false],
    ["Bearer x", "", false],
    [undefined, "secret", false],
  ])("%j for %j: %s", (given, token, isRight) => {
    expect(hasToken(given, token)).toBe(isRight);
  });
});

describe("the routes of a TCP address", () => {
  it("everything that changes the fleet needs admin.write, and nothing there runs a program of the caller's choice", () => {
    const served = routes.filter(({ path }) => ADMIN_ROUTES[path] !== undefined);
    const writes = served.filter(({ method }) => method === "POST");
    expect(writes.length).toBeGreaterThan(3);
    for (const { path } of writes) expect(ADMIN_ROUTES[path]?.access, path).toBe("write");
    const never = ["/v1/deploy", "/v1/hand-over", "/v1/dump", "/v1/stop", "/v1/diff", "/v1/requests", "/v1/page"];
    expect(served.filter(({ path }) => never.includes(path))).toEqual([]);
    const keys = writes.flatMap((route) => Object.keys(narrowed(route, ADMIN_ROUTES[route.path]?.keys)));
    expect(keys.filter((key) => ["environment", "config", "dir", "envFile", "command"].includes(key))).toEqual([]);
  });

  it("without the token there are only the empty page and the metrics", () => {
    const open = Object.entries(ADMIN_ROUTES).flatMap(([path, { access }]) => (access === "open" ? [path] : []));
    expect(open).toEqual(["/", "/metrics"]);
  });
});
