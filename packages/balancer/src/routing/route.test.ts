import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeForMatch, normalizePath } from "../http1/normal-path.js";
import { RequestHead } from "../http1/request-head.js";
import { retarget, routeOf } from "./route.js";
import { Router } from "./router.js";

const LIMITS = { maxHeadBytes: 8192, maxHeaderFields: 50, maxBodyBytes: 1_000_000 };

const router = new Router([
  { text: "/", target: "web" },
  { text: "/api/", target: "api" },
  { text: "/static/", target: "files", stripPrefix: true },
  { text: "/files/", target: "files", stripPrefix: true },
  { text: "/@me/", target: "me", stripPrefix: true },
  { text: "docs.example.com/", target: "docs" },
]);

/** The request as the instance sees it, from the head writers. */
function seen(head: RequestHead): string {
  const target = Buffer.from(head.target).toString("latin1", head.targetStart, head.targetEnd);
  return head.hasNoPath ? `/${target}` : target;
}

interface Routed {
  to: string | number;
  target: string;
  prefix: string | undefined;
}

function route(routes: Router<string>, target: string, { host = "a", method = "GET", version = "1.1" } = {}): Routed {
  const head = new RequestHead(LIMITS);
  const text = `${method} ${target} HTTP/${version}\r\n${host === "none" ? "" : `Host: ${host}\r\n`}\r\n`;
  // Inside a larger buffer, like bytes from a socket.
  const bytes = Buffer.from(`\r\n\r\n${text}`, "latin1").subarray(4);
  if (head.parse(bytes, 0, bytes.length) < 0) return { to: head.refusal, target: "", prefix: undefined };
  const found = routeOf(routes, head);
  if (typeof found === "number") return { to: found, target: "", prefix: undefined };
  const routed = { to: found.target, target: seen(head), prefix: head.prefix && Buffer.from(head.prefix).toString() };
  // A request that is sent later is parsed again, possibly from bytes in another place.
  const rewritten = head.target === bytes ? undefined : head.target;
  const again = new RequestHead(LIMITS);
  again.parse(Buffer.from(`x${text}`, "latin1"), 1, text.length + 1);
  retarget(again, found, rewritten);
  expect(seen(again)).toBe(routed.target);
  expect(again.prefix).toBe(head.prefix);
  return routed;
}

