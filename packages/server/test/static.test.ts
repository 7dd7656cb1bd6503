/** A served folder: hostile paths, precompressed files, folders, changes during a transfer, and no file left open. */
import { mkdtempSync, readdirSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask, eventually, type RuntimeName, Wire } from "./harness.js";
import { BIG_BYTES, makeSite, type Served, serveSite, settled, WAYS } from "./static-harness.js";

const site = makeSite();
/** A folder with very many entries. */
let root: string | undefined;
beforeAll(() => settled());
afterAll(() => {
  site.remove();
  if (root !== undefined) rmSync(root, { recursive: true, force: true });
});

/** Creates a folder in memory if possible: on a busy disk, ten thousand links take seconds. */
function makeFolder(): string {
  try {
    return mkdtempSync("/dev/shm/pl-static-");
  } catch {
    return mkdtempSync(join(tmpdir(), "pl-static-"));
  }
}

/** Returns a process's open descriptors of the site's files. */
function openFiles(pid: number): string[] {
  const { readlinkSync } = process.getBuiltinModule("node:fs");
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/${pid}/fd/${fd}`);
      return target.startsWith(site.root) ? [target] : [];
    } catch {
      return []; // It was closed in the meantime.
    }
  });
}

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe.each(WAYS)(`a folder of files on ${runtime}, %s`, (way) => {
    let served: Served;
    beforeAll(async () => {
      served = await serveSite(runtime, way, site.root);
    });
    afterAll(() => served.close());
    const raw = async (target: string, more = "") => {
      const wire = new Wire(served.target);
      wire.send(`GET ${target} HTTP/1.1\r\nHost: a\r\n${more}Connection: close\r\n\r\n`);
      const text = await wire.closed();
      wire.destroy();
      return text;
    };

    it.each([
      "/../outside/secret.txt",
      "/..%2foutside/secret.txt",
      "/%2e%2e/outside/secret.txt",
      "/%2e%2e%2foutside%2fsecret.txt",
      "/docs/../../outside/secret.txt",
      "/..\\outside\\secret.txt",
      "/..%5coutside%5csecret.txt",
      "//../outside/secret.txt",
      "/docs/up/secret.txt",
      "/outside/secret.txt",
      "/out.txt",
      "/outside/",
      "/outside",
      "/.env",
      "/%2eenv",
      "/.git/config",
      "/.git/",
      "/a.css%00.html",
      "/a.css\0",
      "/a.css%",
      "/a.css%zz",
      "/%c0%ae%c0%ae/outside/secret.txt",
      "/\xff",
      `/${"a".repeat(300)}`,
      `/${"a/".repeat(3000)}`,
      "/a.css/",
      "/a.css/..%2f..%2foutside/secret.txt",
      "http://a/../outside/secret.txt",
      "*",
      "",
    ])("serves nothing for %j", async (target) => {
      const text = await raw(target);
      expect(text).not.toContain("secret");
      expect(text).toMatch(/^(?:HTTP\/1\.[01] (?:400|403|404|405|414|431|505) |$)/);
    });

    it.each([
      "//evil.com/..",
      "//evil.com",
      "/\\evil.com",
      "/%5cevil.com",
      "//evil.com/%2e%2e",
      "//docs",
      "/docs",
      "/docs?//evil.com",
      "/docs#//evil.com",
    ])("redirects nobody to another host for %j", async (target) => {
      const [, location] = /^location: (.*)$/im.exec(await raw(target)) ?? [];
      if (location === undefined) return;
      expect(location).toMatch(/^\.\/docs\//);
    });

    it("redirects to the folder's own address, and keeps the query", async () => {
      const { status, headers } = await ask(served.target, "/docs?a=b");
      expect([status, headers.location]).toEqual([301, "./docs/?a=b"]);
      expect((await ask(served.target, "/sp%20ace?x")).headers.location).toBe("./sp%20ace/?x");
      expect((await ask(served.target, "/docs/")).body).toBe("<h1>docs</h1>\n");
      expect((await ask(served.target, "/empty/")).status).toBe(404);
    });

    it("serves what lies in .well-known, and links that stay inside", async () => {
      expect((await ask(served.target, "/.well-known/security.txt")).body).toContain("Contact");
      expect((await ask(served.target, "/inside.css")).status).toBe(200);
    });

    it("responds to other methods with 405, and says which it accepts", async () => {
      for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
        const { status, headers } = await ask(served.target, "/a.css", { method });
        expect([status, headers.allow], method).toEqual([405, "GET, HEAD"]);
      }
    });

    it("forbids clients to guess a type, whatever it responds", async () => {
      const asked: [number, string, Parameters<typeof ask>[2]][] = [
        [200, "/a.css", {}],
        [200, "/a.css", { method: "HEAD" }],
        [200, "/big.bin", {}],
        [200, "/docs/", {}],
        [200, "/a.js", { headers: { "accept-encoding": "gzip" } }],
        [206, "/a.css", { headers: { range: "bytes=0-1" } }],
        [206, "/a.css", { headers: { range: "bytes=0-1,5-6" } }],
        [404, "/.env", {}],
        [404, "/none", {}],
        [405, "/a.css", { method: "POST" }],
      ];
      for (const [wanted, path, how] of asked) {
        const { status, headers } = await ask(served.target, path, how);
        expect([status, headers["x-content-type-options"]], `${how?.method ?? "GET"} ${path}`).toEqual([
          wanted,
          "nosniff",
        ]);
      }
    });

    it("sends several ranges as parts", async () => {
      const headers = { range: "bytes=0-3, 10-12,-2" };
      for (const path of ["/data.json", "/a.css", "/middle.bin", "/big.bin"]) {
        const whole = (await ask(served.target, path)).body;
        const size = whole.length;
        const { status, headers: fields, body } = await ask(served.target, path, { headers });
        expect(status).toBe(206);
        const [, boundary] = /^multipart\/byteranges; boundary=(\w+)$/.exec(fields["content-type"] ?? "") ?? [];
        const parts = body.split(`--${boundary}`);
        expect(parts.at(-1)).toBe("--\r\n");
        const expected = [
          [0, 3],
          [10, 12],
          [size - 2, size - 1],
        ].filter(([start = 0]) => (start < size && size !== 7) || start !== 10);
        expect(parts.slice(1, -1).map((part) => part.split("\r\n\r\n")[1])).toEqual(
          expected.map(([start = 0, end = 0]) => `${whole.slice(start, end + 1)}\r\n`),
        );
        expected.forEach(([start, end], at) => {
          expect(parts[at + 1]).toContain(`Content-Range: bytes ${start}-${end}/${size}`);
        });
      }
    });

    it("sends large parts unchanged", async () => {
      const headers = { range: `bytes=5-400004,600000-` };
      const { body, headers: fields } = await ask(served.target, "/big.bin", { headers });
      const [, boundary] = /boundary=(\w+)$/.exec(fields["content-type"] ?? "") ?? [];
      const whole = "0123456789abcdef".repeat(BIG_BYTES / 16);
      // Extracted and compared, because searching for a repetitive text takes half a minute.
      const sent = body.split(`--${boundary}`).map((part) => part.slice(part.indexOf("\r\n\r\n") + 4));
      expect([sent[1] === `${whole.slice(5, 400_005)}\r\n`, sent[2] === `${whole.slice(600_000)}\r\n`]).toEqual([
        true,
        true,
      ]);
    });

    it("sends the whole file if there are too many ranges", async () => {
      const range = `bytes=${Array.from({ length: 40 }, (_, at) => `${at}-${at}`).join(",")}`;
      for (const path of ["/a.css", "/middle.bin", "/big.bin"]) {
        const { status, body } = await ask(served.target, path, { headers: { range } });
        expect([status, body.length]).toEqual([200, (await ask(served.target, path)).body.length]);
      }
    });

    it("sends a compressed variant to clients that accept it, with a separate ETag", async () => {
      const get = async (encoding: string, more: Record<string, string> = {}) => {
        const { status, headers, body } = await ask(served.target, "/a.js", {
          headers: { "accept-encoding": encoding, ...more },
        });
        expect(headers.vary).toBe("Accept-Encoding");
        return { status, coding: headers["content-encoding"], type: headers["content-type"], tag: headers.etag, body };
      };
      const type = "text/javascript; charset=utf-8";
      const br = await get("gzip, br;q=0.9, zstd;q=0.95");
      expect(br).toMatchObject({ coding: "gzip", type, body: "GZIPPED" });
      expect(await get("gzip, deflate, br, zstd")).toMatchObject({ coding: "br", type, body: "BROTLI" });
      const plain = await get("zstd");
      expect(plain).toMatchObject({ status: 200, coding: undefined, type });
      expect((await get("gzip;q=0")).coding).toBeUndefined();
      expect(br.tag).not.toBe(plain.tag);
      expect((await get("gzip", { "if-none-match": br.tag as string })).status).toBe(304);
      expect((await get("zstd", { "if-none-match": br.tag as string })).status).toBe(200);
      expect(await get("br", { range: "bytes=1-2" })).toMatchObject({ status: 206, coding: "br", body: "RO" });
    });

    it("sends a variant unchanged if it is requested by its own name", async () => {
      const { headers } = await ask(served.target, "/a.js.gz", { headers: { "accept-encoding": "gzip" } });
      expect([headers["content-encoding"], headers["content-type"]]).toEqual([undefined, "application/gzip"]);
    });

    it("sends a changed file immediately, changed in place or replaced, although the size and the time of modification are the same", async () => {
      const path = join(site.root, "changing.txt");
      const { utimesSync } = process.getBuiltinModule("node:fs");
      const old = new Date(1_600_000_000_000);
      const tags = new Set<string | undefined>();
      for (const [round, text] of ["one", "two", "six", "ten"].entries()) {
        const file = round % 2 === 0 ? path : `${path}.new`;
        writeFileSync(file, text);
        utimesSync(file, old, old);
        if (file !== path) renameSync(file, path);
        expect((await ask(served.target, "/changing.txt")).body).toBe(text);
        await settled();
        // Requested twice, so that it is cached.
        for (let n = 0; n < 2; n++) {
          const { body, headers } = await ask(served.target, "/changing.txt");
          expect(body).toBe(text);
          expect(headers.etag).toMatch(/^"/);
          tags.add(headers.etag);
        }
      }
      expect(tags.size).toBe(4);
      rmSync(path);
      expect((await ask(served.target, "/changing.txt")).status).toBe(404);
    });

    it("has no file open after responses that were read, rejected, or abandoned by their client", async () => {
      for (const path of ["/a.css", "/middle.bin", "/big.bin", "/docs", "/out.txt"]) {
        await ask(served.target, path);
        await ask(served.target, path, { method: "HEAD" });
        await ask(served.target, path, { headers: { range: "bytes=0-1,5-6" } });
      }
      const wires = Array.from({ length: 30 }, (_, at) => {
        const range = at % 3 === 0 ? "Range: bytes=0-1500000,1500001-\r\n" : at % 3 === 1 ? "Range: bytes=7-\r\n" : "";
        const wire = new Wire(served.target);
        wire.send(`GET /slow.bin HTTP/1.1\r\nHost: a\r\n${range}\r\n`);
        return wire;
      });
      writeFileSync(join(site.root, "slow.bin"), Buffer.alloc(10_000_000, "x"));
      const more = Array.from({ length: 30 }, () => {
        const wire = new Wire(served.target);
        wire.send("GET /slow.bin HTTP/1.1\r\nHost: a\r\n\r\n");
        return wire;
      });
      await Promise.all(more.map((wire) => wire.gets(/^HTTP/)));
      for (const wire of [...wires, ...more]) wire.destroy();
      await eventually("all files to be closed", () => openFiles(served.pid).length === 0 || undefined);
      rmSync(join(site.root, "slow.bin"));
    });

    it("never makes a file that shrinks while it is sent look complete", async () => {
      const path = join(site.root, "shrinking.bin");
      writeFileSync(path, Buffer.alloc(20_000_000, "x"));
      const wire = new Wire(served.target);
      wire.send("GET /shrinking.bin HTTP/1.1\r\nHost: a\r\n\r\n");
      await wire.gets(/\r\n\r\nx/);
      wire.pause();
      truncateSync(path, 1000);
      wire.resume();
      const text = await wire.closed();
      expect(text).toMatch(/content-length: 20000000/i);
      expect(text.length).toBeLessThan(20_000_000);
      wire.destroy();
      rmSync(path);
      expect((await ask(served.target, "/a.css")).status).toBe(200);
      await eventually("the file to be closed", () => openFiles(served.pid).length === 0 || undefined);
    });
  });

  describe(`the options of a folder on ${runtime}`, () => {
    it("list a folder, set Cache-Control, show dotfiles, follow links, and remove a prefix", async () => {
      const served = await serveSite(runtime, "lane", site.root, {
        prefix: ["/static/", "/x"],
        index: ["nope.html", "a.css"],
        listing: true,
        cacheControl: { "*.css": "no-cache", "docs/**": "max-age=5" },
        immutable: true,
        dotfiles: true,
        symlinks: "anywhere",
        precompressed: [],
      });
      try {
        const get = (path: string, headers = {}) => ask(served.target, path, { headers });
        expect((await get("/a.css")).status).toBe(404);
        expect((await get("/static/a.css")).headers["cache-control"]).toBe("no-cache");
        expect((await get("/x/a.css")).status).toBe(200);
        expect((await get("/static/docs/index.html")).headers["cache-control"]).toBe("max-age=5");
        expect((await get("/static/app.3f9a1c2b.js")).headers["cache-control"]).toContain("immutable");
        expect((await get("/static")).headers.location).toBe("./static/");
        expect((await get("/static/")).headers["content-type"]).toContain("css");
        expect((await get("/static/.env")).body).toBe("secret");
        expect((await get("/static/out.txt")).body).toBe("secret");
        const js = await get("/static/a.js", { "accept-encoding": "br" });
        expect([js.headers.vary, js.headers["content-encoding"]]).toEqual([undefined, undefined]);
        const listing = await get("/static/sp%20ace/");
        expect(listing.headers["content-type"]).toBe("text/html; charset=utf-8");
        expect(listing.body).toContain('<a href="./%C3%A4%20b.txt">ä b.txt</a>');
        expect(listing.body).toContain('<a href="../">');
      } finally {
        await served.close();
      }
    });

    it("list no more than 10,000 names of a folder, and for each whether it is a folder", async () => {
      const { mkdirSync, symlinkSync } = process.getBuiltinModule("node:fs");
      // Once for both runtimes.
      if (root === undefined) {
        root = makeFolder();
        mkdirSync(join(root, "few", "folder"), { recursive: true });
        for (const name of ["ä.txt", ".hidden"]) writeFileSync(join(root, "few", name), "");
        symlinkSync("ä.txt", join(root, "few", "link"));
        mkdirSync(join(root, "many"));
        for (let n = 0; n < 10_000; n++) symlinkSync("nowhere", join(root, "many", `${n}`));
      }
      const more = join(root, "many", "one-more");
      symlinkSync("nowhere", more);
      const served = await serveSite(runtime, "lane", root, { listing: true });
      try {
        const names = async (path: string) => {
          const { body } = await ask(served.target, path);
          return body.match(/(?<=<li>).*?(?=<\/li>)/g)?.map((row) => row.replace(/<[^>]*>/g, "")) ?? [];
        };
        expect(await names("/few/")).toEqual(["../", "folder/", "link", "ä.txt"]);
        const many = await names("/many/");
        expect([many.length, many.at(-1)]).toEqual([10_002, "… and more: only 10000 names are listed"]);
        rmSync(more);
        expect(await names("/many/")).toHaveLength(10_001);
        expect(openFiles(served.pid)).toEqual([]);
      } finally {
        await served.close();
      }
    });

    it("follow a root that is a link when the link changes", async () => {
      const { mkdirSync, symlinkSync } = process.getBuiltinModule("node:fs");
      const link = join(site.outside, `current-${runtime}`);
      for (const release of ["one", "two"]) {
        mkdirSync(join(site.outside, `${runtime}-${release}`));
        writeFileSync(join(site.outside, `${runtime}-${release}`, "index.html"), release);
      }
      symlinkSync(`${runtime}-one`, link);
      const served = await serveSite(runtime, "alone", link);
      try {
        expect((await ask(served.target, "/")).body).toBe("one");
        symlinkSync(`${runtime}-two`, `${link}.new`);
        renameSync(`${link}.new`, link);
        expect((await ask(served.target, "/")).body).toBe("two");
      } finally {
        await served.close();
      }
    });
  });
}
