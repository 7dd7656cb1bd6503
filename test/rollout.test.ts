/** When a rollout counts a version as working: it must stay ready; otherwise the old version returns. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { saying } from "./support/apps.js";
import { Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { signal } from "./support/processes.js";
import { get, RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

/** Returns its version, and streams its number on /events; with certain versions the third instance dies when a file `die` exists. */
const APP = `
import { existsSync } from "node:fs";
const { VERSION, PACELINE_INDEX } = process.env;
const dies = VERSION === "dies-later" && PACELINE_INDEX === "3";
if (dies) setInterval(() => { if (existsSync("die")) { console.error("no such column: price"); process.exit(9); } }, 20);
export default {
  fetch(request) {
    if (!request.url.endsWith("/events")) return new Response(VERSION);
    return new Response(new ReadableStream({ start: (out) => out.enqueue(new TextEncoder().encode("data: " + PACELINE_INDEX + "\\n\\n")) }));
  },
};
`;

/** Opens streams until each instance has one; returns one stream for each instance, by its number. */
async function streamsOfAll(project: Project, instances: number, path: string): Promise<Map<number, RawConnection>> {
  const streams = new Map<number, RawConnection>();
  await waitFor("each instance to have a stream", async () => {
    const stream = await RawConnection.open(project.port);
    stream.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    const [, number] = /data: (\d+)/.exec(await stream.until(/data: \d+\n\n/)) ?? [];
    if (streams.has(Number(number))) stream.close();
    else streams.set(Number(number), stream);
    return streams.size === instances;
  });
  return streams;
}

describe("a rollout", () => {
  const runtime = "bun";

  test("ends when a new process does not stay ready for its own minReadyMs, and the slots that had one go back", async () => {
    const config = { maxSurge: 2, env: { VERSION: "v1" } };
    const project = await startFleet({ runtime, instances: 3, app: APP, config });
    // The third instance is replaced alone, and is seen to be ready within that time.
    project.writeConfig({ minReadyMs: 6000, env: { VERSION: "dies-later" } });
    const reloading = project.reload();
    await project.statusWhere("the third of the new ones to be ready", ({ pools }) => {
      const { state, generation, other } = pools[0]?.instances[2] ?? {};
      return (state === "ready" && generation === 2) || (other?.role === "replacement" && other.state === "ready");
    });
    project.write("die", "");
    const reload = await reloading;
    expect(reload.code).toBe(1);
    expect(reload.output).toMatch(
      /reload failed: the new web\.3 was ready, but did not stay ready: exited with code 9 .*; the old instances keep serving/,
    );
    expect(reload.output).toContain("no such column: price");
    const status = await project.ready();
    expect(status.pools[0]).toMatchObject({ generation: 1, instances: [1, 2, 3].map(() => ({ generation: 1 })) });
    expect(status.pools[0]?.instances.map(({ attempt }) => attempt)).toEqual([3, 3, 1]);
    for (let n = 0; n < 6; n++) expect((await get(project.port)).body).toBe("v1");

    // The same for readyTimeoutMs: the serving version has the default, which is far longer.
    project.write("app.js", "await new Promise((resolve) => setTimeout(resolve, 600_000));");
    project.writeConfig({ readyTimeoutMs: 700, env: { VERSION: "never-ready" } });
    const never = await project.reload();
    expect(`${never.code} ${never.output}`).toMatch(/^1 [\s\S]*was not ready within 0\.7 s \(readyTimeoutMs\)/);
    for (let n = 0; n < 3; n++) expect((await get(project.port)).body).toBe("v1");
    project.write("app.js", APP);

    project.writeConfig({ env: { VERSION: "v2" } });
    expect((await project.reload()).code).toBe(0);
    for (let n = 0; n < 6; n++) expect((await get(project.port)).body).toBe("v2");
  });

  test("takes as many slots at once as maxSurge says, so that long streams hold up no more than they must", async () => {
    const config = { maxSurge: "75%", drainTimeoutMs: 60_000, env: { VERSION: "v1" } };
    const project = await startFleet({ runtime, instances: 4, app: APP, config });
    const streams = await streamsOfAll(project, 4, "/events");
    const reload = project.reload();
    // The streams keep the outgoing processes of the replaced slots running.
    const outgoing = ({ pools }: Status) =>
      pools[0]?.instances.filter(({ other }) => other?.state === "draining") ?? [];
    const { pools } = await project.statusWhere("three to drain", (status) => outgoing(status).length >= 3);
    expect(pools[0]?.instances.filter(({ other }) => other !== null)).toHaveLength(3);
    expect(pools[0]?.instances.map(({ attempt }) => attempt).toSorted()).toEqual([1, 2, 2, 2]);
    for (const stream of streams.values()) stream.close();
    expect((await reload).code).toBe(0);
    expect((await project.ready()).pools[0]?.generation).toBe(2);
  });
});

/** Streams until its instance drains; its listener for SIGTERM takes some time to save. */
const SAVING = `
import { appendFileSync } from "node:fs";
const note = (text) => appendFileSync(new URL("./notes", import.meta.url), process.env.PACELINE_INSTANCE + " " + text + "\\n");
process.on("SIGTERM", async () => {
  await new Promise((resolve) => setTimeout(resolve, 100));
  note("saved");
});
const text = (data) => new TextEncoder().encode("data: " + data + "\\n\\n");
export default {
  fetch(_request, info) {
    let bye;
    return new Response(new ReadableStream({
      start(out) {
        out.enqueue(text(process.env.PACELINE_INDEX));
        bye = () => {
          out.enqueue(text("bye"));
          out.close();
        };
        info.draining.addEventListener("abort", bye);
      },
      cancel: () => info.draining.removeEventListener("abort", bye),
    }));
  },
};
`;

