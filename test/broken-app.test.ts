/** A broken app: its output is shown, and the old version continues. */
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { findRuntimes } from "../packages/supervisor/dist/runtime/runtimes.js";
import { HELLO, HELLO_BODY, saying, throwing } from "./support/apps.js";
import { Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { get } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";

const COMPLAINT = "the database is away";
/** Works until a file named `broken` exists beside it. */
const BREAKABLE = `
import { existsSync } from "node:fs";
if (existsSync(new URL("./broken", import.meta.url))) throw new Error(${JSON.stringify(COMPLAINT)});
${HELLO}`;

describe.each(RUNTIMES)("a broken app on %s", (runtime) => {
  test("that throws at start: start --detach fails with its error and leaves nothing", async () => {
    const project = await Project.make({ runtime, instances: 1, app: throwing(COMPLAINT) });
    const started = await project.startDetached();
    expect(started.output).toContain(COMPLAINT);
    expect(started.code).toBe(1);
    await project.nothingLeft();
  });

  // The pure state machine decides about delays and budgets.
  testOnce(runtime)(
    "that starts to crash later is tried again and again, while another pool serves on, and serves when it can",
    async () => {
      const project = await startFleet({
        runtime,
        app: BREAKABLE,
        files: { "steady.js": saying("steady") },
        config: {
          backoff: { initialMs: 20, maxMs: 100 },
          restartBudget: { maxFailures: 3 },
          pools: {
            shaky: { app: "./app.js", instances: 1, routes: ["/"] },
            steady: { app: "./steady.js", instances: 1, routes: ["/steady/"] },
          },
        },
      });
      const steady = project.load({
        mode: "connect-anew",
        clients: 2,
        path: "/steady/",
        expectBody: "steady",
        delayMs: 40,
      });
      expect((await get(project.port)).body).toBe(HELLO_BODY);
      project.write("broken", "");
      expect((await get(project.port, "/crash")).body).toBe("good-bye");

      const status = await project.statusWhere(
        "the shaky instance to have spent its budget",
        (seen) => (seen.pools.find((pool) => pool.name === "shaky")?.instances[0]?.restarts ?? 0) > 4,
      );
      const shaky = status.pools.find((pool) => pool.name === "shaky")?.instances[0];
      expect(shaky?.lastExit?.lastLines.join("\n")).toContain(COMPLAINT);
      expect(shaky?.lastExit?.code).not.toBe(0);
      const refused = await get(project.port);
      expect(refused.status).toBe(503);
      expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
      await steady.moreConnections(10);
      expect(failures(await steady.stop())).toEqual(NO_FAILURES);
      rmSync(join(project.folder, "broken"));
      await project.ready();
      expect((await get(project.port)).body).toBe(HELLO_BODY);
    },
  );

  test("that never listens: while it loads, the program of `paceline check` says what it waits for", async () => {
    const project = await Project.make({ runtime, app: "setInterval(() => {}, 1000);" });
    const program = fileURLToPath(
      new URL("../packages/supervisor/dist/programs/load-only/load-only.js", import.meta.url),
    );
    const workload = JSON.stringify({ app: join(project.folder, "app.js") });
    const child = spawn(findRuntimes()[runtime] as string, [program, workload, "200"], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    const said = await new Promise<string>((resolve) => {
      let text = "";
      child.stderr.setEncoding("utf8").on("data", (part) => {
        text += part;
        if (text.includes("listen()")) resolve(text);
      });
      child.once("exit", () => resolve(text));
    });
    child.kill("SIGKILL");
    expect(said).toContain("still loading: its module exports no app, and has not called listen()\n");
  });

  test("that a reload finds: the command fails with its error, the old instances serve on", async () => {
    const project = await startFleet({ runtime, app: HELLO });
    const pids = (await project.status()).pools[0]?.instances.map((instance) => instance.pid);
    const load = project.load({ mode: "connect-anew", clients: 4, expectBody: HELLO_BODY });
    await load.moreConnections(20);
    project.write("app.js", throwing(COMPLAINT));

    const reloaded = await project.reload();
    expect(reloaded.output).toContain(COMPLAINT);
    expect(reloaded.code).toBe(1);
    await load.moreConnections(50);
    expect(failures(await load.stop())).toEqual(NO_FAILURES);
    const status = await project.ready();
    expect(status.pools[0]?.instances.map((instance) => instance.pid)).toEqual(pids);

    // A failed reload does not prevent the next one, to a working app.
    project.write("app.js", saying("mended"));
    expect((await project.reload()).code).toBe(0);
    expect((await get(project.port)).body).toBe("mended");
  });
});
