/** The access log of a standalone server, and of an app that writes one itself; and write errors. */
import { execFileSync, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it as test } from "vitest";
import {
  ask,
  eventually,
  fixture,
  Program,
  programOf,
  type Received,
  type RuntimeName,
  type Standalone,
  startAlone,
  Wire,
  within,
} from "./harness.js";
import { startOverLane } from "./lane-harness.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;

const BIN = new URL("../../supervisor/dist/programs/server/bin.js", import.meta.url).pathname;

type Entry = Record<string, unknown>;

/** Returns the entry of the request with this path. */
function entryFor(lines: () => string[], target: string): Promise<Entry> {
  return eventually(`an entry of ${target}`, () => {
    const line = lines().find((text) => text.startsWith("{") && JSON.parse(text).target === target);
    return line === undefined ? undefined : (JSON.parse(line) as Entry);
  });
}

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe.concurrent(`the access log on ${runtime}`, () => {
    let directory: string;
    let file: string;
    let server: Standalone | undefined;
    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), "paceline-log-"));
      file = join(directory, "access.log");
    });
    afterEach(async () => {
      await server?.close();
      server = undefined;
      rmSync(directory, { recursive: true, force: true });
    });
    const lines = () => readFileSync(file, "utf8").split("\n").slice(0, -1);
    const serve = async (app: string, ...args: string[]) => {
      server = await startAlone(runtime, "tcp", app, args);
      return server;
    };

    interface Logged {
      server: Standalone;
      lines: () => string[];
    }
    const own = (server: Standalone): Logged => ({ server, lines: () => server.program.output });
    const kept = mkdtempSync(join(tmpdir(), "paceline-log-"));
    const starts: Record<string, () => Promise<Logged>> = {
      "of paceline serve": async () => {
        const path = join(kept, "access.log");
        const args = ["--access-log", "json", "--access-log-file", path];
        const server = await startAlone(runtime, "tcp", "logged-plain.mjs", args);
        return { server, lines: () => readFileSync(path, "utf8").split("\n").slice(0, -1) };
      },
      "of an app alone": async () => own(await startAlone(runtime, "tcp", "logged.mjs")),
      "of an app over the lane": async () => own(await startOverLane(runtime, "logged.mjs")),
    };
    const kinds = Object.keys(starts);
    const PLAIN_PATHS = ["/text", "/blob", "/stream", "/large"];
    /** The responses without a log, over the lane and alone. */
    const plain = new Map<boolean, Promise<Received[]>>();
    const askPlain = async (isLane: boolean) => {
      const app = "logged-plain.mjs";
      const started = await (isLane ? startOverLane(runtime, app) : startAlone(runtime, "tcp", app));
      try {
        return await Promise.all(PLAIN_PATHS.map((path) => ask(started.target, path)));
      } finally {
        await started.close();
      }
    };
    /** One server of each kind, for all tests. */
    const running = new Map<string, Promise<Logged>>();
    const loggedBy = (kind: string): Promise<Logged> => {
      const logged = running.get(kind) ?? (starts[kind] as () => Promise<Logged>)();
      running.set(kind, logged);
      return logged;
    };
    afterAll(async () => {
      for (const each of running.values()) await (await each).server.close();
      rmSync(kept, { recursive: true, force: true });
    });

    it.each(kinds)("%s has an entry for each request, with the size of the sent response", async (kind) => {
      const { server, lines } = await loggedBy(kind);
      const headers = { "user-agent": 'a"b', referer: "http://r/", "x-request-id": "id-1" };
      for (const path of ["/text", "/bytes", "/blob", "/stream", "/iterable", "/large"]) {
        await ask(server.target, `${path}?q=1`, { headers });
      }
      for (const [path, bytes] of [
        ["/text", 4],
        ["/bytes", 3],
        ["/blob", 9],
        ["/stream", 15],
        ["/iterable", 7],
        ["/large", 3_000_000],
      ] as const) {
        const entry = await entryFor(lines, `${path}?q=1`);
        expect(entry).toMatchObject({
          method: "GET",
          status: 200,
          bytes,
          outcome: "whole",
          protocol: "http",
          clientAddress: "127.0.0.1",
          userAgent: 'a"b',
          referer: "http://r/",
        });
        expect(entry.durationMs).toBeGreaterThanOrEqual(0);
        expect(String(entry.host)).toMatch(/^127\.0\.0\.1/);
      }
      expect(await entryFor(lines, "/stream?q=1")).toMatchObject({ requestId: expect.any(String) });
      await ask(server.target, "/text?head", { method: "HEAD" });
      await ask(server.target, "/nothing");
      expect(await entryFor(lines, "/text?head")).toMatchObject({ method: "HEAD", bytes: 0, status: 200 });
      expect(await entryFor(lines, "/nothing")).toMatchObject({ bytes: 0, status: 204 });
    });

    it.each(kinds)("%s does not change the responses", async (kind) => {
      const { server } = await loggedBy(kind);
      const logged = await Promise.all(PLAIN_PATHS.map((path) => ask(server.target, path)));
      const isLane = kind.endsWith("lane");
      const expected = plain.get(isLane) ?? askPlain(isLane);
      plain.set(isLane, expected);
      for (const [at, { body, headers }] of (await expected).entries()) {
        expect(logged[at]?.body.length).toBe(body.length);
        for (const name of ["content-type", "x-a"]) {
          const value = (of: Entry) => String(of[name]).toLowerCase();
          expect(value(logged[at]?.headers as Entry), `${name} of ${PLAIN_PATHS[at]}`).toBe(value(headers));
        }
      }
      expect(logged[3]?.headers["content-length"]).toBe("3000000");
    });

    it.each(kinds)("%s reports what was aborted and what failed", async (kind) => {
      const { server, lines } = await loggedBy(kind);
      const gone = new Wire(server.target).send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n");
      await server.program.line(/^# waits began/);
      gone.destroy();
      expect(await entryFor(lines, "/waits")).toMatchObject({ outcome: "aborted" });
      for (const path of ["/endless", "/endless-stream"]) {
        const wire = new Wire(server.target).send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
        await wire.gets(/aaaa/);
        wire.destroy();
        const entry = await entryFor(lines, path);
        expect(entry).toMatchObject({ outcome: "aborted", status: 200 });
        expect(entry.bytes).toBeGreaterThan(0);
      }
      await ask(server.target, "/throws");
      await ask(server.target, "/rejects");
      await ask(server.target, "/fails-midway").catch(() => undefined);
      expect(await entryFor(lines, "/throws")).toMatchObject({ outcome: "failed", status: 500 });
      expect(await entryFor(lines, "/rejects")).toMatchObject({ outcome: "failed", status: 500 });
      expect(await entryFor(lines, "/fails-midway")).toMatchObject({ outcome: "failed", status: 200, bytes: 5 });
    });

    it("of a (req, res) app has the bytes of its body", async () => {
      const { target } = await serve("node-handler.js", "--access-log", "json", "--access-log-file", file);
      const { body } = await ask(target, "/");
      expect(await entryFor(lines, "/")).toMatchObject({ status: 200, bytes: body.length, outcome: "whole" });
    });

    it("can be written in the format of Apache, is readable only by its owner, and has its last line when the server stops", async () => {
      const { target, program } = await serve("behaviours.mjs", "--access-log", "combined", "--access-log-file", file);
      expect(statSync(file).mode & 0o777).toBe(0o600);
      await ask(target, "/text", { headers: { "user-agent": "a\tb\x80" } });
      program.kill("SIGTERM");
      await program.exited;
      expect(lines()).toEqual([
        expect.stringMatching(/^127\.0\.0\.1 - - \[[^\]]+ \+0000\] "GET \/text HTTP\/1\.1" 200 4 "-" "a\\x09b\\x80"$/),
      ]);
    });

    it("costs lines and no request when the disk is full", async () => {
      const { target, program } = await serve(
        "behaviours.mjs",
        "--access-log",
        "json",
        "--access-log-file",
        "/dev/full",
      );
      for (let n = 0; n < 3; n++) expect((await ask(target, "/text")).body).toBe("text");
      await program.line(/^the access log loses lines: ENOSPC$/);
      expect((await ask(target, "/text")).body).toBe("text");
      program.kill("SIGTERM");
      expect(await program.exited).toEqual({ code: 0, signal: null });
    });

    it.each(["closed", "stuck"])("costs lines and no request when stdout is a pipe that is %s", async (how) => {
      const path = join(directory, "app.sock");
      const args = [BIN, fixture("behaviours.mjs"), "--socket", path, "--access-log", "json"];
      const pipe = join(directory, "pipe");
      execFileSync("mkfifo", [pipe]);
      // Opened for reading and writing: while it is open the pipe has a reader, which never reads.
      const stuck = openSync(pipe, "r+");
      const child = spawn(programOf(runtime), args, { stdio: ["ignore", how === "stuck" ? stuck : "pipe", "ignore"] });
      const exited = new Promise((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
      try {
        child.stdout?.destroy();
        const long = "a".repeat(8000);
        await eventually("an answer", () => ask({ path }, "/text").catch(() => undefined));
        // More than a pipe holds.
        for (let n = 0; n < 40; n++) expect((await ask({ path }, `/text?${long}`)).body).toBe("text");
        child.kill("SIGTERM");
        expect(await within(exited, "the exit")).toEqual({ code: 0, signal: null });
      } finally {
        child.kill("SIGKILL");
        closeSync(stuck);
        await exited;
      }
    });

    it("is rejected where it is not possible", async () => {
      const run = async (...args: string[]) => {
        const program = new Program(runtime, [fixture("behaviours.mjs"), "--port", "0", ...args]);
        const { code } = await program.exited;
        return { code, output: program.output.join("\n") };
      };
      expect(await run("--access-log", "xml")).toEqual({
        code: 2,
        output: "paceline: --access-log takes combined or json",
      });
      expect((await run("--access-log-file", file)).code).toBe(2);
      const missing = join(directory, "missing", "access.log");
      expect(await run("--access-log", "json", "--access-log-file", missing)).toMatchObject({
        code: 1,
        output: expect.stringMatching(/^paceline: cannot write to .*ENOENT/),
      });
    });
  });
}