describe("the route of a request", () => {
  it.each([
    // Unchanged.
    ["/", "web", "/", undefined],
    ["/?a=/../%2F", "web", "/?a=/../%2F", undefined],
    ["/api", "api", "/api", undefined],
    ["/api?x", "api", "/api?x", undefined],
    ["/apis", "web", "/apis", undefined],
    ["/caf%C3%A9?%e9", "web", "/caf%C3%A9?%e9", undefined],
    ["/api//x", "api", "/api//x", undefined],
    // Unchanged, although another path is matched.
    ["/%61pi/y", "api", "/%61pi/y", undefined],
    ["/api/caf%c3%a9/%7Ex", "api", "/api/caf%c3%a9/%7Ex", undefined],
    ["/a%2eb", "web", "/a%2eb", undefined],
    ["//a/b", "web", "//a/b", undefined],
    ["///a//b?c", "web", "///a//b?c", undefined],
    ["//", "web", "//", undefined],
    // Without dot segments, otherwise unchanged.
    ["/x/../api/y?q=/..", "api", "/api/y?q=/..", undefined],
    ["/api/../x", "web", "/x", undefined],
    ["/api/%2e%2e/x", "web", "/x", undefined],
    ["/api/./caf%c3%a9/%7e", "api", "/api/caf%c3%a9/%7e", undefined],
    ["/x/.%2E//api", "api", "/api", undefined],
    ["//x/../y", "web", "/y", undefined],
    // With one leading slash, if a reader that sees several would choose another pool.
    ["//api/x", "api", "/api/x", undefined],
    ["///%61pi/%7e", "api", "/%61pi/%7e", undefined],
    ["//h/api/x", "web", "/h/api/x", undefined],
    ["//h//%61pi", "web", "/h//%61pi", undefined],
    ["//static/a", "files", "/a", "/static"],
    ["//h/static/a", "web", "/h/static/a", undefined],
    // With the prefix removed.
    ["/static/a/b?c", "files", "/a/b?c", "/static"],
    ["/static/", "files", "/", "/static"],
    ["/static", "files", "/", "/static"],
    ["/static?q", "files", "/?q", "/static"],
    ["/static/?q", "files", "/?q", "/static"],
    ["/statics", "web", "/statics", undefined],
    ["/static//h/x", "files", "/h/x", "/static"],
    ["/static///", "files", "/", "/static"],
    ["/static/a//b", "files", "/a//b", "/static"],
    ["/static/caf%c3%A9/%7e", "files", "/caf%c3%A9/%7e", "/static"],
    // With both changes.
    ["/x/../%73tatic/%61/./b?%61", "files", "/%61/b?%61", "/static"],
    ["/./static?q", "files", "/?q", "/static"],
    ["/./static//h", "files", "/h", "/static"],
    // A prefix in another spelling is removed in its own length.
    ["/%40me/x", "me", "/x", "/@me"],
    ["/@me/x", "me", "/x", "/@me"],
    // Escaped slashes that make no difference.
    ["/a%2Fb", "web", "/a%2Fb", undefined],
    ["/@scope%2fname", "web", "/@scope%2fname", undefined],
    ["/api/a%2fb%5Cc", "api", "/api/a%2fb%5Cc", undefined],
    ["/static/a%2Fb", "files", "/a%2Fb", "/static"],
    ["/static/%2Fb", "files", "/%2Fb", "/static"],
    // Absolute targets.
    ["http://docs.example.com/x/../y", "docs", "/y", undefined],
    ["http://docs.example.com", "docs", "/", undefined],
    ["HTTPS://Docs.Example.Com:8/static/x", "docs", "/static/x", undefined],
    ["http://other/static/x", "files", "/x", "/static"],
  ])("%s goes to %s as %s", (target, to, as, prefix) => {
    expect(route(router, target)).toEqual({ to, target: as, prefix });
  });

  it.each([
    ["/..", "out of the root"],
    ["/api/../../etc/passwd", "out of the root"],
    ["/%2e%2e/x", "out of the root"],
    ["/a%00", "NUL"],
    ["/static/a%00.png", "NUL"],
    ["/%", "no escape"],
    ["/a%2", "no escape"],
    ["/%%32e%%32e/", "no escape"],
    ["/static\\..\\api", "a backslash"],
    ["/api%2Fusers", "another pool if the slash is one"],
    ["/api%2fusers", "the same in small letters"],
    ["/api%5Cusers", "the same with a backslash"],
    ["/%2Fapi", "another pool once slashes at the beginning are one"],
    ["/static%2Fx", "another pool, and a prefix to strip"],
    ["/x/..%2Fapi", "dot segments behind it"],
    ["/static/..%2F..%2Fetc", "dot segments behind it"],
    ["/a%2F..%2Fb", "dot segments behind it"],
    ["/a%2F.", "a dot segment behind it"],
  ])("%s is refused: %s", (target) => {
    expect(route(router, target).to).toBe(400);
  });

  it("is rejected even if there is only one route", () => {
    const only = new Router([{ text: "/", target: "web" }]);
    for (const target of ["/..", "/a%00", "/%", "/\\", "/..%2Fx"]) expect(route(only, target).to, target).toBe(400);
    for (const target of ["/a%2fb", "/a//b", "//a", "//a/b", "/%7E%61"])
      expect(route(only, target).target).toBe(target);
    expect(route(only, "/a/../%7E").target).toBe("/%7E");
  });

  it.each([
    ["EXAMPLE", "/x", {}, "web"],
    ["docs.example.com", "/api", {}, "docs"],
    ["DOCS.example.com.:8080", "/", {}, "docs"],
    ["", "/api", {}, "api"],
    ["none", "/api", { version: "1.0" }, "api"],
    ["none", "/api", { version: "1.1" }, 400],
    ["[::1]:80", "/api", {}, "api"],
    // A different name for readers that decode it.
    ["d%6fcs.example.com", "/", {}, 400],
    ["docs.example.com", "*", { method: "OPTIONS" }, "docs"],
    ["a", "*", { method: "OPTIONS" }, "web"],
    ["a", "*", { method: "GET" }, 400],
    ["a", "docs.example.com:443", { method: "CONNECT" }, 501],
    ["a", "http://docs.example.com?q", {}, "docs"],
  ])("of Host %j and %s %j is %s", (host, target, more, to) => {
    expect(route(router, target, { host, ...more }).to).toBe(to);
  });

  it("does not exist if nothing matches", () => {
    const narrow = new Router([{ text: "/api/", target: "api" }]);
    expect(route(narrow, "/").to).toBe(404);
    expect(route(narrow, "/x%C3%A9").to).toBe(404);
    expect(route(narrow, "*", { method: "OPTIONS" }).to).toBe(404);
    expect(route(narrow, "/api%2Fx").to).toBe(400);
  });

  it("shows no app a path that another route would have matched", () => {
    const pieces = [
      ..."//..ab@",
      "api",
      "static",
      "@me",
      "%2e",
      "%2F",
      "%5c",
      "%61pi",
      "%40me",
      "%25",
      "%",
      "\\",
      "//",
      "/../",
    ];
    const target = fc.array(fc.constantFrom(...pieces), { maxLength: 10 }).map((parts) => `/${parts.join("")}`);
    /** How different readers see a path: raw, as a URL, decoded, and decoded with backslashes as slashes. */
    const readings: ((path: string) => string | undefined)[] = [
      (path) => path,
      (path) => normalizePath(path),
      (path) => new URL(path, "http://h").pathname,
      (path) => new URL(`http://h${path}`).pathname.replace(/^\/+/, "/"),
      (path) => normalizePath(encodeURI(decodeURIComponent(path)).replaceAll("%25", "%2525")),
      (path) => normalizePath(decodeURIComponent(path).replaceAll("\\", "/").replaceAll("%", "%25")),
    ];
    fc.assert(
      fc.property(target, (asked) => {
        const { to, target: shown, prefix = "" } = route(router, asked);
        if (typeof to === "number") return;
        for (const read of readings) {
          const path = readOrUndefined(read, prefix + shown);
          if (path === undefined) continue;
          const bytes = Buffer.from(`a${decodeForMatch(inCapitals(path))}`, "latin1");
          expect(router.match(bytes, 0, 1, bytes, 1, bytes.length)?.target, `${shown} read as ${path}`).toBe(to);
        }
      }),
      { numRuns: 5000 },
    );
  });

  it("shows the received bytes, except for dot segments, prefixes and leading slashes", () => {
    const pieces = [
      ..."//.ab@~",
      "api",
      "static",
      "..",
      "%2e",
      "%2F",
      "%2f",
      "%5c",
      "%61pi",
      "%7E",
      "%7e",
      "%C3",
      "%c3",
    ];
    const target = fc.array(fc.constantFrom(...pieces), { maxLength: 10 }).map((parts) => `/${parts.join("")}`);
    const only = new Router([{ text: "/", target: "web" }]);
    const afterSlashes = (path: string) => path.replace(/^\/+/, "");
    fc.assert(
      fc.property(target, (asked) => {
        const hasDots = /\/(\.|%2e){1,2}(\/|$)/i.test(asked);
        const alone = route(only, asked);
        if (typeof alone.to !== "number") {
          if (!hasDots) expect(alone.target).toBe(asked);
          // Segments are removed, and none is changed.
          const segments = asked.split("/");
          for (const segment of alone.target.split("/")) expect(segments).toContain(segment);
          expect(normalizePath(alone.target)).toBe(normalizePath(asked));
          expect(alone.target).not.toMatch(/\/(\.|%2e){1,2}(\/|$)/i);
        }
        const { to, target: shown, prefix } = route(router, asked);
        if (typeof to === "number") return;
        if (!hasDots && prefix === undefined) expect(afterSlashes(shown)).toBe(afterSlashes(asked));
        if (!hasDots && !asked.startsWith("//")) expect(asked.endsWith(afterSlashes(shown))).toBe(true);
      }),
      { numRuns: 3000 },
    );
  });
});

/** Like `decodeForMatch`: an escaped slash is not a slash, in any spelling. */
function inCapitals(path: string): string {
  return path.replace(/%(2f|5c)/gi, (escaped) => escaped.toUpperCase());
}

/** Returns the result of `read` for the path; undefined if it is invalid text. */
function readOrUndefined(read: (path: string) => string | undefined, path: string): string | undefined {
  try {
    return read(path);
  } catch (error) {
    if (error instanceof URIError || (error as NodeJS.ErrnoException).code === "ERR_INVALID_URL") return undefined;
    throw error;
  }
}
