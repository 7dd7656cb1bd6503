/** `paceline upgrade` between two built versions: no request is lost, open connections stay, and a version that fails is rolled back. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { LANE_VERSION } from "../packages/wire/src/lane/protocol.js";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { Project, ROOT } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { run, signal } from "./support/processes.js";
import { RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const PACKAGE = join(ROOT, "packages/supervisor");
const NEXT = "9.9.9";
const SOCKETS = 10;
/** Echoes on upgraded connections, and counts the bytes of bodies. */
const ECHO = `
import http from "node:http";
const server = http.createServer((request, response) => {
  let bytes = 0;
  request.on("data", (part) => (bytes += part.length));
  request.on("end", () => response.end("got " + bytes));
});
server.on("upgrade", (request, socket) => {
  socket.on("error", () => {});
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n");
  socket.on("data", (bytes) => socket.write(bytes));
});
export default server;
`;
/** Where a version of the channel and of the lane stands in the bundles. */
const VERSIONS: [RegExp, string][] = [
  [/channelVersion:1\b/g, "channelVersion:2"],
  [new RegExp(`isNeighbour\\((\\w+),${LANE_VERSION}\\)`, "g"), `isNeighbour($1,${LANE_VERSION + 1})`],
  [/isNeighbour\((\w+),1\)/g, "isNeighbour($1,2)"],
  [new RegExp(`putUint16\\(bytes,at\\+4,${LANE_VERSION}\\)`, "g"), `putUint16(bytes,at+4,${LANE_VERSION + 1})`],
];

/** Copies the built package as a later version, whose channel and lane are one version further. Returns its command. */
function nextVersion(folder: string): string {
  cpSync(join(PACKAGE, "bin"), join(folder, "bin"), { recursive: true });
  cpSync(join(PACKAGE, "dist"), join(folder, "dist"), { recursive: true });
  symlinkSync(realpathSync(join(PACKAGE, "node_modules")), join(folder, "node_modules"));
  const manifest = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8")) as object;
  writeFileSync(join(folder, "package.json"), JSON.stringify({ ...manifest, version: NEXT }));
  const changes = VERSIONS.map(() => 0);
  const programs = join(folder, "dist/programs");
  for (const name of readdirSync(programs, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".js")) continue;
    let text = readFileSync(join(programs, name), "utf8");
    for (const [at, [pattern, by]] of VERSIONS.entries()) {
      const changed = text.replace(pattern, by);
      if (changed !== text) changes[at] = (changes[at] ?? 0) + 1;
      text = changed;
    }
    writeFileSync(join(programs, name), text);
  }
  expect(Math.min(...changes)).toBeGreaterThan(0);
  return join(folder, "bin/paceline");
}

const ENDS_WHEN_TOLD = `
import { existsSync, writeFileSync } from "node:fs";
const folder = process.argv[1].slice(0, -"/main.js".length);
writeFileSync(folder + "/started", "");
setInterval(() => {
  if (existsSync(folder + "/end")) throw new Error("the disk is made of cheese");
}, 20);
`;

/** Asks the supervisor to hand over to a program that fails. */
function handOverTo(project: Project, program: string): Promise<number> {
  const body = JSON.stringify({ version: "0.0.1", command: process.execPath, args: [program] });
  return new Promise((resolve, reject) => {
    const socketPath = join(project.runDir, "control.sock");
    const request = http.request({ socketPath, method: "POST", path: "/v1/hand-over", agent: false }, (response) => {
      response.resume().on("end", () => resolve(response.statusCode ?? 0));
    });
    request.on("error", reject).end(body);
  });
}

/** Each runtime takes sockets over in test/handback.test.ts, at less cost. */
const runtime = "bun";

