/** Files from within an app: `serveStatic` as a fetch handler and as a Node handler, alone and behind a balancer. */
import { readdirSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { serveStatic } from "../src/index.js";
import { ask, eventually, fixture, Program, type RuntimeName, type Target } from "./harness.js";
import { startOverLane } from "./lane-harness.js";
import { BIG_BYTES, makeSite, settled } from "./static-harness.js";

const site = makeSite();
const whole = "0123456789abcdef".repeat(BIG_BYTES / 16);
beforeAll(() => settled());
afterAll(() => site.remove());

interface Running {
  target: Target;
  pid: number;
  close(): Promise<void>;
}

async function alone(runtime: RuntimeName, app: string): Promise<Running> {
  const program = new Program(runtime, [fixture(app), "--port", "0"], { SITE_ROOT: site.root });
  const port = Number(/:(\d+)$/.exec(await program.line(/^listening on /))?.[1]);
  return {
    target: { host: "127.0.0.1", port },
    pid: program.child.pid as number,
    close: () => program.end(),
  };
}

async function lane(runtime: RuntimeName): Promise<Running> {
  const started = await startOverLane(runtime, "static-fetch.mjs", {}, { SITE_ROOT: site.root });
  return { target: started.target, pid: started.program.child.pid as number, close: started.close };
}

const openFiles = (pid: number) =>
  readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(site.root);
    } catch {
      return false; // It was closed in the meantime.
    }
  }).length;

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  const ways: [string, () => Promise<Running>][] = [
    ["a fetch app alone", () => alone(runtime, "static-fetch.mjs")],
    ["a fetch app over the lane", () => lane(runtime)],
    ["a Node app", () => alone(runtime, "static-node.mjs")],
  ];
  describe.each(ways)(`files from ${runtime}, %s`, (_, start) => {
    let running: Running;
    beforeAll(async () => {
      running = await start();
    });
    afterAll(() => running.close());

    it("are sent with the fields that the app adds, and the app handles other requests", async () => {
      const get = (path: string, headers = {}) => ask(running.target, path, { headers });
      expect((await get("/")).body).toBe("the app");
      for (const path of ["/static/data.json", "/static/middle.bin", "/static/big.bin"]) {
        const { status, headers, body } = await get(path);
        expect([status, headers["x-app"], headers["content-length"]]).toEqual([200, "was here", `${body.length}`]);
        expect(headers.etag).toMatch(/^"/);
        expect((await get(path, { "if-none-match": headers.etag })).status).toBe(304);
      }
      expect((await get("/static/big.bin")).body).toBe(whole);
      const range = await get("/static/big.bin", { range: "bytes=10-600009" });
      expect([range.status, range.body === whole.slice(10, 600_010)]).toEqual([206, true]);
      expect((await get("/static/docs")).headers.location).toBe("./docs/");
      expect((await get("/static")).headers.location).toBe("./static/");
      expect((await get("/static/")).body).toBe("<h1>root</h1>\n");
      expect((await ask(running.target, "/static/big.bin", { method: "HEAD" })).headers["content-length"]).toBe(
        `${BIG_BYTES}`,
      );
    });

    it("are not kept open by responses that the app changes", async () => {
      for (let n = 0; n < 5; n++) {
        const wrapped = await ask(running.target, "/static/big.bin", { headers: { "x-wrap": "1" } });
        expect(wrapped.body.length === BIG_BYTES && wrapped.body === whole).toBe(true);
      }
      await eventually("all files to be closed", () => openFiles(running.pid) === 0 || undefined);
    });
  });
}

describe("serveStatic", () => {
  it("reports a missing folder immediately", () => {
    expect(() => serveStatic(`${site.root}/gone`)).toThrow(/there is no folder .*gone/);
    expect(() => serveStatic(`${site.root}/a.css`)).toThrow(expect.objectContaining({ code: "static-unusable" }));
  });
});