describe.each(RUNTIMES)("an app on %s", (runtime) => {
  test("ends its streams as a drain begins, and its SIGTERM listener runs, on a reload, a scale-down and a stop", async () => {
    const project = await startFleet({ runtime, app: SAVING, config: { drainTimeoutMs: 60_000 } });
    const saved = () => readFileSync(join(project.folder, "notes"), "utf8").trim().split("\n");
    for (const [operate, open, ended, notes] of [
      [() => project.reload(), 2, [1, 2], ["web.1 saved", "web.2 saved"]],
      [() => project.scale("web", 1), 2, [2], ["web.2 saved"]],
      [() => project.stop(), 1, [1], ["web.1 saved"]],
    ] as const) {
      const before = await streamsOfAll(project, open, "/");
      project.write("notes", "");
      expect((await operate()).code).toBe(0);
      for (const number of ended) await before.get(number)?.until(/data: bye/);
      expect(saved()).toEqual(notes);
      const goesOn = [...before].filter(([, { received }]) => !received.includes("data: bye"));
      expect(goesOn).toHaveLength(open - ended.length);
      for (const stream of before.values()) stream.close();
    }
  });
});

describe("a generation that never got ready, in a pool that has served", () => {
  test("is not given up: it serves once what it needs is back", async () => {
    const app = `
      import { existsSync } from "node:fs";
      if (existsSync(new URL("./.broken", import.meta.url))) throw new Error("the database is away");
      ${saying("here")}`;
    const config = { backoff: { initialMs: 20, maxMs: 60 }, restartBudget: { maxFailures: 3 } };
    const project = await startFleet({ runtime: "bun", app, config: { ...config, instances: 1 } });
    expect((await project.scale("web", 0)).code).toBe(0);
    project.writeConfig({ ...config, env: { VERSION: "v2" } });
    const stopped = /^web: (reload|restart) done; it has no instances: paceline restart web starts it$/m;
    for (const operate of [() => project.reload(), () => project.restart()])
      expect(await operate()).toMatchObject({ code: 0, output: expect.stringMatching(stopped) });
    project.write(".broken", "");
    // A restart starts the number of instances in the config.
    expect((await project.restart("web")).code).toBe(1);
    const { pools } = await project.statusWhere(
      "more tries than the budget has",
      ({ pools: [web] }) => web?.instances.every(({ attempt, state }) => attempt > 6 || state === "failed") === true,
    );
    expect(pools[0]?.instances.map(({ state, generation }) => [state === "failed", generation])).toEqual([[false, 2]]);
    rmSync(join(project.folder, ".broken"));
    await project.ready();
  });
});

describe("two deploys at once", () => {
  const runtime = "bun";

  test("each command responds when its code, or newer, is in service everywhere, and other pools are not held up", async () => {
    // A version starts only while a file exists, so that the first reload lasts until all others are requested.
    const version = (text: string) => `
      import { existsSync } from "node:fs";
      import { setTimeout as wait } from "node:timers/promises";
      export const start = async () => { while (!existsSync("may-start")) await wait(20); };
      ${saying(text)}`;
    const pools = {
      web: { app: "./app.js", instances: 2, routes: ["/"] },
      api: { app: "./api.js", instances: 1, routes: ["/api/"] },
    };
    const project = await startFleet({
      runtime,
      app: version("v1"),
      files: { "api.js": saying("api"), "may-start": "" },
      config: { pools, minReadyMs: 300 },
    });
    const responses = async () => {
      const said = new Set<string>();
      for (let n = 0; n < 4; n++) said.add((await get(project.port)).body);
      return [...said];
    };
    rmSync(join(project.folder, "may-start"));
    project.write("app.js", version("v2"));
    const first = project.reload("web").then(async (result) => ({ ...result, said: await responses() }));
    await project.statusWhere("the first reload to be under way", ({ pools }) => pools[0]?.rollout !== null);
    project.write("app.js", version("v3"));
    const second = project.reload("web").then(async (result) => ({ ...result, said: await responses() }));
    // A restart does not wait but exits with 5; another pool is free.
    expect(await project.restart("web")).toMatchObject({ code: 5 });
    expect((await project.scale("api", 2)).code).toBe(0);
    // Like a command without a waiting client.
    signal((await project.status()).pid, "SIGHUP");
    project.write("may-start", "");
    const [one, two] = await Promise.all([first, second]);
    expect([one.code, two.code, two.said]).toEqual([0, 0, ["v3"]]);
    expect(one.said).not.toContain("v1");
    const events = await waitFor("the reload of the signal to be told", async () => {
      const told = await project.events();
      return told.includes("SIGHUP: ") && told;
    });
    expect(events).toMatch(/ info +paceline +SIGHUP: web: reload done/);
    expect((await project.ready()).pools[0]?.rollout).toBeNull();
  });
});

test("an invalid share is an error that says which values are valid", async () => {
  const project = await Project.make({ runtime: "bun", app: APP, config: { maxSurge: "0%" } });
  const check = await project.cli(["check"]);
  expect(check.code).toBe(2);
  expect(check.output).toMatch(
    /maxSurge: must be a whole number from 1 to 1024, or a share from "1%" to "100%", not "0%"/,
  );
});