describe("another version", () => {
  test("an upgrade under load keeps open connections; what fails is rolled back; the process in the foreground stays", async () => {
    const pools = {
      web: { app: "./app.js", routes: ["/"] },
      sockets: { app: "./echo.mjs", routes: ["/ws/"], instances: 1 },
    };
    const project = await Project.make({ runtime, app: HELLO, files: { "echo.mjs": ECHO }, config: { pools } });
    project.startInForeground();
    await project.ready();
    const load = project.load({
      mode: "connect-anew",
      clients: 2,
      delayMs: 100,
      path: "/chat",
      expectBody: HELLO_BODY,
    });
    const env = { ...process.env, PACELINE_RUNTIME: runtime, PACELINE_RUN_DIR: project.runDir };
    const options = { cwd: project.folder, env };
    const versions = (status: Awaited<ReturnType<Project["ready"]>>) =>
      [...status.balancers, ...status.pools.flatMap(({ instances }) => instances)].map(({ version }) => version);

    // A version whose instances do not start: the former one runs all again.
    const folder = join(project.folder, "next");
    mkdirSync(folder);
    const paceline = nextVersion(folder);
    const program = join(folder, "dist/programs/server/bin.js");
    const working = readFileSync(program);
    writeFileSync(program, 'throw new Error("made of cheese");');
    const failed = await run(paceline, ["upgrade"], options);
    expect(failed.stderr).toMatch(/the upgrade failed, and Paceline \S+ runs the whole fleet again: .*made of cheese/s);
    expect(failed.code).toBe(1);
    writeFileSync(program, working);
    const before = await project.ready();
    expect(before.version).not.toBe(NEXT);
    expect(new Set(versions(before))).toEqual(new Set([before.version]));

    const sockets = await Promise.all(Array.from({ length: SOCKETS }, () => RawConnection.open(project.port)));
    for (const socket of sockets) {
      socket.write("GET /ws/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
      await socket.until(/101 Switching.*\r\n\r\n/s);
    }
    const upload = await RawConnection.open(project.port);
    upload.write("POST /ws/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");

    // A version that ends when it is told to. Until then the fleet is nobody else's.
    const broken = join(project.folder, "broken/programs/cli");
    mkdirSync(broken, { recursive: true });
    writeFileSync(join(broken, "main.js"), ENDS_WHEN_TOLD);
    expect(await handOverTo(project, join(broken, "main.js"))).toBe(200);
    await waitFor("the next supervisor", () => existsSync(join(broken, "started")) || undefined);
    // At once: the fleet is taken back after 30 s.
    const commands = [["status"], ["stop"], ["start", "--detach"], ["start", "--detach", "--replace"]];
    const all = commands.map((command) => run(join(PACKAGE, "bin/paceline"), command, options));
    for (const refused of await Promise.all(all)) {
      expect(refused.stderr).toMatch(/is being upgraded to Paceline 0\.0\.1 \(pid \d+\): try again in a moment/);
      expect(refused.code).toBe(5);
    }
    writeFileSync(join(broken, "end"), "");
    const after = await project.statusWhere("the rollback", ({ rolledBack }) => rolledBack !== null);
    expect(after).toMatchObject({ pid: before.pid, rolledBack: { reason: expect.stringContaining("exit status 1") } });
    await project.ready();

    // A version that works: first the supervisor alone, then the rest.
    const first = await run(paceline, ["upgrade", "--supervisor-only", "--json"], options);
    expect(first.code, first.output).toBe(0);
    expect(JSON.parse(first.stdout)).toMatchObject({ ok: true });
    const middle = await project.ready();
    expect(middle).toMatchObject({ version: NEXT, rolledBack: null });
    expect(middle.pid).not.toBe(before.pid);
    const pids = (status: typeof before) => status.pools.flatMap(({ instances }) => instances.map(({ pid }) => pid));
    expect(pids(middle)).toEqual(pids(before));
    // The instances report their version when they find the new supervisor.
    const known = await project.statusWhere("all versions", (status) => !versions(status).includes(null));
    expect(new Set(versions(known))).toEqual(new Set([before.version]));
    for (const [index, socket] of sockets.entries()) {
      socket.write(`echo ${index}`);
      await socket.until(new RegExp(`echo ${index}$`));
    }
    upload.write("67890");
    await upload.until(/got 10$/);
    for (const socket of [...sockets, upload]) socket.close();

    const second = await run(paceline, ["upgrade"], options);
    expect(second.code, second.output).toBe(0);
    const end = await project.ready();
    expect(new Set(versions(end))).toEqual(new Set([NEXT]));
    // Whoever started it in the foreground starts it again, not a balancer.
    const [balancer] = end.balancers;
    expect(readFileSync(`/proc/${balancer?.pid}/environ`, "utf8")).not.toContain("--only-adopts");
    const deaths = await run(paceline, ["deaths", "--json"], options);
    const reports = JSON.parse(deaths.stdout).deaths as { id: number; reason: string }[];
    expect(reports.filter(({ reason }) => !reason.includes("made of cheese"))).toEqual([]);
    await load.moreConnections(50);
    expect(failures(await load.stop())).toEqual(NO_FAILURES);

    signal(project.foregroundPid, "SIGTERM");
    expect(await project.exit()).toEqual({ code: 0, signal: null });
    await project.nothingLeft();
  });
});
