import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeForMatch,
  normalizePath,
  PathScan,
  PathTrait,
  pathWithoutDots,
  readEscapedSlashes,
  readSlashesAtBeginning,
} from "./normal-path.js";

const { ESCAPED, UNNORMAL, ESCAPED_SLASH, REFUSED } = PathTrait;

function scanOf(target: string): { traits: number; path: string } {
  const scan = new PathScan();
  // Surrounded by bytes that must not be read.
  const bytes = Buffer.from(`%/../${target}%/../`, "latin1");
  scan.read(bytes, 5, bytes.length - 5);
  return { traits: scan.traits, path: bytes.toString("latin1", 5, scan.end) };
}

/** Paths made of the relevant parts: dots, slashes, escapes of both, and ordinary bytes. */
const piece = fc.constantFrom(
  ...["/", "/", "/", ".", "..", "/..", "/.", "//", "a", "b", "~", "_", "@", ";", "!", "[", '"', "é"],
  ...[
    "%2e",
    "%2E",
    "%2F",
    "%2f",
    "%5C",
    "%5c",
    "%61",
    "%41",
    "%7E",
    "%7e",
    "%25",
    "%C3%A9",
    "%c3%a9",
    "%20",
    "%3F",
    "%23",
  ],
  ...["%", "%2", "%zz", "%00", "\\"],
);
const anyPath = fc.array(piece, { maxLength: 12 }).map((pieces) => `/${pieces.join("")}`);
const goodPath = anyPath.filter((path) => normalizePath(path) !== undefined);

