/** The examples of docs/contrib.md run as printed, from an app's own node_modules. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { ask, Program, type RuntimeName } from "./harness.js";

const PACKAGE = new URL("../../supervisor", import.meta.url).pathname;
const PAGE = readFileSync(new URL("../../../docs/contrib.md", import.meta.url), "utf8");
const EXAMPLES = new Map([...PAGE.matchAll(/```ts\n\/\/ (\S+)\n([\s\S]*?)```/g)].map(([, name, code]) => [name, code]));

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe(`docs/contrib.md on ${runtime}`, () => {
    let directory: string;
    let program: Program | undefined;
    beforeAll(() => {
      directory = mkdtempSync(join(tmpdir(), "paceline-docs-"));
      const link = join(directory, "node_modules/paceline");
      mkdirSync(dirname(link), { recursive: true });
      symlinkSync(PACKAGE, link);
    });
    afterEach(() => program?.end());
    afterAll(() => rmSync(directory, { recursive: true, force: true }));

    async function start(name: string) {
      const code = (EXAMPLES.get(name) as string).replace("./uploads", join(directory, "uploads"));
      const path = join(directory, name);
      writeFileSync(path, code);
      program = new Program(runtime, [path, "--port", "0"]);
      const line = await program.line(/^listening/);
      return { program, target: { host: "127.0.0.1", port: Number(/:(\d+)$/.exec(line)?.[1]) } };
    }

    it("has only examples that run here", () => {
      expect([...EXAMPLES.keys()]).toEqual(["together.ts", "compression.ts", "access-log.ts", "upload.ts"]);
    });

    it("combines the functions", async () => {
      const { program, target } = await start("together.ts");
      expect((await ask(target, "/a", { headers: { "accept-encoding": "gzip" } })).body).toBe('{"hello":"world"}');
      expect(JSON.parse(await program.line(/^\{/))).toMatchObject({ target: "/a", status: 200, bytes: 17 });
    });

    it("compresses", async () => {
      const { target } = await start("compression.ts");
      const { headers, body } = await ask(target, "/", { headers: { "accept-encoding": "gzip" } });
      expect(headers).toMatchObject({ "content-encoding": "gzip", vary: "Accept-Encoding" });
      expect(Number(headers["content-length"])).toBeLessThan(300);
      expect(body).not.toContain("Paceline");
    });

    it("logs", async () => {
      const { program, target } = await start("access-log.ts");
      await ask(target, "/a?b");
      expect(await program.line(/^127/)).toMatch(/"GET \/a\?b HTTP\/1\.1" 200 6 "-" "-"$/);
    });

    it("accepts uploads", async () => {
      const { target } = await start("upload.ts");
      expect((await ask(target, "/")).body).toBe("POST a form\n");
      const body = '--b\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\nabc\r\n--b--\r\n';
      const headers = { "content-type": "multipart/form-data; boundary=b" };
      expect((await ask(target, "/", { method: "POST", headers, body })).body).toBe(
        '{"fields":[],"files":[{"originalName":"a.txt","bytes":3}]}',
      );
    });
  });
}
