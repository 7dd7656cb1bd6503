/** A standalone server: its command line, start errors, and its stop. */
import { existsSync, statSync } from "node:fs";
import { afterEach, describe, expect, it as test } from "vitest";
import {
  ask,
  fixture,
  Program,
  type RuntimeName,
  type Standalone,
  startAlone,
  type Transport,
  Wire,
} from "./harness.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;

const CHECKED: [string[], RegExp][] = [
  [[], /^paceline: name the app to serve/],
  [["a.ts", "b.ts"], /^paceline: one app at a time/],
  [["a.ts", "--port", "70000"], /^paceline: --port must be from 0 to 65535, not 70000$/],
  [["a.ts", "--port", "http"], /^paceline: --port is not a whole number: http$/],
  [["a.ts", "--max-body-bytes", "1k"], /^paceline: --max-body-bytes is not a whole number: 1k$/],
  [["a.ts", "--socket", "s", "--port", "1"], /^paceline: --socket excludes --port and --host$/],
];

/** Returns a client that has received all that was sent of a response whose end only FIN would tell. */
async function partOf({ target }: Standalone): Promise<Wire> {
  const wire = new Wire(target);
  wire.send("GET /begins HTTP/1.0\r\n\r\n");
  await wire.gets(/part\n$/);
  return wire;
}

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe.concurrent(`alone on ${runtime}`, () => {
    let server: Standalone | undefined;
    let program: Program | undefined;
    afterEach(async () => {
      await server?.close();
      await program?.end();
      server = undefined;
      program = undefined;
    });
    const run = async (...args: string[]) => {
      program = new Program(runtime, args);
      const { code } = await program.exited;
      return { code, output: program.output.join("\n") };
    };

    it("explains itself with --help", async () => {
      expect(await run("--help")).toMatchObject({ code: 0, output: expect.stringMatching(/--max-body-bytes <n>/) });
    });

    // The runtime parses the options; the code that checks them is the same.
    it.each([[["a.ts", "--prot", "1"], /^paceline: Unknown option '--prot'$/], ...(runtime === "bun" ? CHECKED : [])])(
      "exits with 2 and one line for %j",
      async (args, line) => {
        const { code, output } = await run(...args);
        expect(code).toBe(2);
        expect(output).toMatch(line);
        expect(output).not.toMatch(/\n/);
      },
    );

    it("exits with 2 and one line when the app does not exist, or contains nothing to serve", async () => {
      expect(await run("./missing.ts")).toMatchObject({ code: 2, output: expect.stringMatching(/^.*no app at.*$/) });
      const unusable = await run(fixture("no-handler.mjs"));
      expect(unusable).toMatchObject({
        code: 2,
        output: expect.stringMatching(/^paceline: .*must export by default.*$/),
      });
    });

    it("exits with 1 and the app's own error and stack when it throws while loading", async () => {
      const { code, output } = await run(fixture("throws-on-load.mjs"));
      expect(code).toBe(1);
      expect(output).toMatch(/no database/);
      expect(output).toMatch(/throws-on-load\.mjs:1/);
    });

    it("exits with 1 and names the address when it is in use", async () => {
      server = await startAlone(runtime, "tcp");
      const { port } = server.target as { port: number };
      const { code, output } = await run(fixture("behaviours.mjs"), "--port", String(port));
      expect(code).toBe(1);
      expect(output).toBe(`paceline: cannot listen on http://127.0.0.1:${port}: it is in use`);
    });

    it("rejects a socket in use, replaces a stale one, and lets only its owner use it", async () => {
      server = await startAlone(runtime, "unix");
      const { path } = server.target as { path: string };
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(await run(fixture("behaviours.mjs"), "--socket", path)).toMatchObject({
        code: 1,
        output: `paceline: cannot listen on unix:${path}: it is in use`,
      });
      await server.program.end();
      expect(existsSync(path)).toBe(true);
      program = new Program(runtime, [fixture("behaviours.mjs"), "--socket", path]);
      await program.line(/^listening/);
      expect((await ask(server.target, "/text")).body).toBe("text");
      program.kill("SIGTERM");
      await program.exited;
      expect(existsSync(path)).toBe(false);
    });

    it("loads a CommonJS app", async () => {
      server = await startAlone(runtime, "tcp", "commonjs.cjs");
      expect((await ask(server.target, "/")).body).toBe("commonjs");
    });

    it.each([
      ["/uncaught", /nobody catches this/],
      ["/unhandled", /nobody handles this/],
    ])("logs uncaught errors (%s) and exits with 1", async (path, line) => {
      server = await startAlone(runtime, "tcp");
      await ask(server.target, path).catch(() => undefined);
      expect(await server.program.exited).toEqual({ code: 1, signal: null });
      expect(server.program.output.join("\n")).toMatch(line);
    });

    const stops: [NodeJS.Signals, Transport][] = [
      ["SIGTERM", "tcp"],
      ["SIGINT", "unix"],
    ];
    it.each(stops)(
      "on %s over %s finishes requests in flight, sends Connection: close, exits with 0",
      async (signal, transport) => {
        server = await startAlone(runtime, transport);
        const idle = new Wire(server.target);
        idle.send("GET /text HTTP/1.1\r\nHost: a\r\n\r\n");
        await idle.gets(/text$/);
        const slow = ask(server.target, "/slow?ms=600");
        await server.program.line(/^# slow began/);
        server.program.kill(signal);
        await idle.closed();
        expect(await slow).toMatchObject({ status: 200, body: "slow", headers: { connection: "close" } });
        expect(await server.program.exited).toEqual({ code: 0, signal: null });
      },
    );

    it("exits at the deadline, and reports how many requests it cut off", async () => {
      server = await startAlone(runtime, "tcp", "behaviours.mjs", ["--drain-timeout-ms", "300"]);
      const never = ask(server.target, "/waits").catch(() => "cut");
      await server.program.line(/^# waits began/);
      const part = await partOf(server);
      server.program.kill("SIGTERM");
      await server.program.line(/^stopped at the deadline with 2 requests in flight$/);
      expect(await never).toBe("cut");
      await part.closed();
      expect(part.ended).toBe("reset");
      expect(await server.program.exited).toEqual({ code: 0, signal: null });
    });

    it("exits immediately on a second signal", async () => {
      server = await startAlone(runtime, "tcp");
      void ask(server.target, "/waits").catch(() => undefined);
      await server.program.line(/^# waits began/);
      const idle = new Wire(server.target);
      idle.send("GET /text HTTP/1.1\r\nHost: a\r\n\r\n");
      await idle.gets(/text$/);
      const part = await partOf(server);
      server.program.kill("SIGINT");
      // The close of an idle connection proves that the first signal was handled.
      await idle.closed();
      server.program.kill("SIGINT");
      expect(await server.program.exited).toEqual({ code: 1, signal: null });
      await part.closed();
      expect(part.ended).toBe("reset");
    });

    it("resets a client that has a part of a response and sends FIN, if only FIN would tell it the end", async (context) => {
      if (runtime === "bun") return context.skip("Bun closes such a connection by itself, with FIN");
      server = await startAlone(runtime, "tcp");
      const part = await partOf(server);
      part.end();
      await part.closed();
      expect(part.ended).toBe("reset");
      const known = new Wire(server.target);
      known.send("GET /begins HTTP/1.1\r\nHost: a\r\n\r\n");
      await known.gets(/part\n/);
      known.end();
      await known.closed();
      expect(known.ended).toBe("fin");
    });
  });
}
