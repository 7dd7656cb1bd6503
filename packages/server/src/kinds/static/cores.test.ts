/** The pure functions of file serving: paths, ranges, codings, and conditions. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import { acceptedEncodings, cacheControlBy, isHashed, mediaTypeOf } from "./content-fields.js";
import { escapeHtml, listingPage, readListing } from "./listing.js";
import { STATIC_DEFAULTS } from "./options.js";
import { MAX_RANGES, rangesOf } from "./ranges.js";
import { checkPath, pathRules, withSlash } from "./request-path.js";
import { dateOf, evaluateConditions, isRangeWanted, isSameFile, validatorsOf } from "./validators.js";

const check = (path: string, prefixes: string[] = [], dotfiles = false) => {
  const checked = checkPath(path, pathRules({ prefixes, dotfiles }));
  return checked.kind === "good" ? `${checked.relative}${checked.isFolder ? "/" : ""}` : checked.kind;
};

describe("a path", () => {
  it.each([
    ["/", "/"],
    ["/a.css", "a.css"],
    ["/docs/", "docs/"],
    ["/docs//a.css", "docs/a.css"],
    ["/docs/./a.css", "docs/a.css"],
    ["/docs/../a.css", "a.css"],
    ["/docs/%2e%2e/a.css", "a.css"],
    ["/docs/..", "/"],
    ["/docs/.", "docs/"],
    ["/a%20b", "a b"],
    ["/%C3%A4", "ä"],
    ["/ä", "ä"],
    ["/a~b_c-d.e", "a~b_c-d.e"],
    ["//evil.com/a", "evil.com/a"],
  ])("%s means %s", (path, relative) => expect(check(path)).toBe(relative));

  it.each([
    "",
    "a",
    "*",
    "/..",
    "/../a",
    "/a/../../b",
    "/%2e%2e/a",
    "/a%2fb",
    "/a%2Fb",
    "/a%5cb",
    "/a\\b",
    "/a%00b",
    "/a\0b",
  ])("%j is bad", (path) => expect(check(path)).toBe("bad"));
  it.each(["/%", "/%zz", "/%c3", "/%ff", "/a%0ab", "/a%7f"])("%j is bad", (path) => expect(check(path)).toBe("bad"));
  it.each([
    "/.git/config",
    "/a/.env",
    "/%2egit",
    "/a/.well-known/b",
    `/${"x".repeat(256)}`,
    `/${"%C3%A4".repeat(128)}`,
  ])("%j is hidden", (path) => expect(check(path)).toBe("hidden"));

  it("has no dotfile in it, except for /.well-known", () => {
    expect(check("/.well-known/acme")).toBe(".well-known/acme");
    expect(check("/.well-known/.secret")).toBe("hidden");
    expect(check("/.git/config", [], true)).toBe(".git/config");
  });

  it.each([
    "/paceline.toml",
    "/paceline.config.ts",
    "/static/Paceline.Config.MJS",
    "/a/shop.paceline.config.json",
    "/p%61celine.toml",
    "/paceline.toml.gz",
    "/x/../paceline.config.js/",
  ])("%j is a configuration file, which no option shows", (path) => {
    expect(check(path)).toBe("hidden");
    expect(check(path, [], true)).toBe("hidden");
    expect(check(`/static${path}`, ["/static/"])).toBe("hidden");
  });

  it.each(["/paceline.html", "/pacelineXconfig.js", "/paceline/config.js"])("%s is shown", (path) =>
    expect(check(path)).toBe(path.slice(1)),
  );

  it.each([
    ["/static/a.css", "a.css"],
    ["/static/", "/"],
    ["/static", ""],
    ["/static//a", "a"],
    ["/%73tatic/a", "a"],
    ["/staticfiles/a", "hidden"],
    ["/a.css", "hidden"],
    ["/assets/v1/a", "a"],
    ["/assets/v2/a", "v2/a"],
    ["/static/../assets/x", "x"],
  ])("%s below the prefixes is %s", (path, relative) =>
    expect(check(path, ["/static/", "/assets", "/assets/v1/"])).toBe(relative),
  );

  it("never names anything outside the root, whatever it is", () => {
    const piece = fc.constantFrom(
      "..",
      ".",
      "%2e",
      "%2E%2e",
      "/",
      "//",
      "%2f",
      "\\",
      "%5c",
      "a",
      "b.c",
      "%00",
      "%",
      ".d",
      "é",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), fc.boolean(), (pieces, isPrefixed) => {
        const checked = checkPath(
          `/${pieces.join("")}`,
          pathRules({ prefixes: isPrefixed ? ["/a"] : [], dotfiles: true }),
        );
        if (checked.kind !== "good" || checked.relative === "") return;
        for (const name of checked.relative.split("/")) {
          expect(["", ".", ".."]).not.toContain(name);
          expect(name).not.toMatch(/[\0\\]/);
        }
      }),
    );
  });

  it("with its slash is on the same host, whatever it is", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom("//", "/", "evil.com", "\\", "%5c", "..", ":", "javascript:", "%2f", "@", "?"), {
          maxLength: 8,
        }),
        (pieces) => {
          const path = `/${pieces.join("")}`;
          const location = withSlash(path, "?a=b");
          expect(location.startsWith("./")).toBe(true);
          expect(new URL(location, `http://good.example${path.startsWith("//") ? `/.${path}` : path}`).host).toBe(
            "good.example",
          );
        },
      ),
    );
    expect(withSlash("/static/my docs", "?x")).toBe("./my%20docs/?x");
    expect(withSlash("/a/b:c", "")).toBe("./b%3Ac/");
  });
});

describe("Range", () => {
  const read = (value: string, size = 100) => {
    const ranges = rangesOf(value, size);
    return ranges.kind === "parts"
      ? ranges.parts.map(({ start, end }) => `${start}-${end - 1}`).join(",")
      : ranges.kind;
  };
  it.each([
    ["bytes=0-0", "0-0"],
    ["bytes=0-", "0-99"],
    ["bytes=90-1000", "90-99"],
    ["bytes=-10", "90-99"],
    ["bytes=-1000", "0-99"],
    ["bytes=99-", "99-99"],
    ["Bytes = 5-6", "5-6"],
    ["bytes=0-0, 5-6 ,-1", "0-0,5-6,99-99"],
    ["bytes=0-0,200-", "0-0"],
    ["bytes=,0-1,,", "0-1"],
    ["bytes=100-", "none"],
    ["bytes=-0", "none"],
    ["bytes=200-300,400-", "none"],
    ["bytes=", "whole"],
    ["bytes=-", "whole"],
    ["bytes=a-b", "whole"],
    ["bytes=5-4", "whole"],
    ["bytes=0-1,5-4", "whole"],
    ["bytes=0-99999999999999999999", "whole"],
    ["lines=0-1", "whole"],
    ["0-1", "whole"],
    ["bytes=0-,0-", "whole"],
    ["bytes=0-60,40-99", "whole"],
  ])("%s of 100 bytes is %s", (value, parts) => expect(read(value)).toBe(parts));

  it("of an empty file is ignored, and no range is the whole file", () => {
    expect(read("bytes=0-", 0)).toBe("none");
    expect(rangesOf(undefined, 5).kind).toBe("whole");
  });

  it("has a limited number of parts", () => {
    const parts = (count: number) => read(`bytes=${Array.from({ length: count }, (_, at) => `${at}-${at}`).join(",")}`);
    expect(parts(MAX_RANGES).split(",")).toHaveLength(MAX_RANGES);
    expect(parts(MAX_RANGES + 1)).toBe("whole");
    expect(parts(5000)).toBe("whole");
  });

  it("never exceeds the file", () => {
    const spec = fc
      .tuple(fc.nat(300), fc.nat(300))
      .map(([a, b]) => fc.sample(fc.constantFrom(`${a}-${b}`, `${a}-`, `-${b}`), 1)[0]);
    fc.assert(
      fc.property(fc.array(spec, { maxLength: 20 }), fc.nat(200), (specs, size) => {
        const ranges = rangesOf(`bytes=${specs.join(",")}`, size);
        if (ranges.kind !== "parts") return;
        let total = 0;
        for (const { start, end } of ranges.parts) {
          expect(start >= 0 && start < end && end <= size).toBe(true);
          total += end - start;
        }
        expect(total).toBeLessThanOrEqual(size);
      }),
    );
  });
});

describe("Accept-Encoding", () => {
  const all = ["br", "zstd", "gzip"] as const;
  it.each([
    [null, ""],
    ["", ""],
    ["gzip", "gzip"],
    ["gzip, deflate, br, zstd", "br,zstd,gzip"],
    ["br;q=0.5, gzip;q=0.8", "gzip,br"],
    ["br;q=0, gzip", "gzip"],
    ["*", "br,zstd,gzip"],
    ["*;q=0", ""],
    ["gzip;q=0, *", "br,zstd"],
    ["identity, gzip;q=0.5", ""],
    ["identity;q=0.5, gzip;q=0.5", "gzip"],
    ["identity;q=0, gzip;q=0.1", "gzip"],
    ["x-gzip", "gzip"],
    ["GZIP ; Q=0.3", "gzip"],
    ["gzip;q=2", ""],
    ["br;foo=1, gzip", "gzip"],
    ["\u0000, gzip", "gzip"],
  ])("%s accepts %s", (value, codings) => expect(acceptedEncodings(value, all).join(",")).toBe(codings));

  it("accepts only what is offered, and reads only a bounded list", () => {
    expect(acceptedEncodings("br, gzip", ["gzip"])).toEqual(["gzip"]);
    expect(acceptedEncodings(`${"a,".repeat(100_000)}gzip`, all)).toEqual([]);
  });
});

const FACTS = { size: 100, mtimeMs: 1_700_000_000_500, ctimeMs: 1_700_000_000_500.25, ino: 7, dev: 1 };
const LATER = FACTS.ctimeMs + 60_000;
const validators = validatorsOf(FACTS, LATER);
const { etag, lastModified } = validators;
const BEFORE = new Date(validators.lastModifiedMs - 1000).toUTCString();
const AFTER = new Date(validators.lastModifiedMs + 1000).toUTCString();

describe("validators", () => {
  it("differ if anything differs that a change of the content changes", () => {
    const tags = [{}, { size: 101 }, { ctimeMs: FACTS.ctimeMs + 0.25 }, { ino: 8 }].map(
      (change) => validatorsOf({ ...FACTS, ...change }, LATER).etag,
    );
    tags.push(validatorsOf(FACTS, LATER, "br").etag);
    expect(new Set(tags).size).toBe(tags.length);
    for (const tag of tags) expect(tag).toMatch(/^"[\w-]+"$/);
  });

  it("do not reveal their input, and are the same in every process", () => {
    expect(etag).toBe('"1n012e01xd5xwp01dh90q0vudyvi"');
    const facts = { ...FACTS, ino: 1_234_567, size: 7_654_321 };
    const tag = validatorsOf(facts, LATER).etag;
    for (const number of [facts.ino, facts.size, facts.ctimeMs * 1000]) {
      for (const radix of [10, 16, 36]) expect(tag).not.toContain(number.toString(radix));
    }
    const many = Array.from({ length: 50_000 }, (_, ino) => validatorsOf({ ...FACTS, ino }, LATER).etag);
    expect(new Set(many).size).toBe(many.length);
    // Similar inputs share no part of their validators.
    expect(new Set(many.map((each) => each.slice(1, 8))).size).toBeGreaterThan(49_900);
  });

  it("are weak until a further change would have a later time, and are otherwise the same", () => {
    expect(validatorsOf(FACTS, FACTS.ctimeMs + 10).etag).toBe(`W/${etag}`);
    expect(validatorsOf(FACTS, FACTS.ctimeMs + 100).etag).toBe(etag);
    const coarse = { ...FACTS, ctimeMs: 1_700_000_001_000 };
    expect(validatorsOf(coarse, coarse.ctimeMs + 2000).isStrong).toBe(false);
    expect(validatorsOf(coarse, coarse.ctimeMs + 3000).isStrong).toBe(true);
    expect(validatorsOf(FACTS, FACTS.ctimeMs - 5000).isStrong).toBe(false);
  });

  it("have no time in the future", () => {
    expect(validatorsOf({ ...FACTS, mtimeMs: LATER + 1e9 }, LATER).lastModifiedMs).toBeLessThanOrEqual(LATER);
  });

  it("detect a replaced file, and recognize the same file", () => {
    expect(isSameFile(FACTS, { ...FACTS })).toBe(true);
    for (const key of Object.keys(FACTS) as (keyof typeof FACTS)[]) {
      expect(isSameFile(FACTS, { ...FACTS, [key]: FACTS[key] + 1 }), key).toBe(false);
    }
  });
});

describe("conditions", () => {
  it.each([
    [{}, "perform"],
    [{ "if-none-match": etag }, "notModified"],
    [{ "if-none-match": `W/${etag}` }, "notModified"],
    [{ "if-none-match": `"a", ${etag}` }, "notModified"],
    [{ "if-none-match": `"a,b", ,${etag}` }, "notModified"],
    [{ "if-none-match": "*" }, "notModified"],
    [{ "if-none-match": '"a"' }, "perform"],
    [{ "if-none-match": "" }, "perform"],
    [{ "if-none-match": etag.slice(1, -1) }, "perform"],
    [{ "if-none-match": '"a"', "if-modified-since": lastModified }, "perform"],
    [{ "if-modified-since": lastModified }, "notModified"],
    [{ "if-modified-since": AFTER }, "notModified"],
    [{ "if-modified-since": BEFORE }, "perform"],
    [{ "if-modified-since": "yesterday" }, "perform"],
    [{ "if-match": etag }, "perform"],
    [{ "if-match": "*" }, "perform"],
    [{ "if-match": `"a", ${etag}` }, "perform"],
    [{ "if-match": `W/${etag}` }, "failed"],
    [{ "if-match": '"a"' }, "failed"],
    [{ "if-match": etag, "if-unmodified-since": BEFORE }, "perform"],
    [{ "if-match": etag, "if-none-match": etag }, "notModified"],
    [{ "if-match": '"a"', "if-none-match": etag }, "failed"],
    [{ "if-unmodified-since": lastModified }, "perform"],
    [{ "if-unmodified-since": AFTER }, "perform"],
    [{ "if-unmodified-since": BEFORE }, "failed"],
    [{ "if-unmodified-since": "tomorrow" }, "perform"],
  ])("%j: %s", (fields: Record<string, string>, verdict) =>
    expect(evaluateConditions((name) => fields[name], validators)).toBe(verdict),
  );

  it("do not match a weak ETag for If-Match", () => {
    const weak = validatorsOf(FACTS, FACTS.ctimeMs + 1);
    expect(evaluateConditions((name) => (name === "if-match" ? weak.etag : null), weak)).toBe("failed");
    expect(evaluateConditions((name) => (name === "if-none-match" ? weak.etag : null), weak)).toBe("notModified");
  });

  it.each([
    [undefined, true],
    [etag, true],
    [`W/${etag}`, false],
    ['"a"', false],
    [lastModified, true],
    [BEFORE, false],
    [AFTER, false],
    ["nonsense", false],
  ])("If-Range %s: %s", (value, isWanted) => expect(isRangeWanted(() => value, validators, LATER)).toBe(isWanted));

  it("treat a date as weak within its own second", () => {
    expect(isRangeWanted(() => lastModified, validators, validators.lastModifiedMs + 999)).toBe(false);
  });

  it("read a date in its three formats", () => {
    const time = Date.UTC(1994, 10, 6, 8, 49, 37);
    expect(dateOf("Sun, 06 Nov 1994 08:49:37 GMT")).toBe(time);
    expect(dateOf("Sunday, 06-Nov-94 08:49:37 GMT")).toBe(time);
    expect(dateOf("Sun Nov  6 08:49:37 1994")).toBe(time);
    for (const other of [
      "1994-11-06",
      "784111777",
      "Sun, 06 Nov 1994 08:49:37 +0100",
      "Sun, 99 Nov 1994 08:49:37 GMT",
    ]) {
      expect(dateOf(other)).toBeUndefined();
    }
  });
});

describe("Cache-Control", () => {
  const by = (cacheControl: Record<string, string>, immutable = false) =>
    cacheControlBy({ ...STATIC_DEFAULTS, cacheControl, immutable });

  it.each([
    ["*.html", "index.html", true],
    ["*.html", "docs/index.html", true],
    ["*.html", "indexxhtml", false],
    ["assets/*", "assets/a.js", true],
    ["assets/*", "assets/b/a.js", false],
    ["assets/**", "assets/b/a.js", true],
    ["/assets/**", "assets/a.js", true],
    ["**/a.js", "a.js", true],
    ["**/a.js", "x/y/a.js", true],
    ["*", "x/y", true],
    ["a+(b)", "a+(b)", true],
  ])("of the pattern %s for %s: %s", (pattern, path, fits) =>
    expect(by({ [pattern]: "no-cache" })(path) === "no-cache").toBe(fits),
  );

  it("is that of the first pattern that matches", () => {
    const of = by({ "*.html": "no-cache", "*": "max-age=60" });
    expect([of("a.html"), of("a.css")]).toEqual(["no-cache", "max-age=60"]);
    expect(by({})("a.css")).toBeUndefined();
  });

  it.each([
    "app.3f9a1c2b.js",
    "js/index-BwDk2Fa1.css",
    "a-b-BwDk2Fa1.js",
    "x.1234567890abcdef.min.js",
    "f-d3F_a-9Bk1.woff2",
    "a.3f9a1c2b.js.map",
  ])("treats %s as hashed", (name) => expect(isHashed(name)).toBe(true));
  it.each([
    "app.js",
    "report-20240101.pdf",
    "jquery-3.7.1.js",
    "background.png",
    "a.deadbeef.js",
    "hello-WorldAgain.js",
    "3f9a1c2b",
    "x.3f9a1c2.js",
  ])("does not treat %s as hashed", (name) => expect(isHashed(name)).toBe(false));

  it("is immutable for hashed names, with precedence over the patterns, if configured", () => {
    expect(by({ "*": "no-cache" }, true)("app.3f9a1c2b.js")).toContain("immutable");
    expect(by({ "*": "no-cache" }, true)("app.js")).toBe("no-cache");
    expect(by({ "*": "no-cache" })("app.3f9a1c2b.js")).toBe("no-cache");
  });
});

