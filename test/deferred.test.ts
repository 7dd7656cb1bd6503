/** Deferred jobs in a fleet: a reload and a stop lose none and run none twice, and the status shows the queue. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { ROOT, RUNTIMES, startFleet } from "./support/fleet.js";
import { get } from "./support/raw-http.js";

const JOBS = 40;

/** Each request defers that many jobs; a job waits for the gate and records its action. */
const JOBS_OF_AN_APP = `
import { appendFileSync, existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { defer } from ${JSON.stringify(join(ROOT, "packages/server/dist/index.js"))};
const file = (name) => new URL(name, import.meta.url);
async function write(what) {
  while (!existsSync(file("gate"))) await sleep(5);
  await sleep(1);
  appendFileSync(file("done"), what + "\\n");
}
function deferAll(url) {
  const id = new URL(url, "http://x").searchParams.get("id");
  for (let n = 0; n < ${JOBS}; n++) defer(write, id + " " + n);
}
`;
const FETCH = `${JOBS_OF_AN_APP}
export default { fetch(request) { deferAll(request.url); return new Response("deferred"); } };`;
const NODE = `${JOBS_OF_AN_APP}
export default (request, response) => { deferAll(request.url); response.end("deferred"); };`;
const STYLES = ["fetch", "node"];

describe.each(RUNTIMES)("on %s", (runtime) => {
  test("apps of both styles: reload and stop in the middle", async () => {
    const pool = (style: string) => ({ app: `./${style}.js`, instances: 2, routes: [`/${style}/`] });
    const pools = { fetch: pool("fetch"), node: pool("node") };
    const files = { "fetch.js": FETCH, "node.js": NODE };
    const project = await startFleet({ runtime, app: "", files, config: { pools } });
    const gate = join(project.folder, "gate");
    const wanted: string[] = [];
    const ask = async (count: number) => {
      for (let n = 0; n < count; n++)
        for (const style of STYLES) {
          const id = wanted.length / JOBS;
          for (let job = 0; job < JOBS; job++) wanted.push(`${id} ${job}`);
          expect((await get(project.port, `/${style}/?id=${id}`)).body).toBe("deferred");
        }
    };

    await ask(6);
    const jobs = (status: Status) =>
      status.pools.flatMap(({ instances }) => instances).reduce((sum, { deferred }) => sum + (deferred?.jobs ?? 0), 0);
    await project.statusWhere("the queue in the status", (status) => jobs(status) === wanted.length);
    expect((await project.cli(["status", "--wide"])).output).toMatch(/ DEFERRED\n.* \d+, oldest \d+ s\n/);

    const reload = project.reload();
    await project.statusWhere("one to leave", ({ pools }) =>
      pools.some(({ instances }) => instances.some(({ other }) => other?.role === "outgoing")),
    );
    writeFileSync(gate, "");
    expect(await reload).toMatchObject({ code: 0 });

    rmSync(gate);
    await ask(6);
    const stop = project.stop();
    await project.statusWhere("the stop to begin", ({ state }) => state === "stopping");
    writeFileSync(gate, "");
    expect(await stop).toMatchObject({ code: 0 });
    await project.nothingLeft();

    const all = readFileSync(join(project.folder, "done"), "utf8").trimEnd().split("\n");
    expect(all.toSorted()).toEqual(wanted.toSorted());
    for (let id = 0; id < wanted.length / JOBS; id++) {
      const own = all.filter((line) => line.startsWith(`${id} `));
      expect(own).toEqual(Array.from({ length: JOBS }, (_, job) => `${id} ${job}`));
    }
  });
});
