/** A start takes over the fleet of a killed supervisor: processes, counts and output continue, and no request is lost. */
import type { ChildProcess } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { PACELINE, type Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { hasEnded, kill as killProcess, signal } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

/** Responds with its identity, writes a line on request, and does not get ready while there is a file `hang`. */
const APP = `
import { existsSync } from "node:fs";
while (existsSync("hang")) await new Promise((resolve) => setTimeout(resolve, 50));
export default async (request) => {
  const { searchParams } = new URL(request.url);
  const line = searchParams.get("line");
  if (line !== null) console.log(line);
  while (searchParams.has("held") && existsSync("held")) await new Promise((resolve) => setTimeout(resolve, 20));
  return new Response("hello");
};
`;
const PROGRAM = `
import { createServer } from "node:http";
createServer((request, response) => response.end("program")).listen(process.env.PORT, "127.0.0.1");
`;

/** The processes by slot, and what must continue. */
function processesOf({ pools, balancers }: Status): Record<string, object> {
  const all = [...pools.flatMap(({ instances }) => instances), ...balancers];
  return Object.fromEntries(all.map(({ name, pid, attempt, restarts }) => [name, { pid, attempt, restarts }]));
}

describe.each(RUNTIMES)("the fleet of a killed supervisor on %s", (runtime) => {
  async function kill(project: Project): Promise<void> {
    await killProcess((await project.status()).pid);
  }
  async function again(project: Project, args: string[] = []): Promise<Status> {
    const { code, output } = await project.startDetached(args);
    expect(`${code} ${output}`).toMatch(/^0 .*: (all ready|taken over, but not all of it is ready) \(pid \d+\)/);
    // A balancer that was started again must accept connections by then.
    if (output.includes("all ready")) expect((await get(project.port, "/")).body).toBe("hello");
    return project.status();
  }
  /** Resolves when the fleet has these processes. A process that has not connected yet has no pid. */
  const untilIs = (project: Project, processes: Record<string, object>) =>
    project.statusWhere("the processes", (status) => isDeepStrictEqual(processesOf(status), processes));
  const savedIn = (project: Project) => {
    const state = JSON.parse(readFileSync(join(project.runDir, "state.json"), "utf8")) as {
      processes: { id: string }[];
    };
    return state.processes.map(({ id }) => id);
  };
  const logOf = (project: Project) => readFileSync(join(project.runDir, "log/paceline.log"), "utf8");
  const timesIn = (project: Project, line: string) => logOf(project).split(`"msg":"${line}"`).length - 1;

  test("goes on under the next one, again and again; what ended, what was not finished and what changed is set right", async () => {
    const pools = {
      web: { app: "./app.js", instances: 2, routes: ["/"] },
      api: { command: [process.execPath, "program.mjs"], instances: 1, routes: ["/api/"] },
      cron: { worker: [process.execPath, "-e", "0"], cron: "0 0 1 1 *" },
    };
    const files = { "program.mjs": PROGRAM };
    const project = await startFleet({ runtime, app: APP, files, config: { pools, orphanGraceMs: 60_000 } });
    await waitFor("the state", () => savedIn(project).length === 5);
    const earlyState = readFileSync(join(project.runDir, "state.json"));
    signal((await project.status()).pools[0]?.instances[1]?.pid ?? 0, "SIGKILL");
    const first = await project.statusWhere("its replacement", ({ pools: [web] }) => {
      return web?.instances[1]?.restarts === 1 && web.ready === 2;
    });
    expect(first.pools.map(({ instances }) => instances.length)).toEqual([2, 1, 1]);
    await waitFor("it in the state", () => savedIn(project).includes("web.2#2"));

    // The load lasts as long as the test: each request takes a millisecond of CPU time.
    const common = { path: "/", expectBody: "hello", delayMs: 80 };
    const anew = project.load({ ...common, mode: "connect-anew", clients: 2 });
    const kept = project.load({ ...common, mode: "keep-alive", clients: 2 });
    const commanded = project.load({
      ...common,
      ...{ mode: "keep-alive", clients: 1, path: "/api/", expectBody: "program" },
    });

    let before = first;
    const rounds = runtime === "bun" ? 2 : 1;
    for (let round = 1; round <= rounds; round++) {
      await get(project.port, `/?line=before${round}`);
      await waitFor("the line", () => timesIn(project, `before${round}`) > 0);
      before = await project.status();
      await kill(project);
      // As if the state had not been written since then: web.2 has another process by now.
      if (round === 1) writeFileSync(join(project.runDir, "state.json"), earlyState);
      await get(project.port, `/?line=between${round}`);
      await again(project);
      // Each process reports its counts when it has connected.
      const totals = ({ requestsTotal, pools }: Status) => [
        requestsTotal,
        ...pools.map((pool) => pool.requestsTotal ?? 0),
      ];
      const former = totals(before);
      await untilIs(project, processesOf(first));
      const now = await project.statusWhere("the counts", (status) => {
        return totals(status).every((total, at) => total >= (former[at] ?? 0));
      });
      expect(now.pid).not.toBe(before.pid);
      expect(now.uptimeSeconds).toBeGreaterThanOrEqual(before.uptimeSeconds);
      for (const [at, pool] of now.pools.entries()) {
        const former = before.pools[at];
        expect([pool.wanted, pool.generation, pool.ready]).toEqual([former?.wanted, former?.generation, former?.ready]);
        expect(pool.instances[0]?.uptimeSeconds).toBeGreaterThanOrEqual(former?.instances[0]?.uptimeSeconds ?? 0);
      }
      await project.eventWhere(/adopted 4 instances and 1 balancer; started 0, ended 0/);
      await waitFor("the line in between", () => timesIn(project, `between${round}`) > 0);
    }

    // One exits while no supervisor is running, and one afterwards.
    const [gone = 0, later = 0] = (before.pools[0]?.instances ?? []).map(({ pid }) => pid ?? 0);
    // The first one drains: if requests for one path have crashed two processes, the last of them are not repeated.
    await kill(project);
    signal(gone, "SIGTERM");
    await waitFor("its end", () => hasEnded(gone));
    await again(project);
    const replaced = await project.statusWhere(
      "the one that had ended",
      ({ pools: [web] }) => web?.ready === 2 && web.instances[0]?.restarts === 1,
    );
    expect(replaced.pools[0]?.instances[0]).toMatchObject({
      ...{ restarts: 1, attempt: 2 },
      lastExit: {
        ...{ code: null, signal: null },
        reason: expect.stringMatching(/^ended with an unknown exit status after .* while no supervisor was running/),
      },
    });
    expect(replaced.pools[0]?.instances[1]?.pid).toBe(later);
    signal(later, "SIGKILL");
    await project.statusWhere(
      "the other one",
      ({ pools: [web] }) => web?.instances[1]?.restarts === 2 && web.ready === 2,
    );
    const loads = async () => {
      for (const load of [anew, kept, commanded]) expect(failures(await load.stop())).toEqual(NO_FAILURES);
    };
    // What is inherited and found differs by runtime. The code with which the supervisor and the command then decide is the same.
    if (runtime === "node") return loads();
    const program = replaced.pools[1]?.instances[0]?.pid as number;

    // A reload is interrupted: the serving process continues, and the replacement is stopped.
    project.write("hang", "");
    const reload = project.cli(["reload", "web"]);
    await project.statusWhere("the replacement", ({ pools: [web] }) => {
      return web?.instances.some(({ other }) => other?.role === "replacement" && other.pid !== null) === true;
    });
    const serving = processesOf(await project.status());
    await waitFor(
      "the replacement in the state",
      () => savedIn(project).filter((id) => id.startsWith("web")).length === 3,
    );
    await kill(project);
    await reload;
    await again(project);
    await untilIs(project, serving);
    await project.eventWhere(/started 0, ended 1/);
    await project.statusWhere(
      "its end",
      ({ pools: [web] }) => web?.instances.every(({ other }) => other === null) === true,
    );

    // A start with another config does the same as a reload.
    await kill(project);
    rmSync(join(project.folder, "hang"));
    project.writeConfig({ pools: { ...pools, web: { ...pools.web, instances: 3 } } });
    await again(project);
    const grown = await project.statusWhere(
      "the reload",
      ({ pools: [web] }) => web?.ready === 3 && web.generation > 1,
      60_000,
    );
    expect(await project.events()).toContain("the configuration differs from the running one: reloading");
    await project.statusWhere("the end of the reload", ({ pools }) => pools.every(({ rollout }) => rollout === null));
    expect(grown.pools[1]?.instances[0]?.restarts).toBe(0);

    // If the config is rejected, or fails, the fleet continues unchanged, and the start says why.
    const three = { ...pools, web: { ...pools.web, instances: 3 } };
    const running = processesOf(await project.status());
    project.write("broken.js", 'throw new Error("broken")');
    const changes = [
      [() => project.writeConfig({ pools: three, listen: ["127.0.0.1:9"] }), "listen changed from"],
      [() => project.writeConfig({ pools: { ...three, web: { ...three.web, app: "./broken.js" } } }), "broken"],
      // There is an app in the folder, which is not started in addition to the fleet.
      [() => rmSync(join(project.folder, "paceline.config.json")), "paceline.config.json: is missing"],
    ] as const;
    for (const [change, reason] of changes) {
      await kill(project);
      change();
      const { code, output } = await project.startDetached();
      expect(`${code} ${output}`).toMatch(/^1 .*taken over with its former configuration, 5 instances on http:/s);
      expect(output).toContain(reason);
      await untilIs(project, running);
    }
    expect((await project.status()).problem).toContain("paceline.config.json");
    expect((await project.startDetached()).output).toMatch(
      /paceline\.config\.json: is missing, and its fleet runs \(pid/,
    );
    project.writeConfig({ pools: three });
    await project.cli(["reload"]);
    expect((await project.status()).problem).toBe(null);
    expect(program).toBeGreaterThan(0);

    await loads();
    for (let round = 1; round <= rounds; round++) expect(timesIn(project, `before${round}`)).toBeGreaterThan(0);
    // The balancer has exited, too.
    const [balancer] = (await project.status()).balancers;
    const [{ generation } = { generation: 0 }] = (await project.status()).pools;
    await kill(project);
    signal(balancer?.pid ?? 0, "SIGKILL");
    await again(project, ["--or-reload"]);
    const reloaded = await project.statusWhere("the balancer", (status) => status.balancers[0]?.state === "ready");
    expect(reloaded.pools[0]?.generation).toBe(generation + 1);

    // A stop is interrupted while a request is in progress: its command is killed, then the supervisor.
    const stopWhileHeld = async (stop: () => void) => {
      project.write("held", "");
      const lines = timesIn(project, "held");
      const held = get(project.port, "/?held&line=held");
      await waitFor("the request", () => timesIn(project, "held") > lines);
      stop();
      await waitFor("the stop in the state", () => {
        const state = JSON.parse(readFileSync(join(project.runDir, "state.json"), "utf8"));
        return state.stoppedFrom !== undefined;
      });
      return async () => {
        rmSync(join(project.folder, "held"));
        expect((await held).body).toBe("hello");
      };
    };
    let command: ChildProcess | undefined;
    const endHeld = await stopWhileHeld(() => {
      command = project.startInForeground([PACELINE, "stop"]);
    });
    signal(-(command?.pid ?? 0), "SIGKILL");
    await kill(project);
    await endHeld();
    await again(project);
    const up = await project.statusWhere("its sizes", (status) => status.balancers[0]?.state === "ready");
    expect(up.pools.map(({ wanted }) => wanted)).toEqual([3, 1, 1]);

    // A stop whose supervisor is killed continues by itself.
    let stopping: ReturnType<Project["stop"]> | undefined;
    const endHeldAgain = await stopWhileHeld(() => {
      stopping = project.stop();
    });
    await kill(project);
    await endHeldAgain();
    expect((await stopping)?.code).toBe(0);
    await project.nothingLeft();
    expect(existsSync(join(project.runDir, "state.json"))).toBe(false);

    // A start whose supervisor is killed says what continues.
    project.write("hang", "");
    const starting = project.startDetached();
    await waitFor("an instance", async () => {
      const status = await project.status().catch(() => undefined);
      return status?.pools[0]?.instances.some(({ pid }) => pid !== null) === true;
    });
    await kill(project);
    const { code, output } = await starting;
    expect(`${code} ${output}`).toMatch(/^1 .*keeps? serving.*`paceline stop` ends them/s);
    expect(output).not.toContain("nothing was left running");
    rmSync(join(project.folder, "hang"));
    expect((await project.cli(["stop"])).code).toBe(0);
    await project.nothingLeft();
  });

  test("goes on under a start in the foreground, which fails when its supervisor is killed, too", async () => {
    const project = await startFleet({
      runtime,
      app: APP,
      config: { pools: { web: { app: "./app.js", instances: 1 } } },
    });
    const { pid } = await project.status();
    await kill(project);
    project.startInForeground();
    await waitFor("the next supervisor", async () => {
      const status = await project.status().catch(() => undefined);
      return status !== undefined && status.pid !== pid && status.pools[0]?.ready === 1;
    });
    await kill(project);
    expect(await project.exit()).toEqual({ code: 1, signal: null });
    expect(project.output).toContain("the supervisor was killed by SIGKILL; its processes keep serving");
  });

  test("that was detached gets another one from a balancer, again and again, until it is stopped", async () => {
    const config = { restartSupervisor: true, balancer: { processes: 2 }, runtime: undefined };
    const project = await startFleet({ runtime, app: APP, config });
    // Completed operations stay in effect, however soon afterwards the supervisor is killed.
    await project.reload();
    const before = await project.status();
    for (let round = 0; round < 2; round++) {
      const { pid } = await project.status();
      signal(pid, "SIGKILL");
      await waitFor("the next supervisor", async () => {
        const status = await project.status().catch(() => undefined);
        return status !== undefined && status.pid !== pid && status.state === "running";
      });
    }
    await untilIs(project, processesOf(before));
    // The event comes when all of them have connected.
    await project.eventWhere(/adopted 2 instances and 2 balancers; started 0, ended 0/);
    // Also the runtime that the environment of the first start prefers.
    expect(await project.events()).not.toMatch(/was cut off|another configuration/);
    expect((await project.stop()).code).toBe(0);
    await project.nothingLeft();
  });
});