describe("the metadata of a file", () => {
  it.each([
    ["a.html", "text/html; charset=utf-8"],
    ["a.css", "text/css; charset=utf-8"],
    ["a.js", "text/javascript; charset=utf-8"],
    ["a.mjs", "text/javascript; charset=utf-8"],
    ["a.json", "application/json; charset=utf-8"],
    ["a.txt", "text/plain; charset=utf-8"],
    ["a.xml", "text/xml"],
    ["a.svg", "image/svg+xml"],
    ["A.PNG", "image/png"],
    ["a.woff2", "font/woff2"],
    ["a.wasm", "application/wasm"],
    ["html", "application/octet-stream"],
    ["a.nobody-knows", "application/octet-stream"],
  ])("%s is %s", (name, type) => expect(mediaTypeOf(name).value).toBe(type));

  it("has compressed variants searched only where compression is worthwhile", () => {
    const compressible = ["a.html", "a.js", "a.svg", "a.wasm", "a.json"].map(
      (name) => mediaTypeOf(name).isCompressible,
    );
    const others = ["a.png", "a.jpg", "a.woff2", "a.mp4", "a.zip", "a"].map((name) => mediaTypeOf(name).isCompressible);
    expect([...new Set(compressible), ...new Set(others)]).toEqual([true, false]);
  });

  it("is escaped in the listing of a folder", () => {
    const evil = `"><script>alert('1')</script>&javascript:x`;
    const page = listingPage(`/${evil}/`, [{ name: evil, isFolder: false }], false, true);
    expect(page).not.toContain("<script>");
    expect(page).not.toMatch(/href="(?!\.)/);
    expect(escapeHtml(evil)).not.toMatch(/[<>"']/);
    expect(listingPage("/", [], true, false)).toContain("and more");
  });
});

it("a listing has no Paceline configuration, and dotfiles only if they are shown", () => {
  const folder = mkdtempSync(join(tmpdir(), "pl-listing-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const name of [".env", "a.css", "paceline.toml", "shop.paceline.config.mjs"])
    writeFileSync(join(folder, name), "");
  const names = (dotfiles: boolean) => readListing(folder, dotfiles).names.map(({ name }) => name);
  expect([names(false), names(true)]).toEqual([["a.css"], [".env", "a.css"]]);
});
