/** Starting, stopping and querying with the command line: output, exit status, and leftovers. */
import net from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { Project, RUNTIMES } from "./support/fleet.js";
import { pause, signal } from "./support/processes.js";
import { get, RawConnection } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";

describe.each(RUNTIMES)("start and stop on %s", (runtime) => {
  const once = testOnce(runtime);

  test("start --detach returns when all are ready, status tells of them, a second start leaves them alone, stop finishes what is in flight and leaves nothing", async () => {
    const project = await Project.make({ runtime, instances: 3, app: HELLO });
    const started = await project.startDetached();
    expect(`${started.code} ${started.output}`).toMatch(/^0 /);
    expect((await get(project.port)).body).toBe(HELLO_BODY);
    // Memory and CPU are null until they are first measured.
    await project.statusWhere("every process to be measured", ({ balancers, pools }) =>
      [...balancers, ...pools.flatMap(({ instances }) => instances)].every(
        ({ rssBytes, cpuPercent }) => rssBytes !== null && cpuPercent !== null,
      ),
    );

    const shown = await project.cli(["status", "--json"]);
    expect(shown.code).toBe(0);
    expect(JSON.parse(shown.stdout)).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      pid: expect.any(Number),
      uptimeSeconds: expect.any(Number),
      listen: [`http://127.0.0.1:${project.port}`],
      watch: null,
      balancers: [
        {
          name: "balancer.1",
          pid: expect.any(Number),
          state: "ready",
          rssBytes: expect.any(Number),
          cpuPercent: expect.any(Number),
          connections: expect.any(Number),
          requestsTotal: expect.any(Number),
          requestsPerSecond: expect.any(Number),
        },
      ],
      pools: [
        {
          name: "web",
          kind: "app",
          generation: 1,
          wanted: 3,
          ready: 3,
          instances: [1, 2, 3].map((index) => ({
            name: `web.${index}`,
            state: "ready",
            pid: expect.any(Number),
            attempt: 1,
            generation: 1,
            runtime,
            uptimeSeconds: expect.any(Number),
            rssBytes: expect.any(Number),
            cpuPercent: expect.any(Number),
            requestsTotal: expect.any(Number),
            requestsPerSecond: expect.any(Number),
            inFlight: 0,
            errorsTotal: 0,
            latencyMs: expect.objectContaining({}),
            restarts: 0,
            lastExit: null,
          })),
        },
      ],
    });
    const forPeople = await project.cli(["status", "--wide"]);
    expect(forPeople.code).toBe(0);
    for (const name of ["web.1", "web.2", "web.3", "balancer.1"]) expect(forPeople.stdout).toContain(name);

    const { pid } = await project.status();
    const second = await project.startDetached();
    expect(second.code).toBe(1);
    expect(second.output).toContain(String(pid));
    expect((await project.status()).pid).toBe(pid);
    expect((await get(project.port)).body).toBe(HELLO_BODY);

    const slow = await RawConnection.open(project.port);
    slow.write("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    await project.statusWhere("the request to be in flight", (status) =>
      Boolean(status.pools[0]?.instances.some(({ inFlight }) => inFlight === 1)),
    );
    const stopping = project.cli(["stop"]);
    await project.statusWhere("its balancer to drain", ({ balancers }) => balancers[0]?.state === "draining");
    project.write("released", "");
    await slow.end();
    expect(slow.received).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\n(4\r\n)?held/);
    const stopped = await stopping;
    expect(`${stopped.code} ${stopped.output}`).toMatch(/^0 /);
    await project.nothingLeft();
    expect((await project.cli(["status", "--wide"])).code).toBe(3);
  });

  test("a port that is taken: the error names who holds it", async () => {
    const project = await Project.make({ runtime, app: HELLO });
    const holder = net.createServer();
    await new Promise<void>((resolve) => holder.listen({ host: "127.0.0.1", port: project.port }, resolve));
    onTestFinished(() => void holder.close());

    const started = await project.startDetached();
    expect(started.code).toBe(1);
    expect(started.output).toContain(String(project.port));
    expect(started.output).toMatch(new RegExp(`\\b${process.pid}\\b`));
    expect(project.processes()).toEqual([]);
    expect(project.sockets()).toEqual([]);
  });

  once("a configuration with problems: all are told, exit status 2, nothing is started", async () => {
    const project = await Project.make({ runtime, app: HELLO });
    project.writeConfig({ instnaces: 3, drainTimeoutMs: "soon" });
    for (const command of [["check"], ["start", "--detach"]]) {
      const done = await project.cli(command, { env: project.startEnvironment() });
      expect(done.output).toContain("paceline.config.json");
      expect(done.output).toContain("instnaces");
      expect(done.output).toMatch(/\binstances\b/);
      expect(done.output).toContain("drainTimeoutMs");
      expect(done.code).toBe(2);
    }
    await project.nothingLeft();
  });

  once("start --or-reload at once: one starts the fleet, and the others reload it", async () => {
    const project = await Project.make({ runtime, app: HELLO, instances: 1 });
    // Each command loads the config to check for a running fleet and to start one: none starts before all have checked.
    project.write("loads/none", "");
    project.write(
      "paceline.config.mjs",
      `import { readdirSync, readFileSync, writeFileSync } from "node:fs";
      const loads = new URL("./loads/", import.meta.url);
      const mine = readdirSync(loads).filter((name) => name.startsWith(process.ppid + "-")).length;
      writeFileSync(new URL(process.ppid + "-" + mine, loads), "");
      const isEarly = () => readdirSync(loads).filter((name) => name.endsWith("-1")).length < 2;
      while (mine === 1 && isEarly()) await new Promise((resolve) => setTimeout(resolve, 10));
      export default JSON.parse(readFileSync(new URL("./paceline.config.json", import.meta.url), "utf8"));`,
    );
    const both = await Promise.all([1, 2].map(() => project.startDetached(["--or-reload", "--timeout", "30"])));
    expect(
      both.map(({ code }) => code),
      both.map(({ output }) => output).join("---\n"),
    ).toEqual([0, 0]);
    expect(both.filter(({ output }) => output.includes("all ready (pid "))).toHaveLength(1);
    expect(both.filter(({ output }) => output.includes("reload done"))).toHaveLength(1);
    // Changes that a reload cannot apply are rejected, and --instances is applied.
    const more = (args: string[]) => project.startDetached(["--or-reload", ...args]);
    const refused = await more(["--listen", "127.0.0.1:1", "--runtime", runtime]);
    const differing = `--listen (http://127.0.0.1:1, not http://127.0.0.1:${project.port}), --runtime;`;
    expect(refused).toMatchObject({ code: 2, output: expect.stringContaining(differing) });
    const scaled = await more(["--instances", "2", "--listen", `127.0.0.1:${project.port}`]);
    expect(scaled).toMatchObject({ code: 0, output: expect.stringMatching(/reload done, 1 of 1; web: 2 instances/) });
    expect((await project.status()).pools[0]?.wanted).toBe(2);
    // A start waits until its deadline for a holder that does not respond.
    const { pid } = await project.status();
    await pause(pid);
    onTestFinished(() => void signal(pid, "SIGCONT"));
    const late = await project.startDetached(["--or-reload", "--timeout", "1"]);
    expect(late).toMatchObject({
      code: 4,
      output: expect.stringContaining(`the supervisor (pid ${pid}) does not respond`),
    });
    signal(pid, "SIGCONT");
  });

  once("without a fleet every command that needs one exits 3", async () => {
    const project = await Project.make({ runtime, app: HELLO });
    for (const command of [["status"], ["stop"], ["logs"], ["events"]]) {
      const done = await project.cli(command);
      expect(`${command[0]}: ${done.code} ${done.output}`).toMatch(/^\w+: 3 ./);
    }
    for (const operate of [() => project.scale("web", 2), () => project.reload(), () => project.restart()])
      expect(await operate()).toMatchObject({ code: 3 });
  });
});