describe("the normal form of a path", () => {
  it.each([
    ["/", "/"],
    ["/a/b.c", "/a/b.c"],
    ["/a/", "/a/"],
    // Dot segments.
    ["/.", "/"],
    ["/./", "/"],
    ["/a/.", "/a/"],
    ["/a/./b", "/a/b"],
    ["/a/..", "/"],
    ["/a/../", "/"],
    ["/a/../b", "/b"],
    ["/a/b/../../c", "/c"],
    ["/a/b/..", "/a/"],
    ["/.../..a/a../.b", "/.../..a/a../.b"],
    ["/.well-known/x", "/.well-known/x"],
    // Escaped dot segments.
    ["/%2e%2E/a", undefined],
    ["/a/%2e%2e/b", "/b"],
    ["/a/.%2e/b", "/b"],
    ["/a/%2e./b", "/b"],
    ["/a/%2e/b", "/a/b"],
    // Paths that leave the root.
    ["/..", undefined],
    ["/../", undefined],
    ["/a/../..", undefined],
    ["/a/../../a", undefined],
    ["/../a", undefined],
    ["//..", undefined],
    // Unreserved characters, and escapes with other hexadecimal digits.
    ["/%61%2D%5f%7e", "/a-_~"],
    ["/%c3%a9", "/%C3%A9"],
    ["/%2fx%5cy", "/%2Fx%5Cy"],
    ["/%40%3a%21", "/%40%3A%21"],
    ["/%3F%23", "/%3F%23"],
    // Nothing is decoded twice.
    ["/%252e%252e/a", "/%252e%252e/a"],
    ["/%25%32%65", "/%252e"],
    // Invalid escapes.
    ["/%", undefined],
    ["/%2", undefined],
    ["/%2/", undefined],
    ["/%zz", undefined],
    ["/%%32e", undefined],
    ["/100%", undefined],
    // Bytes that no app should see.
    ["/a%00b", undefined],
    ["/a\\b", undefined],
    // Slashes.
    ["//", "/"],
    ["//h/x", "/h/x"],
    ["///a", "/a"],
    ["/a//b", "/a//b"],
    ["/a//", "/a//"],
    ["/a//../b", "/a/b"],
    ["/a/..//b", "/b"],
    ["/.//b", "/b"],
    ["/fetch/https://x/y", "/fetch/https://x/y"],
    // Unchanged: parameters, and characters that a request target may contain but a URI may not.
    ["/a;b=1/..;/c", "/a;b=1/..;/c"],
    ['/{"x"}|^`<>', '/{"x"}|^`<>'],
  ])("%s becomes %s", (path, normal) => {
    expect(normalizePath(path)).toBe(normal);
  });

  it("is its own normal form", () => {
    fc.assert(
      fc.property(goodPath, (path) => {
        const normal = normalizePath(path) as string;
        expect(normalizePath(normal)).toBe(normal);
      }),
    );
  });

  it("never leaves the root, and never begins with two slashes", () => {
    fc.assert(
      fc.property(goodPath, (path) => {
        const segments = (normalizePath(path) as string).split("/").map(decodeForMatch);
        expect(segments[0]).toBe("");
        expect(segments).not.toContain("..");
        expect(segments).not.toContain(".");
        if (segments.length > 2) expect(segments[1]).not.toBe("");
      }),
    );
  });

  it("is no longer than the path", () => {
    fc.assert(
      fc.property(goodPath, (path) => {
        expect((normalizePath(path) as string).length).toBeLessThanOrEqual(path.length);
      }),
    );
  });

  it("equals the path of a URL, whether it is made from the path or from the normal form", () => {
    const pathname = (path: string) => new URL(`http://h${path}`).pathname;
    // A URL keeps the escapes that we decode, keeps leading slashes, and stays at the root where we reject the path.
    const ours = (path: string) => normalizePath(pathname(path));
    fc.assert(
      fc.property(goodPath, (path) => {
        const normal = normalizePath(path) as string;
        const isAscii = !/[^\x21-\x7e]|["[]/.test(path);
        if (isAscii) expect(pathname(normal)).toBe(normal);
        // After leading slashes, ".." removes one of the slashes in a URL, but may leave the root here.
        if (!path.startsWith("//")) expect(ours(path)).toBe(ours(normal));
      }),
      { numRuns: 2000 },
    );
  });

  it("rejects every path that leaves its root for a URL parser", () => {
    // Under a folder that does not occur in the path, so that a path that leaves it can be detected.
    fc.assert(
      fc.property(goodPath, (path) => {
        expect(new URL(`http://h/root/x${normalizePath(path)}`).pathname.startsWith("/root/x/")).toBe(true);
      }),
    );
  });
});

describe("a path without its dot segments", () => {
  it.each([
    ["/", "/"],
    ["//a", "//a"],
    ["/%7Ea/%2fb/%c3%A9", "/%7Ea/%2fb/%c3%A9"],
    ["/a%2eb/.c/..d/...", "/a%2eb/.c/..d/..."],
    ["/%61/../%7e", "/%7e"],
    ["/%61/%2E%2e/%7e", "/%7e"],
    ["/%7e/./%2f/.", "/%7e/%2f/"],
    ["//a/../b", "/b"],
    ["/.//%61", "/%61"],
  ])("%s is %s", (path, without) => {
    expect(pathWithoutDots(path)).toBe(without);
  });

  it("has the same normal form as before, and no dot segment", () => {
    fc.assert(
      fc.property(goodPath, (path) => {
        const without = pathWithoutDots(path);
        expect(normalizePath(without)).toBe(normalizePath(path));
        expect(pathWithoutDots(without)).toBe(without);
        const segments = (normalizePath(without.replace(/^\/+/, "/")) as string).split("/");
        expect(without.replace(/^\/+/, "/").split("/").length).toBe(segments.length);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("the scan", () => {
  it.each([
    ["/", 0, "/"],
    ["/a/b.js?x=%2e/../", 0, "/a/b.js"],
    ["/?", 0, "/"],
    ["/.a/..b/...", 0, "/.a/..b/..."],
    ["/a//b", 0, "/a//b"],
    ["/caf%C3%A9", ESCAPED, "/caf%C3%A9"],
    ["/%61", ESCAPED | UNNORMAL, "/%61"],
    ["/%c3", ESCAPED | UNNORMAL, "/%c3"],
    ["/a%2Fb", ESCAPED | ESCAPED_SLASH, "/a%2Fb"],
    ["/a%5Cb", ESCAPED | ESCAPED_SLASH, "/a%5Cb"],
    ["/.", UNNORMAL, "/."],
    ["/..?x", UNNORMAL, "/.."],
    ["/./a", UNNORMAL, "/./a"],
    ["//a", UNNORMAL, "//a"],
    ["/%0", REFUSED, "/%0"],
    ["/a%00", REFUSED, "/a%00"],
    ["/a\\", REFUSED, "/a\\"],
    ["/?a\\%", 0, "/"],
  ])("of %s finds %i", (target, traits, path) => {
    expect(scanOf(target)).toEqual({ traits, path });
  });

  it("finds exactly what the normalizer changes", () => {
    fc.assert(
      fc.property(anyPath, fc.constantFrom("", "?", "?/../%\\"), (path, query) => {
        const { traits, path: found } = scanOf(path + query);
        expect(found).toBe(path);
        const normal = normalizePath(path);
        if ((traits & REFUSED) !== 0) {
          expect(normal).toBeUndefined();
          return;
        }
        expect((traits & UNNORMAL) !== 0).toBe(normal !== path);
        expect((traits & ESCAPED) !== 0).toBe(path.includes("%"));
        expect((traits & ESCAPED_SLASH) !== 0).toBe(/%(2f|5c)/i.test(path));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("how a path is read", () => {
  it.each([
    ["/a", "/a"],
    ["/%40a%20b", "/@a b"],
    ["/%C3%A9", "/\xc3\xa9"],
    ["/a%2Fb%5Cc", "/a%2Fb%5Cc"],
    ["/%252F", "/%2F"],
  ])("%s is matched as %s", (path, decoded) => {
    expect(decodeForMatch(path)).toBe(decoded);
  });

  it.each([
    ["/a%2Fb", "/a/b"],
    ["/a%5Cb", "/a/b"],
    ["/%2Fa", "/a"],
    ["/a/..%2Fb", undefined],
    ["/a%2F..", undefined],
    ["/a%2F.%2Fb", undefined],
    ["/a%2F...", "/a/..."],
  ])("%s is read by those who see slashes in it as %s", (path, read) => {
    expect(readEscapedSlashes(path)).toBe(read);
  });
});

describe("slashes at the beginning", () => {
  it.each([
    ["/", "//", "/"],
    ["/a", "//a", "/"],
    ["/a/b/c", "//a/b/c", "/b/c"],
    ["/a//b", "//a//b", "/b"],
  ])("of %s are read as %s and %s", (path, literal, behindHost) => {
    expect(readSlashesAtBeginning(path)).toEqual([literal, behindHost]);
  });
});
