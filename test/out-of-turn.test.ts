/**
 * An operator drains, ejects and weights instances under load, over the lane, HTTP/1.1 and to a program, behind two balancers; with
 * policies.
 */
import { expect, test } from "vitest";
import { type Project, startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { kill, pause, signal } from "./support/processes.js";
import { RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

/** Each responds with the body of the request to `…/open`, and otherwise with its instance. */
const FETCH = `
const who = { "x-instance": process.env.PACELINE_INSTANCE };
export default {
  fetch: (request) => new Response(request.url.endsWith("/open") ? request.body : who["x-instance"], { headers: who }),
};
`;
const HANDLER = `
export default (request, response) => {
  response.setHeader("x-instance", process.env.PACELINE_INSTANCE);
  if (request.url.endsWith("/open")) request.pipe(response);
  else response.end(process.env.PACELINE_INSTANCE);
};
`;
const PROGRAM = `
import http from "node:http";
import handler from "./handler.js";
http.createServer(handler).listen(process.env.PORT, process.env.HOST);
`;

const POOLS = {
  web: { app: "./app.js", instances: 3, routes: ["/"] },
  api: { app: "./handler.js", instances: 3, routes: ["/api/"], policy: "least-busy" },
  cmd: { command: ["{bun}", "program.js"], instances: 3, routes: ["/cmd/"], policy: "random-two" },
  // The last one is a backup.
  spare: { app: "./app.js", instances: 2, routes: ["/spare/"], policy: "hash:path", backups: 1 },
};
type Pool = keyof typeof POOLS;

/** The instances of `count` requests, one after another on one connection, which one balancer serves. */
async function servedOn(connection: RawConnection, pool: Pool, count: number): Promise<string[]> {
  const names: string[] = [];
  for (let sent = 0; sent < count; sent++) {
    const before = connection.received.length;
    connection.write(`GET ${POOLS[pool].routes[0]} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await connection.until(new RegExp(`^[\\s\\S]{${before}}HTTP/1.1 200 [\\s\\S]*\\r\\n\\r\\n\\w+\\.\\d$`));
    names.push(/\w+\.\d$/.exec(connection.received)?.[0] ?? "");
  }
  return names;
}

async function served(project: Project, pool: Pool, count = 24): Promise<string[]> {
  const connection = await RawConnection.open(project.port);
  const names = await servedOn(connection, pool, count);
  connection.close();
  return names;
}

/** Opens requests until one is at that instance, and ends the others. */
async function openAt(project: Project, pool: Pool, name: string): Promise<RawConnection> {
  for (;;) {
    const connection = await RawConnection.open(project.port);
    connection.write(`POST ${POOLS[pool].routes[0]}open HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n<`);
    const head = await connection.until(/\r\n\r\n[\s\S]*</);
    if (head.toLowerCase().includes(`x-instance: ${name}\r\n`)) return connection;
    connection.write(">");
    await connection.until(/>/);
    connection.close();
  }
}

const instanceOf = async (project: Project, name: string) =>
  (await project.status()).pools.flatMap(({ instances }) => instances).find((each) => each.name === name);

test("no request fails by what an operator does to an instance, and it stays over restarts and supervisors", async () => {
  const project = await startFleet({
    ...{ runtime: "bun", app: FETCH, files: { "handler.js": HANDLER, "program.js": PROGRAM } },
    // On a busy machine an instance may be silent for a long time.
    config: { pools: POOLS, balancer: { processes: 2, limits: { stallAfterMs: 60_000 } } },
  });
  const loads = Object.values(POOLS).map(({ routes: [path] }) =>
    project.load({ mode: "keep-alive", clients: 3, delayMs: 80, ...(path !== undefined && { path }) }),
  );
  const goOn = () =>
    Promise.all(
      loads.map((load) => {
        const { ok } = load.counts;
        return load.until("more responses", (counts) => counts.ok >= ok + 30);
      }),
    );
  await goOn();

  // A drain ends with the last request there; no other request reaches the instance in the meantime.
  const before = await instanceOf(project, "web.2");
  for (const pool of ["web", "api", "cmd"] as const) {
    const name = `${pool}.2`;
    const open = await openAt(project, pool, name);
    expect(await project.turn("drain", name)).toMatchObject({
      code: 0,
      output: expect.stringMatching(/requests in flight continue/),
    });
    const drained = project.turn("drain", name, { wait: true });
    await goOn();
    expect(await served(project, pool)).not.toContain(name);
    expect(await instanceOf(project, name)).toMatchObject({ state: "ready", outOfTurn: "drained" });
    expect(await project.events()).not.toContain(`${name}      nothing is in flight`);
    open.write(">");
    await open.until(/>/);
    expect(await drained).toMatchObject({
      code: 0,
      output: expect.stringContaining(`${name} is drained: nothing is in flight there`),
    });
    open.close();
  }
  expect(await instanceOf(project, "web.2")).toMatchObject({ pid: before?.pid, attempt: before?.attempt });

  // The slot stays drained with another process and under another supervisor.
  expect((await project.restart("web.2")).code).toBe(0);
  expect(await project.turn("weight", "web.1", { weight: 300 })).toMatchObject({ code: 0 });
  expect(await project.turn("eject", "api.1")).toMatchObject({
    code: 0,
    output: expect.stringContaining("api.1 is ejected"),
  });
  const { pid } = await project.status();
  await kill(pid);
  await project.start();
  expect(await instanceOf(project, "web.2")).toMatchObject({ attempt: 2, outOfTurn: "drained" });
  expect(await instanceOf(project, "web.1")).toMatchObject({ weight: 300 });
  expect(new Set(await served(project, "api"))).toEqual(new Set(["api.3"]));

  // An ejected instance takes over, then it is the last one and stays. If all are ejected, all serve.
  expect(await project.turn("drain", "api.3")).toMatchObject({ code: 0 });
  expect(new Set(await served(project, "api"))).toEqual(new Set(["api.1"]));
  expect(await project.turn("drain", "api.1")).toMatchObject({
    code: 1,
    output: expect.stringMatching(/is the only instance of api/),
  });
  expect(await project.turn("undrain", "api.3")).toMatchObject({ code: 0 });
  expect(await project.turn("eject", "api.3")).toMatchObject({
    code: 0,
    output: expect.stringMatching(/still gets requests/),
  });
  expect(new Set(await served(project, "api"))).toEqual(new Set(["api.1", "api.3"]));
  // An ejection ends with the process.
  expect((await project.restart("api.1")).code).toBe(0);
  expect(new Set(await served(project, "api"))).toEqual(new Set(["api.1"]));

  // A backup serves while the others do not.
  expect(new Set(await served(project, "spare"))).toEqual(new Set(["spare.1"]));
  expect((await project.turn("drain", "spare.1")).code).toBe(0);
  expect(new Set(await served(project, "spare"))).toEqual(new Set(["spare.2"]));
  expect(await project.scale("spare", 1)).toMatchObject({
    code: 1,
    output: expect.stringMatching(/only drained instances/),
  });
  await goOn();

  // The settings can be undone, even for new processes of a reload.
  for (const name of ["web.2", "api.2", "cmd.2", "spare.1"])
    expect(await project.turn("undrain", name)).toMatchObject({
      code: 0,
      output: expect.stringContaining(`${name} gets requests again`),
    });
  expect(await project.turn("readmit", "api.3")).toMatchObject({
    code: 0,
    output: expect.stringContaining("api.3 is readmitted"),
  });
  expect(await project.scale("spare", 1)).toMatchObject({
    code: 2,
    output: expect.stringMatching(/it can have 0 or from 2 instances, not 1/),
  });
  expect((await project.reload("web")).code).toBe(0);
  await goOn();
  for (const load of loads) expect(failures(await load.stop())).toEqual(NO_FAILURES);
  expect(new Set(await served(project, "api"))).toEqual(new Set(["api.1", "api.2", "api.3"]));
  expect(new Set(await served(project, "spare"))).toEqual(new Set(["spare.1"]));
  // Requests of one balancer at an instance keep requests of the other balancer away: the total of both decides.
  const [first, second] = (await project.status()).balancers.map(({ pid }) => pid ?? 0) as [number, number];
  await pause(second);
  const open = await openAt(project, "api", "api.2");
  signal(second, "SIGCONT");
  await pause(first);
  const connection = await RawConnection.open(project.port);
  await servedOn(connection, "web", 1);
  signal(first, "SIGCONT");
  await waitFor("the other balancer to see it", async () => !(await servedOn(connection, "api", 12)).includes("api.2"));
  open.write(">");
  await open.until(/>/);
  await waitFor("it to get requests again", async () => (await servedOn(connection, "api", 3)).includes("api.2"));
  for (const each of [open, connection]) each.close();
  // Three of five, unless an instance is slow for a moment.
  const heavy = async () => (await served(project, "web", 25)).filter((name) => name === "web.1").length;
  await waitFor("three of five requests to reach the heavy one", async () => (await heavy()) === 15);
});
