import { once } from "node:events";
import { existsSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../../test/support/ports.js";
import { testOnce } from "../../../test/support/test-once.js";
import { inTime } from "../../../test/support/wait.js";
import type { FleetEvent, LogLine, OperationResult, Status } from "../src/control/api.js";
import {
  bundlePrograms,
  endAll,
  endShared,
  fleet,
  get,
  isAlive,
  launch,
  load,
  pidsOf,
  policy,
  pool,
  RUNTIMES,
  type RunningSupervisor,
  removePrograms,
  share,
  start,
} from "./harness.js";
import { makeFolder } from "./support.js";

beforeAll(bundlePrograms);
afterEach(endAll);
afterAll(removePrograms);

describe.each(RUNTIMES)("the supervisor on %s", (runtime) => {
  const single = testOnce(runtime);

  describe("with one fleet for all of these", () => {
    let supervisor: RunningSupervisor;
    beforeAll(async () => {
      // A process that is delayed in a drain loses no request.
      const patient = { ...policy, drainTimeoutMs: 60_000 };
      const config = fleet([pool("web", "good", 3, { policy: patient })]);
      supervisor = share(await start(runtime, { ...config, balancer: { ...config.balancer, policy: patient } }));
    });
    afterAll(endShared);

    test("starts a fleet that serves", async () => {
      expect(await supervisor.call("waitReady")).toMatchObject({ ok: true });
      const names = new Set<string>();
      for (let n = 0; n < 6; n++) names.add((await get(await supervisor.url())).split(" ")[0] ?? "");
      expect([...names].sort()).toEqual(["web.1#1", "web.2#1", "web.3#1"]);
      const status = await supervisor.until(
        "usage and counts are known",
        ({ pools, balancers }) =>
          [...(pools[0]?.instances ?? []), ...balancers].every((i) => (i.rssBytes ?? 0) > 0) &&
          pools[0]?.requestsTotal === 6 &&
          balancers[0]?.requestsTotal === 6,
      );
      expect(status).toMatchObject({ state: "running", pools: [{ wanted: 3, ready: 3, requestsTotal: 6 }] });
    });

    test("loses no request over reloads, scaling, a restarted balancer and a restarted instance", async () => {
      const before = (await supervisor.status()).pools[0]?.requestsTotal ?? 0;
      const clients = load(await supervisor.url(), 3);
      const results: OperationResult[] = [];
      for (let n = 0; n < 3; n++) results.push(await supervisor.call("reload", undefined, undefined));
      results.push(await supervisor.call("scale", "web", { instances: 6 }));
      results.push(await supervisor.call("scale", "web", { instances: 2 }));
      results.push(await supervisor.call("restart", "balancer"));
      results.push(await supervisor.call("restart", "web.1"));
      const { answered, errors } = await clients.end();
      expect(results.filter(({ ok }) => !ok)).toEqual([]);
      expect(errors).toEqual([]);
      const isCounted = (s: Status) => s.pools[0]?.requestsTotal === before + answered;
      const status = await supervisor.until("every answer is counted", isCounted);
      expect(status.pools[0]).toMatchObject({ generation: 4, wanted: 2, ready: 2 });
      expect(status.balancers[0]).toMatchObject({ attempt: 2 });
    });

    test("a child process inherits nothing but its output, and a balancer the listening sockets", async () => {
      const { pools, balancers } = await supervisor.status();
      const listening = /socket:\[(\d+)\]/.exec(readlinkSync(`/proc/${balancers[0]?.pid}/fd/3`))?.[0];
      expect(listening).toBeDefined();
      const { pid = 0, attempt } = pools[0]?.instances[1] ?? {};
      const targets = openFiles(pid ?? 0);
      expect(targets).not.toContain(listening);
      expect(targets.filter((target) => target.endsWith(".out"))).toEqual(
        [1, 2].map(() => join(supervisor.directory, `web.2#${attempt}.out`)),
      );
    });

    test("a killed instance is soon replaced, and status shows the signal", async () => {
      const [before] = (await supervisor.status()).pools[0]?.instances ?? [];
      const { pid, attempt = 0, restarts = 0 } = before ?? {};
      process.kill(pid ?? 0, "SIGKILL");
      const back = (s: Status) => s.pools[0]?.instances[0]?.attempt === attempt + 1 && s.pools[0].ready === 2;
      const status = await supervisor.until("web.1 is back", back);
      const lastExit = { signal: "SIGKILL", code: null };
      expect(status.pools[0]?.instances[0]).toMatchObject({ restarts: restarts + 1, lastExit });
    });

    test("a killed balancer is replaced, and connections that arrive in the meantime wait", async () => {
      const url = await supervisor.url();
      const { pid, attempt = 0 } = (await supervisor.status()).balancers[0] ?? {};
      process.kill(pid ?? 0, "SIGKILL");
      await supervisor.until(
        "the end is noticed",
        ({ balancers: [it] }) => it?.state !== "ready" || it.attempt === attempt + 1,
      );
      expect(await get(url)).toContain("web.");
      const { balancers } = await supervisor.until("the next one is there", (s) => s.balancers[0]?.state === "ready");
      expect(balancers[0]).toMatchObject({ attempt: attempt + 1, lastExit: { signal: "SIGKILL" } });
    });

    test("leaves nothing behind when it stops", async () => {
      const pids = pidsOf(await supervisor.status());
      expect(await supervisor.call("stop")).toMatchObject({ ok: true });
      expect(await supervisor.exited()).toBe(0);
      expect(pids.filter(isAlive)).toEqual([]);
      expect(readdirSync(supervisor.directory)).toEqual(["config.json"]);
    });
  });

  single("an app that cannot start fails waitReady within seconds, with its own words", async () => {
    const supervisor = await start(runtime, fleet([pool("web", "exits-at-once", 2), pool("api", "good", 1)]));
    const result = await supervisor.call("waitReady");
    expect(result).toMatchObject({ ok: false, code: "failed", lastLines: ["Error: connect ECONNREFUSED db:5432"] });
    expect(result.message).toMatch(/^web\.\d failed to start: exited with code 7/);
    const status = await supervisor.until(
      "web is given up",
      (s) => s.pools[0]?.instances.every((i) => i.state === "failed") === true,
    );
    expect(status.pools[1]).toMatchObject({ name: "api", ready: 1 });
  });

  single("the log tells the fault of an app whose link closed before it ended", async () => {
    const supervisor = await start(runtime, fleet([pool("web", "says-a-fault", 1)]));
    await supervisor.call("waitReady");
    const events = await supervisor.call<FleetEvent[]>("recentEvents");
    const ends = events.filter(({ subject, level }) => subject.startsWith("web.1") && level !== "info");
    expect(ends.length).toBeGreaterThan(0);
    for (const { message } of ends) expect(message).toContain("the database is away");
  });

  single(
    "an app that crashes again and again is not given up once it has served, while other pools serve on",
    async () => {
      const soon = { policy: { ...policy, backoff: { ...policy.backoff, maxMs: 200 } } };
      const supervisor = await start(runtime, fleet([pool("api", "good", 1), pool("web", "crashes-later", 1, soon)]));
      const spent = await supervisor.until("the budget is spent", (s) => (s.pools[1]?.instances[0]?.restarts ?? 0) > 4);
      expect(spent.pools[1]?.instances[0]).toMatchObject({
        lastExit: { code: 3, lastLines: ["Error: out of luck"] },
      });
      expect(await get(await supervisor.url())).toContain("api.1");
    },
  );

  single("a reload onto a broken app keeps the old processes and says why", async () => {
    const supervisor = await start(runtime, fleet([pool("web", "good", 2)]));
    await supervisor.call("waitReady");
    const pids = pidsOf(await supervisor.status());
    supervisor.configure(fleet([pool("web", "exits-at-once", 2)]));
    const result = await supervisor.call("reload", undefined, undefined);
    expect(result).toMatchObject({ ok: false, code: "failed", lastLines: ["Error: connect ECONNREFUSED db:5432"] });
    const status = await supervisor.until(
      "the new one is gone",
      (s) => s.pools[0]?.instances.every((i) => i.other === null) === true,
    );
    expect(pidsOf(status)).toEqual(pids);
    expect(status.pools[0]).toMatchObject({ generation: 1, ready: 2 });
    expect(await get(await supervisor.url())).toContain("#1");
  });

  single(
    "a reload that fails in a later pool brings back those before it: their code, size and routes, and what was added goes",
    async () => {
      const before = [
        pool("web", "good", 1, { release: "/releases/1" }),
        pool("api", "good", 1, { routes: ["/api/"] }),
      ];
      const supervisor = await start(runtime, fleet(before));
      await supervisor.call("waitReady");
      const [, api] = (await supervisor.status()).pools;
      supervisor.configure(
        fleet([
          pool("new", "good", 1, { routes: ["/new/"] }),
          pool("web", "good", 2, { release: "/releases/2", routes: ["/", "/more/"] }),
          pool("api", "exits-at-once", 1, { routes: ["/api/"] }),
        ]),
      );
      expect(await supervisor.call("reload", undefined, undefined)).toMatchObject({
        ok: false,
        code: "failed",
        lastLines: ["Error: connect ECONNREFUSED db:5432"],
        message: expect.stringMatching(
          /^api: reload failed: the new api\.1 .*; the old instances keep serving; web returned to \/releases\/1; new was removed again$/,
        ),
      });
      const { pools } = await supervisor.status();
      expect(pools).toMatchObject([
        { name: "web", wanted: 1, ready: 1, generation: 1, release: "/releases/1", routes: ["/"] },
        { name: "api", ready: 1, generation: 1 },
      ]);
      expect(pools).toHaveLength(2);
      expect(pools[0]?.instances).toMatchObject([{ attempt: 3, generation: 1, release: "/releases/1" }]);
      expect(pools[1]?.instances[0]?.pid).toBe(api?.instances[0]?.pid);
      const events = (await supervisor.call("recentEvents")) as { subject: string; message: string }[];
      expect(events.filter(({ message }) => message.includes("because the reload failed"))).toMatchObject([
        { subject: "web", message: "returned to /releases/1, because the reload failed" },
        { subject: "new", message: "was removed again, because the reload failed" },
      ]);
      // The crashing version is in service.
      process.kill(pools[0]?.instances[0]?.pid as number, "SIGKILL");
      await supervisor.until(
        "web to be back",
        ({ pools: [web] }) => web?.ready === 1 && web.instances[0]?.attempt === 4 && web.instances[0].generation === 1,
      );

      supervisor.configure(
        fleet([pool("web", "good", 1, { release: "/releases/3" }), pool("api", "good", 1, { routes: ["/api/"] })]),
      );
      expect(await supervisor.call("reload", undefined, undefined)).toMatchObject({ ok: true });
      expect((await supervisor.status()).pools[0]).toMatchObject({ generation: 3, release: "/releases/3" });
    },
  );

  single("a reload adds, changes and removes pools, and refuses what it cannot do", async () => {
    const supervisor = await start(runtime, fleet([pool("web", "good", 2), pool("old", "good", 1)]));
    await supervisor.call("waitReady");
    supervisor.configure({ problems: ["paceline.toml: pools.web.instances: expected a number"] });
    expect(await supervisor.call("reload", undefined, undefined)).toMatchObject({ ok: false, code: "config" });
    supervisor.configure(
      fleet([pool("web", "good", 2)], { listen: [{ kind: "tcp", host: "127.0.0.1", port: await freePort() }] }),
    );
    expect(await supervisor.call("reload", undefined, undefined)).toMatchObject({
      ok: false,
      message: expect.stringContaining("stop and start the fleet"),
    });
    expect((await supervisor.status()).pools).toHaveLength(2);
    supervisor.configure(fleet([pool("new", "good", 1), pool("web", "good", 3)]));
    expect(await supervisor.call("reload", undefined, undefined)).toMatchObject({ ok: true });
    const { pools } = await supervisor.status();
    expect(pools.map(({ name, ready, generation }) => ({ name, ready, generation }))).toEqual([
      { name: "web", ready: 3, generation: 2 },
      { name: "new", ready: 1, generation: 1 },
    ]);
  });

  single(
    "a reload replaces the balancer when its limits or the trusted proxies are others, and only then",
    async () => {
      const config = fleet([pool("web", "good", 1)]);
      const { balancer } = config;
      const supervisor = await start(runtime, config);
      await supervisor.call("waitReady");
      const changes: Partial<typeof balancer>[] = [
        {},
        { limits: { ...balancer.limits, maxQueue: 7 } },
        { limits: { ...balancer.limits, maxQueue: 7 }, trustedProxies: ["10.0.0.0/8"] },
      ];
      const attempts: (number | undefined)[] = [];
      for (const change of changes) {
        supervisor.configure({ ...config, balancer: { ...balancer, ...change } });
        expect(await supervisor.call("reload", undefined, undefined)).toMatchObject({ ok: true });
        attempts.push((await supervisor.status()).balancers[0]?.attempt);
      }
      expect(attempts).toEqual([1, 2, 3]);
    },
  );

  // The same code decides on both runtimes which signal is sent when.
  single("what ignores every request, and what a process has started, ends with a stop", async () => {
    const supervisor = await start(
      runtime,
      fleet([
        pool("deaf", "ignores-sigterm", 1, { policy: { ...policy, drainTimeoutMs: 300, termTimeoutMs: 300 } }),
        pool("parent", "forks-grandchild", 1),
        pool("silent", "never-ready", 1),
      ]),
    );
    const starts = ({ pools }: Awaited<ReturnType<typeof supervisor.status>>) =>
      pools[0]?.ready === 1 && pools[1]?.ready === 1;
    await supervisor.until("two are ready", starts);
    const grandchild = async () => {
      const log = await supervisor.call<LogLine[]>("recentLog", "parent.1");
      return Number(log.find(({ text }) => text.startsWith("grandchild"))?.text.split(" ")[1] ?? 0);
    };
    await expect.poll(grandchild).toBeGreaterThan(0);
    const pids = [...pidsOf(await supervisor.status()), await grandchild()];
    expect(pids.every(isAlive)).toBe(true);
    expect(await supervisor.call("stop")).toMatchObject({ ok: true });
    await expect.poll(() => pids.filter(isAlive)).toEqual([]);
  });

  single("a stop has one deadline: the instances get what the balancers have left of it", async () => {
    // After its SIGTERM it stays until the event was seen: it exits with its supervisor.
    const oneDeadline = { ...policy, drainTimeoutMs: 2000, termTimeoutMs: 60_000 };
    const config = fleet([pool("web", "ignores-sigterm", 1, { policy: oneDeadline })]);
    const supervisor = await start(runtime, { ...config, balancer: { ...config.balancer, policy: oneDeadline } });
    await supervisor.call("waitReady");
    const url = new URL(await supervisor.url());
    const held = connect(Number(url.port), url.hostname);
    held.on("error", () => undefined);
    await once(held, "connect");
    // The kernel accepts the connection; until the balancer has accepted it, it does not delay the drain.
    const log = () => supervisor.call<LogLine[]>("recentLog", "balancer.1");
    await expect.poll(async () => (await log()).map(({ text }) => text)).toContain("has its first client");
    const { pid = 0 } = (await supervisor.status()).pools[0]?.instances[0] ?? {};
    const stopped = supervisor.call("stop");
    await expect
      .poll(async () => {
        const events = await supervisor.call<FleetEvent[]>("recentEvents");
        return events.find(({ subject, message }) => subject === "web.1" && message.startsWith("did not drain"))
          ?.message;
      })
      .toMatch(/^did not drain within [01](\.\d)? s, the rest of the stop's deadline: SIGTERM$/);
    process.kill(pid as number, "SIGKILL");
    await stopped;
    held.destroy();
  });

  single("a stop in the midst of a rollout ends all of it", async () => {
    const supervisor = await start(runtime, fleet([pool("web", "good", 2)]));
    await supervisor.call("waitReady");
    supervisor.configure(fleet([pool("web", "never-ready", 2)]));
    const reload = supervisor.call("reload", undefined, undefined);
    const status = await supervisor.until(
      "the successor is there",
      (s) => s.pools[0]?.instances[0]?.other?.pid != null,
    );
    expect(await supervisor.call("scale", "web", { instances: 4 })).toMatchObject({ ok: false, code: "busy" });
    expect(await supervisor.call("stop")).toMatchObject({ ok: true });
    expect(await reload).toMatchObject({ ok: false, code: "failed" });
    expect(pidsOf(status).filter(isAlive)).toEqual([]);
  });

  single("a restart of all pools that meets a reload of one ends, and so does the reload", async () => {
    // The replacements of web wait for the file, so that the restart stays there until the reload is in progress.
    const folder = makeFolder();
    const gate = join(folder, "gate");
    const web = pool("web", "gated", 2, { env: { GATE: gate } });
    writeFileSync(gate, "");
    const supervisor = await start(runtime, fleet([web, pool("api", "good", 1)]));
    await supervisor.call("waitReady");
    rmSync(gate);
    const restart = supervisor.call("restart", undefined);
    await supervisor.until("web is at work", (s) => s.pools[0]?.instances[0]?.other != null);
    supervisor.configure(fleet([web, pool("api", "never-ready", 1)]));
    const reload = supervisor.call("reload", "api", undefined);
    const successor = ({ pools }: Status) => pools[1]?.instances[0]?.other?.pid;
    const status = await supervisor.until(
      "api is reloaded",
      (s) => s.pools[1]?.rollout != null && successor(s) != null,
    );
    writeFileSync(gate, "");
    expect(await restart).toMatchObject({ ok: false, code: "busy", message: "a reload of api is under way" });
    // Its new process would never be ready; its exit also ends the reload.
    process.kill(successor(status) as number, "SIGKILL");
    expect(await reload).toMatchObject({ ok: false, code: "failed" });
    expect(await supervisor.call("restart", "api")).toMatchObject({ ok: true });
  });

  test("a stop while it starts leaves nothing running", async () => {
    const supervisor = await launch(runtime, fleet([pool("web", "good", 1)]));
    const starting = supervisor.call("start").catch(() => {});
    expect(await supervisor.call("stop")).toMatchObject({ ok: true });
    expect(await supervisor.exited()).toBe(0);
    await starting;
    expect(readdirSync(supervisor.directory)).toEqual(["config.json"]);
  });

  // test/signals.test.ts has the signals on both runtimes.
  single("SIGTERM stops gracefully; a second SIGINT does not wait", async () => {
    const polite = await start(runtime, fleet([pool("web", "good", 1)]));
    await polite.call("waitReady");
    polite.child.kill("SIGTERM");
    expect(await polite.exited()).toBe(0);
    const slow = { ...policy, drainTimeoutMs: 600_000 };
    const impatient = await start(runtime, fleet([pool("web", "ignores-sigterm", 1, { policy: slow })]));
    await impatient.call("waitReady");
    const pids = pidsOf(await impatient.status());
    impatient.child.kill("SIGINT");
    await impatient.until("it stops", (s) => s.state === "stopping");
    impatient.child.kill("SIGINT");
    expect(await impatient.exited()).toBe(0);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  single("without a terminal SIGHUP reloads, and SIGTTIN and SIGTTOU scale the first pool", async () => {
    const supervisor = await start(runtime, fleet([pool("web", "good", 1), pool("api", "good", 1)]));
    await supervisor.call("waitReady");
    supervisor.child.kill("SIGTTIN");
    await supervisor.until("one more", ({ pools }) => pools[0]?.ready === 2 && pools[1]?.ready === 1);
    supervisor.child.kill("SIGTTOU");
    await supervisor.until("one less", ({ pools }) => pools[0]?.instances.length === 1);
    supervisor.child.kill("SIGHUP");
    await supervisor.until("a new generation", ({ pools }) => pools.every(({ generation }) => generation === 2));
    supervisor.configure({ problems: ["paceline.toml: no such pool"] });
    supervisor.child.kill("SIGHUP");
    const events = async () => {
      const log = await supervisor.call<FleetEvent[]>("recentEvents");
      return log.map(({ level, message }) => `${level} ${message}`);
    };
    await expect.poll(events).toContain("error SIGHUP: paceline.toml: no such pool");
    const ofScaling = async () => (await events()).filter((line) => /^\w+ SIGTT(IN|OU): /.test(line));
    const both = async () => {
      const before = (await ofScaling()).length;
      supervisor.child.kill("SIGTTIN");
      supervisor.child.kill("SIGTTOU");
      await expect.poll(async () => (await ofScaling()).length).toBe(before + 2);
      return (await ofScaling()).slice(before);
    };
    // The one that the runtime sees first; between the two, this process may be delayed until the first is done.
    const superseded = /^info (SIGTTIN: web was scaled to 2|SIGTTOU: web was scaled to 0), and since then to 1$/;
    const isSuperseded = (lines: string[]) => lines.some((line) => superseded.test(line));
    expect(await inTime(both, (lines) => !isSuperseded(lines))).toEqual(
      expect.arrayContaining([expect.stringMatching(superseded)]),
    );
    for (const signal of ["SIGUSR2", "SIGALRM"] as const) {
      supervisor.child.kill(signal);
      await expect.poll(events).toContain(`warn ${signal} is ignored: it has no meaning here`);
    }
    supervisor.child.kill("SIGQUIT");
    expect(await supervisor.exited()).toBe(0);
  });

  // They run on Bun, whatever the runtime of the supervisor.
  single("children outlive a killed supervisor by the orphan grace, and serve meanwhile", async () => {
    const orphanGraceMs = 5000;
    const outlive = async () => {
      const supervisor = await start(runtime, fleet([pool("web", "good", 1)], { orphanGraceMs }));
      await supervisor.call("waitReady");
      const url = await supervisor.url();
      const pids = pidsOf(await supervisor.status());
      const killedAt = performance.now();
      supervisor.child.kill("SIGKILL");
      await supervisor.exited();
      const body = await get(url).catch((error: Error) => error.message);
      const isLate = performance.now() - killedAt > orphanGraceMs / 2;
      await expect.poll(() => pids.filter(isAlive)).toEqual([]);
      return { body, isLate };
    };
    const { body } = await inTime(outlive, ({ body, isLate }) => isLate && !body.startsWith("web."));
    expect(body).toContain("web.1");
  });

  // test/start-and-stop.test.ts has it on both runtimes.
  single("a port that is taken is an error that names who holds it", async () => {
    const holder = createServer();
    const port = await freePort();
    await new Promise<void>((resolve) => holder.listen(port, "127.0.0.1", resolve));
    try {
      const listen = [{ kind: "tcp" as const, host: "127.0.0.1", port }];
      const supervisor = await launch(runtime, fleet([pool("web", "good", 1)], { listen }));
      const failure = await supervisor.call("start").catch((error: Error & { code: string }) => error);
      expect(failure).toMatchObject({ code: "EADDRINUSE", message: expect.stringContaining(`pid ${process.pid} (`) });
    } finally {
      holder.close();
    }
  });

  test("listens on IPv6 and on a unix socket, replaces a stale one, and removes it in the end", async () => {
    const first = await launch(runtime, fleet([pool("web", "good", 1)]));
    const path = join(first.directory, "public.sock");
    const listen = [
      { kind: "tcp" as const, host: "::1", port: 0 },
      { kind: "unix" as const, path },
    ];
    const supervisor = await start(runtime, fleet([pool("web", "good", 1)], { listen }));
    await supervisor.call("waitReady");
    expect(await get(await supervisor.url())).toContain("web.1");
    const second = await launch(runtime, fleet([pool("web", "good", 1)], { listen: listen.slice(1) }));
    await expect(second.call("start")).rejects.toMatchObject({ code: "EADDRINUSE" });
    const pids = pidsOf(await supervisor.status());
    supervisor.child.kill("SIGKILL");
    // All at once: another test covers the end after the grace period.
    for (const pid of pids) process.kill(pid, "SIGKILL");
    await expect.poll(() => pids.filter(isAlive)).toEqual([]);
    expect(existsSync(path)).toBe(true);
    const third = await start(runtime, fleet([pool("web", "good", 1)], { listen: listen.slice(1) }));
    expect(await third.call("waitReady")).toMatchObject({ ok: true });
    await third.call("stop");
    expect(existsSync(path)).toBe(false);
  });

  test("the output of a process stays within its limit and is still logged", async () => {
    const bound = 64 << 10;
    const supervisor = await start(runtime, fleet([pool("web", "floods-output", 1, { maxOutputBytes: bound })]));
    await supervisor.call("waitReady");
    const lastLine = async () => {
      const log = await supervisor.call<LogLine[]>("recentLog", "web.1");
      return Number(/line (\d+)/.exec(log.at(-1)?.text ?? "")?.[1] ?? 0);
    };
    // Rarely, because each check costs as much as the lines.
    await expect.poll(lastLine, { interval: 200 }).toBeGreaterThan(10_000);
    // Without the limit it would have more than 1 MB by now, and continue to grow.
    await expect.poll(() => statSync(join(supervisor.directory, "web.1#1.out")).blocks * 512).toBeLessThan(500_000);
  });
});

function openFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      // The descriptor was closed in the meantime.
      return [];
    }
  });
}
