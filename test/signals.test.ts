/** The effects of signals on a supervisor in the foreground: stop, reload, scale; in a terminal, alone, and below PID 1. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { PACELINE, Project, RUNTIMES } from "./support/fleet.js";
import { needs, run, signal } from "./support/processes.js";
import { get, RawConnection } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

describe.each(RUNTIMES)("signals on %s", (runtime) => {
  const once = testOnce(runtime);

  /** Requests in flight get their responses, and nothing is left. */
  async function stopsWith(name: NodeJS.Signals, project: Project): Promise<void> {
    const { pid } = await project.ready();
    const slow = await RawConnection.open(project.port);
    slow.write("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    await project.statusWhere("the request to be in flight", (status) =>
      Boolean(status.pools[0]?.instances.some(({ inFlight }) => inFlight === 1)),
    );
    signal(pid, name);
    await project.statusWhere("its balancer to drain", ({ balancers }) => balancers[0]?.state === "draining");
    project.write("released", "");
    await slow.end();
    expect(slow.received).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\n(4\r\n)?held/);
    expect(await project.exit()).toEqual({ code: 0, signal: null });
    await project.nothingLeft();
  }

  once("Ctrl-C in a terminal stops", async (context) => {
    needs(context, "script");
    const project = await Project.make({ runtime, app: HELLO });
    // script(1) gives the command its own terminal and types its standard input into it.
    const terminal = project.startInForeground(["script", "-qec", `exec ${PACELINE} start`, "/dev/null"]);
    await project.ready();
    expect((await get(project.port)).body).toBe(HELLO_BODY);
    // Its terminal has no size.
    const top = ["-qec", `${PACELINE} top --plain --once`, "/dev/null"];
    const { output } = await run("script", top, { cwd: project.folder, env: project.startEnvironment() });
    expect(output).toMatch(/^ web\.1 +ready/m);
    terminal.stdin?.write("\x03");
    expect(await project.exit()).toEqual({ code: 0, signal: null });
    await project.nothingLeft();
  });

  test("SIGHUP stays ignored with nohup, of a fleet and of one instance alone; SIGINT stops", async () => {
    const nohup = (command: string) => ["sh", "-c", `trap "" HUP; exec ${PACELINE} ${command}`];
    const project = await Project.make({ runtime, app: HELLO });
    const alone = await Project.make({ runtime, app: HELLO });
    project.startInForeground(nohup("start"));
    // The kernel chooses the port, because a port that was free may now belong to another test.
    alone.startInForeground(nohup("serve ./app.js --port 0"));
    const { pid } = await project.ready();
    const port = Number(await waitFor("the server", () => /listening on \S+:(\d+)\s/.exec(alone.output)?.[1]));
    signal(pid, "SIGHUP");
    signal(alone.foregroundPid, "SIGHUP");
    // Later signals are handled.
    signal(pid, "SIGTTIN");
    const { pools } = await project.statusWhere("three instances", ({ pools }) => pools[0]?.wanted === 3);
    expect(pools[0]?.generation).toBe(1);
    // Whichever signal the runtime sees first, it would have been reported by now.
    await project.ready();
    expect((await project.reload()).code).toBe(0);
    expect((await project.status()).pools[0]?.generation).toBe(2);
    expect((await project.cli(["events"])).stdout).not.toContain("SIGHUP");
    expect((await get(port)).body).toBe(HELLO_BODY);
    await stopsWith("SIGINT", project);
  });

  test("SIGHUP reloads, SIGTTIN and SIGTTOU scale by one, SIGTERM stops like SIGINT", async () => {
    const project = await Project.make({ runtime, app: HELLO });
    project.startInForeground();
    const { pid } = await project.ready();

    signal(pid, "SIGHUP");
    await project.statusWhere(
      "the second generation to be ready",
      (status) =>
        status.pools[0]?.generation === 2 &&
        status.pools[0].rollout === null &&
        status.pools[0].instances.every(
          ({ generation, state, other }) => generation === 2 && state === "ready" && !other,
        ),
    );
    signal(pid, "SIGTTIN");
    await project.statusWhere("three instances", ({ pools }) => pools[0]?.wanted === 3 && pools[0].ready === 3);
    signal(pid, "SIGTTOU");
    await project.statusWhere(
      "two instances",
      ({ pools }) => pools[0]?.wanted === 2 && pools[0].instances.length === 2,
    );
    expect((await get(project.port)).body).toBe(HELLO_BODY);
    await stopsWith("SIGTERM", project);
  });

  once("as PID 1 it reaps what apps leave behind, passes signals on, and ends with its status", async (context) => {
    needs(context, "unshare");
    const namespace = ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"];
    const allowed = await run("unshare", [...namespace, "true"]);
    if (allowed.code !== 0) context.skip(`no PID namespace to be had here: ${allowed.output.trim()}`);

    // Each request leaves a process behind, which exits when the file exists.
    const leaves = `import { spawnSync } from "node:child_process";
      const left = "(while [ ! -e released ]; do sleep 0.05; done) >/dev/null 2>&1 & echo $!";
      export default { fetch: () => new Response(spawnSync("sh", ["-c", left]).stdout) };
      process.on("SIGHUP", () => {});\n`;
    const project = await Project.make({ runtime, instances: 1, app: leaves });
    const unshare = project.startInForeground(["unshare", ...namespace, PACELINE, "start"]);
    const before = await project.ready();
    expect(before.pid).toBeLessThan(100); // A pid of the inner namespace proves that it runs there.
    const [first = 0] = childrenOf(unshare.pid ?? 0);
    for (let count = 0; count < 3; count++) await get(project.port);
    expect(childrenOf(first)).toHaveLength(4);
    project.write("released", "");
    await waitFor("all left processes to be reaped", () => childrenOf(first).length === 1);

    const [supervisor = 0] = childrenOf(first);
    signal(first, "SIGHUP");
    await project.statusWhere("a reload", ({ pools }) => pools[0]?.generation === 2 && pools[0].rollout === null);
    expect(childrenOf(first)).toEqual([supervisor]);
    expect(await project.events()).not.toContain("PID 1");
    signal(first, "SIGTERM");
    expect(await project.exit()).toEqual({ code: 0, signal: null });
    await project.nothingLeft();

    project.writeConfig({ instnces: 2 });
    project.startInForeground(["unshare", ...namespace, PACELINE, "start"]);
    expect(await project.exit()).toEqual({ code: 2, signal: null });
  });
});

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
}
