/** Timers and deferred jobs in real servers: the app imports them from the package, while its server is the bundle. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it as test } from "vitest";
import {
  ask,
  eventually,
  fixture,
  type Program,
  programOf,
  type RuntimeName,
  ScriptedSupervisor,
  type Standalone,
  startAlone,
} from "./harness.js";
import { startOverLane } from "./lane-harness.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;

const RUNTIMES: RuntimeName[] = ["bun", "node"];
const KINDS = ["fetch", "node", "lane"] as const;

const start = (runtime: RuntimeName, kind: (typeof KINDS)[number], args: string[] = []): Promise<Standalone> =>
  kind === "lane"
    ? startOverLane(runtime, "deferring.mjs")
    : startAlone(runtime, "tcp", kind === "fetch" ? "deferring.mjs" : "deferring-node.mjs", args);

for (const runtime of RUNTIMES) {
  describe.concurrent.each(KINDS)(`deferred jobs on ${runtime} of an app of kind %s`, (kind) => {
    // One server for all tests; the last test stops it.
    let server: Standalone;
    beforeAll(async () => {
      server = await start(runtime, kind);
    });
    afterAll(() => server?.close());
    /** Returns all completed jobs once there are this many. */
    const ran = (count: number) => {
      const all: unknown[] = [];
      return eventually(`${count} jobs`, async () => {
        all.push(...(JSON.parse((await ask(server.target, "/ran")).body) as unknown[]));
        return all.length >= count ? all : undefined;
      });
    };

    it("5 combined and 5 plain equal jobs are 6 runs, in order", async () => {
      await ask(server.target, "/six");
      const job = { save: ["all", 1] };
      expect(await ran(7)).toEqual([job, job, job, job, job, job, "last"]);
    });

    it("all of 20,000 jobs of one handler run in order, while requests get responses", async () => {
      await ask(server.target, "/many");
      expect(await ran(20_000)).toEqual(Array.from({ length: 20_000 }, (_, n) => n));
    });

    it("a request whose handler waits does not defer a job", async () => {
      expect((await ask(server.target, "/needs-job")).body).toMatch(/^the job ran/);
    });

    it("each job sees the AsyncLocalStorage of the code that deferred it", async () => {
      await ask(server.target, "/users");
      expect(await ran(3)).toEqual(["anna", "bert", "nobody"]);
    });

    it("on SIGTERM all queued jobs run before the exit, each once and in order", async () => {
      await ask(server.target, "/slow");
      server.program.kill("SIGTERM");
      expect(await server.program.exited).toEqual({ code: 0, signal: null });
      const done = server.program.output.filter((line) => line.startsWith("# slow"));
      expect(done).toEqual(Array.from({ length: 20 }, (_, n) => `# slow ${n}`));
    });
  });

  describe.concurrent(`deferred jobs and timers on ${runtime}`, () => {
    let server: Standalone | undefined;
    afterEach(() => server?.close());

    it("jobs that the drain's deadline cuts off are reported by name", async () => {
      server = await start(runtime, "fetch", ["--drain-timeout-ms", "300"]);
      await ask(server.target, "/endless");
      await server.program.line(/^# endless began/);
      server.program.kill("SIGTERM");
      await server.program.line(/^deferred jobs are lost: 4 queued \(slow × 4\); under way: endless$/);
      expect(await server.program.exited).toEqual({ code: 0, signal: null });
    });

    it("jobs that an uncaught error discards are reported, too", async () => {
      server = await start(runtime, "fetch");
      await ask(server.target, "/uncaught");
      await server.program.line(/^deferred jobs are lost: 1 queued \(slow × 1\); under way: endless$/);
      expect(await server.program.exited).toEqual({ code: 1, signal: null });
    });

    it("beyond maxDeferredJobs, defer throws, and this is reported", async () => {
      server = await start(runtime, "fetch", ["--max-deferred-jobs", "3"]);
      expect((await ask(server.target, "/six")).status).toBe(500);
      await server.program.line(/defer-queue-full/);
      expect((await ask(server.target, "/")).body).toBe("hello");
    });

    it("a drain waits for a timer's run in progress, and begins no other", async () => {
      server = await start(runtime, "node");
      await ask(server.target, "/timer");
      await server.program.line(/^# tick/);
      server.program.kill("SIGTERM");
      expect(await server.program.exited).toEqual({ code: 0, signal: null });
      const lines = server.program.output.filter((line) => line.startsWith("# t"));
      expect(lines).toEqual(["# tick", "# tock"]);
    });

    it("without a server the jobs run, and timers do not keep the process alive", async () => {
      const { stdout } = await promisify(execFile)(programOf(runtime), [fixture("no-server.mjs")]);
      expect(stdout).toBe("the end of the module\njob 0\njob 1\njob 2\n");
    });
  });

  describe.concurrent(`an instance that defers on ${runtime}`, () => {
    let supervisor: ScriptedSupervisor;
    let instance: Program;
    beforeEach(async () => {
      supervisor = new ScriptedSupervisor();
      await supervisor.listen();
    });
    afterEach(async () => {
      await instance.end();
      await supervisor.close();
    });

    it("reports how many jobs have not ended and how old the oldest is, and nothing before the first", async () => {
      instance = supervisor.spawn(runtime, "deferring.mjs");
      await supervisor.hears("ready");
      await ask(supervisor.target, "/");
      expect(await supervisor.hears("stats", ({ requestsTotal }) => requestsTotal === 1)).not.toHaveProperty(
        "deferred",
      );
      await ask(supervisor.target, "/endless");
      // The endless job and the four behind it, in each second's report even without requests.
      const ages = () =>
        supervisor.heard.flatMap(({ deferred }) => {
          const { jobs, oldestMs } = (deferred ?? {}) as { jobs?: number; oldestMs?: number };
          return jobs === 5 && oldestMs !== undefined ? [oldestMs] : [];
        });
      await eventually("four reports of the queue", () => (ages().length >= 4 ? true : undefined));
      expect(ages()).toEqual(ages().toSorted((a, b) => a - b));
      expect(new Set(ages()).size).toBe(ages().length);
    });

    it("exits at the deadline of the supervisor, and reports what it cuts off", async () => {
      instance = supervisor.spawn(runtime, "deferring.mjs");
      await supervisor.hears("ready");
      await ask(supervisor.target, "/endless");
      await instance.line(/^# endless began/);
      supervisor.say({ type: "drain", deadlineMs: 300 });
      expect(await instance.exited).toEqual({ code: 0, signal: null });
      expect(instance.output).toContain("deferred jobs are lost: 4 queued (slow × 4); under way: endless");
      expect(supervisor.heard.at(-1)).toMatchObject({ type: "stats", deferred: { jobs: 5 } });
    });
  });
}
