/** Failing instances of a fleet go out of service and come back: events, status, and no failed request of the others. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Project, startFleet } from "./support/fleet.js";
import { waitFor } from "./support/wait.js";

/**
 * Responds with 500 while a file with the name of its instance exists; to health checks while a file with that name and `.check` exists.
 */
const STATUS = `
import { existsSync } from "node:fs";
const there = (name) => existsSync(new URL("./" + name, import.meta.url));
const statusOf = (path) => there(process.env.PACELINE_INSTANCE + (path.endsWith("/health") ? ".check" : "")) ? 500 : 200;
`;
const FETCH = `${STATUS}
export default { fetch: (request) => new Response(process.env.PACELINE_INSTANCE, { status: statusOf(new URL(request.url).pathname) }) };
`;
const COMMAND = `${STATUS}
import http from "node:http";
http.createServer((req, res) => res.writeHead(statusOf(req.url)).end(process.env.PACELINE_INSTANCE)).listen(process.env.PORT, process.env.HOST);
`;

async function ask(project: Project, path: string): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${project.port}${path}`);
  await response.arrayBuffer();
  return response.status;
}

async function servedBy(project: Project, path: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${project.port}${path}`);
  expect(response.status).toBe(200);
  return response.text();
}

const instanceOf = (name: string) => (status: Awaited<ReturnType<Project["status"]>>) =>
  status.pools.flatMap(({ instances }) => instances).find((each) => each.name === name);

test("an instance that fails is ejected and readmitted, in every kind of pool, and one whose checks fail as well", async () => {
  const ejection = { ejectMs: 700, maxEjectMs: 700 };
  const checks = { healthPath: "/health", healthIntervalMs: 100, healthFailures: 0, healthFall: 2, healthRise: 2 };
  const pools = {
    web: { app: "./app.js", routes: ["/"], instances: 3, ejection, ...checks },
    command: { command: ["node", "./command.mjs"], routes: ["/command/"], instances: 2, ejection, ...checks },
  };
  const project = await startFleet({
    runtime: "bun",
    app: FETCH,
    files: { "command.mjs": COMMAND },
    config: { pools },
  });
  const paths = { "web.2": "/", "command.1": "/command/" };

  for (const [name, path] of Object.entries(paths)) {
    const find = instanceOf(name);
    for (let at = 0; at < 20; at++) expect(await ask(project, path)).toBe(200);
    project.write(name, "");
    const statuses = new Set<number>();
    await waitFor(`${name} to be ejected`, async () => {
      for (let at = 0; at < 6; at++) statuses.add(await ask(project, path));
      return new RegExp(`${name} +is ejected`).test(await project.events());
    });
    expect(statuses).toEqual(new Set([200, 500]));
    rmSync(join(project.folder, name));
    await project.statusWhere(`${name} to be readmitted`, (status) => {
      const found = find(status);
      return found?.outOfTurn === null && found.ejections.length === 0;
    });
    const events = await project.eventWhere(new RegExp(`${name} +is readmitted by balancer.1 after \\d`));
    expect(events).toMatch(
      new RegExp(
        `${name} +is ejected by balancer.1 for 0\\.\\d s: (\\d+ failures in a row|\\d+ of \\d+ requests failed); of the others' \\d+ requests 0 failed`,
      ),
    );

    project.write(`${name}.check`, "");
    await project.statusWhere(`${name} to fail its checks`, (status) => find(status)?.outOfTurn === "ejected");
    // With round robin, every second or third request would go there.
    for (let others = 0; others < 10; ) others = (await servedBy(project, path)) === name ? 0 : others + 1;
    // A second one would be too many.
    const other = name === "web.2" ? "web.3" : "command.2";
    const findOther = instanceOf(other);
    project.write(`${other}.check`, "");
    await project.statusWhere(`${other} to fail its checks`, (status) => findOther(status)?.outOfTurn === "failing");
    while ((await servedBy(project, path)) !== other);
    rmSync(join(project.folder, `${other}.check`));
    await project.statusWhere(`${other} to pass its checks`, (status) => findOther(status)?.outOfTurn === null);
    rmSync(join(project.folder, `${name}.check`));
    await project.statusWhere(`${name} to pass its checks`, (status) => find(status)?.outOfTurn === null);
    while ((await servedBy(project, path)) !== name);
    expect(await project.events()).toMatch(
      new RegExp(
        `${name} +fails its health checks and gets no new requests unless too many are out of turn: GET /health returned 500, 2 times in a row`,
      ),
    );
    expect(await project.events()).toMatch(
      new RegExp(`${name} +passes its health checks again, 2 in a row, and gets requests`),
    );
  }
});
