/** A run directory has one holder, in any race and after any exit of the last holder, and belongs to no other user. */
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { readStat } from "@paceline/wire/proc";
import { describe, expect, onTestFinished, test } from "vitest";
import { isOfAnother } from "../dist/run-dir/orphans.js";
import { pruneRunDirs } from "../dist/run-dir/registry.js";
import { openRunDir } from "../dist/run-dir/run-dir.js";
import { FIXTURES, makeFolder, RUNTIMES } from "./support.js";

interface Taken {
  held: boolean;
  code?: string;
  message?: string;
  socket?: string;
}

/** A process that takes a run directory on demand. */
class Starter {
  readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  constructor(program: string, runDir: string) {
    this.child = spawn(program, [join(FIXTURES, "take-run-dir.mjs"), runDir], { stdio: ["pipe", "pipe", "inherit"] });
    onTestFinished(() => void this.child.kill("SIGKILL"));
    this.lines = createInterface({ input: this.child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  }

  async waiting(): Promise<this> {
    await this.lines.next();
    return this;
  }

  async take(): Promise<Taken> {
    this.child.stdin?.write(".");
    return JSON.parse((await this.lines.next()).value);
  }

  async kill(): Promise<void> {
    const gone = new Promise((resolve) => this.child.on("exit", resolve));
    this.child.kill("SIGKILL");
    await gone;
  }
}

async function listen(path: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(() => void server.close());
  return server;
}

/** Leaves a run directory as a killed supervisor does; its state names one process, which has this environment. */
async function leaveFleet(path: string, env: NodeJS.ProcessEnv, boot: string | undefined) {
  const first = await openRunDir(path);
  const source = join(path, "app.js");
  first.describe({ source, folder: path, release: path, name: "a", orphanGraceMs: 1, listen: [], options: {} });
  const child = spawn("/bin/sleep", ["600"], { env, stdio: "ignore" });
  onTestFinished(() => void child.kill("SIGKILL"));
  const { pid = 0 } = child;
  await new Promise((resolve) => child.once("spawn", resolve));
  const saved = {
    ...{
      id: "web.1#1",
      pool: "web",
      name: "web.1",
      index: 1,
      attempt: 1,
      generation: 1,
      token: "t",
      runtime: "node",
    },
    ...{ pid, startTime: readStat(pid)?.startTime, protocol: "lane", spawnedAt: 1, outputRow: 0, maxOutputBytes: 1 },
    ...{ relayed: [], requestsTotal: 0, errorsTotal: 0 },
  };
  const lists = { generations: [], slots: [], totals: [], routed: [], templates: [], ports: [], environments: [{}] };
  const known = { version: 1, startedAt: 1, snapshotVersion: 1, folder: basename(first.paths.outputFolder), boot };
  const state = {
    ...known,
    ...lists,
    config: { name: "a", balancer: {}, listen: [], pools: [] },
    fleet: { pools: [] },
    processes: [saved],
  };
  writeFileSync(join(path, "state.json"), JSON.stringify(state));
  first.handOver();
  return { first, source, child };
}

describe.each(RUNTIMES)("the lock on %s", (_, program) => {
  test("of many starters at once exactly one wins, again and again", async () => {
    const runDir = join(makeFolder(), ".paceline");
    const sockets = new Set<string | undefined>();
    for (let round = 0; round < 3; round++) {
      const starters = await Promise.all(Array.from({ length: 6 }, () => new Starter(program, runDir).waiting()));
      const taken = await Promise.all(starters.map((starter) => starter.take()));
      const winner = taken.findIndex(({ held }) => held);
      expect(taken.filter(({ held }) => held)).toHaveLength(1);
      for (const { held, code, message } of taken) {
        if (!held)
          expect({ code, message }).toEqual({
            code: "running",
            message: expect.stringContaining(`(pid ${starters[winner]?.child.pid})`),
          });
      }
      // No start reuses a socket path, so the leftovers of a dead start are harmless.
      sockets.add(taken[winner]?.socket);
      await Promise.all(starters.map((starter) => starter.kill()));
    }
    expect(sockets.size).toBe(3);
  });
});

describe("the run directory", () => {
  test("is closed to others, and can be taken by the next one after its release", async () => {
    const path = join(makeFolder(), ".paceline");
    mkdirSync(path, { mode: 0o755 });
    const first = await openRunDir(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    await expect(openRunDir(path)).rejects.toMatchObject({ code: "running" });
    first.release();
    const second = await openRunDir(path);
    second.release();
    expect(readdirSync(path).filter((name) => name.startsWith("run-"))).toEqual([]);
  });

  test("a lock whose pid belongs to another process by now blocks nobody", async () => {
    const path = join(makeFolder(), ".paceline");
    mkdirSync(path);
    writeFileSync(join(path, "lock.7"), JSON.stringify({ pid: process.pid, startedAt: "1", boot: "" }));
    const runDir = await openRunDir(path);
    expect(readdirSync(path).filter((name) => name.startsWith("lock."))).toEqual(["lock.8"]);
    runDir.release();
  });

  test("a truncated lock file blocks nobody", async () => {
    const path = join(makeFolder(), ".paceline");
    mkdirSync(path);
    writeFileSync(join(path, "lock.3"), '{"pi');
    (await openRunDir(path)).release();
  });

  test("sockets that are still served are kept, dead ones are removed", async () => {
    const path = join(makeFolder(), ".paceline");
    mkdirSync(join(path, "run-1"), { recursive: true, mode: 0o700 });
    mkdirSync(join(path, "run-2"));
    const alive = join(path, "run-1", "web.1#1.sock");
    await listen(alive);
    const dead = [join(path, "run-1", "web.2#1.sock"), join(path, "run-2", "web.1#1.sock"), join(path, "control.sock")];
    for (const file of dead) writeFileSync(file, "");
    const runDir = await openRunDir(path);
    expect(existsSync(alive)).toBe(true);
    expect(dead.filter((file) => existsSync(file))).toEqual([]);
    expect(existsSync(join(path, "run-2"))).toBe(false);
    runDir.release();
  });

  test("files that a running starter is about to hand over stay, and those of a dead one are removed", async () => {
    const folder = makeFolder({
      [`f${process.pid}`]: "",
      [`e${process.pid}`]: "",
      f999999999: "",
      e999999999: "",
      s1: "",
    });
    chmodSync(folder, 0o700);
    (await openRunDir(folder)).release();
    const left = readdirSync(folder).filter((name) => /^[sef]\d+$/.test(name));
    expect(left.sort()).toEqual([`e${process.pid}`, `f${process.pid}`]);
  });

  test("sockets whose paths would be too long are in a folder with a short path that nobody could have created before", async () => {
    for (const [length, isControlShort] of [
      [70, false],
      [120, true],
    ] as const) {
      const path = join(makeFolder(), "e".repeat(length));
      const runDir = await openRunDir(path);
      const { controlSocket, socketPath } = runDir.paths;
      const sockets = [controlSocket, socketPath("web.1#1"), socketPath(`${"p".repeat(32)}.1024#99999`)];
      expect(controlSocket === join(path, "control.sock")).toBe(!isControlShort);
      for (const socket of sockets) await listen(socket);
      const short = dirname(sockets[2] as string);
      expect(short).toMatch(/^\/tmp\/paceline-\w+$/);
      expect(statSync(short).mode & 0o777).toBe(0o700);
      runDir.release();
      expect(existsSync(short)).toBe(false);
    }
  });

  test("what a killed start has left in its folder with a short path is removed, and never what a link leads to elsewhere", async () => {
    const path = join(makeFolder(), "e".repeat(120));
    const first = await openRunDir(path);
    const short = dirname(first.paths.controlSocket);
    writeFileSync(join(short, "control.sock"), "");
    const elsewhere = makeFolder({ "web.1#1.sock": "kept" });
    symlinkSync(elsewhere, join(path, "run-99.sockets"));
    writeFileSync(join(path, "lock.1"), "{}"); // As if it had been killed.
    const second = await openRunDir(path);
    expect([existsSync(short), existsSync(join(elsewhere, "web.1#1.sock"))]).toEqual([false, true]);
    second.release();
  });

  test("a directory that others use stays theirs", async () => {
    const folder = makeFolder({ "notes.txt": "" });
    chmodSync(folder, 0o755);
    await expect(openRunDir(folder)).rejects.toMatchObject({ code: "rundir" });
    expect(statSync(folder).mode & 0o777).toBe(0o755);
  });

  test("a directory that others could have written to is rejected, and one that they could read is closed", async () => {
    const path = makeFolder({ "lock.1": "{}" });
    chmodSync(path, 0o777);
    await expect(openRunDir(path)).rejects.toMatchObject({
      code: "rundir",
      message: expect.stringContaining("other users can write in"),
    });
    chmodSync(path, 0o755);
    (await openRunDir(path)).release();
    expect(statSync(path).mode & 0o777).toBe(0o700);
  });

  test.each([
    ["one of the fleet, by its token", { PACELINE_TOKEN: "t" }, undefined, 1],
    ["another program", { PATH: "/bin", TOKEN: "t", PACELINE_TOKEN: "tt" }, undefined, undefined],
    ["one of an earlier boot", { PACELINE_TOKEN: "t" }, "earlier", undefined],
  ])("a process of the state that is %s", async (_what, env, boot, adopted) => {
    const path = join(makeFolder(), ".paceline");
    const { source, child } = await leaveFleet(path, env, boot);
    const second = await openRunDir(path, { source });
    expect(second.adoption?.state.processes.length).toBe(adopted);
    const ended = /^the fleet before this one ended without a stop (at|between) /;
    expect(second.warnings).toEqual(adopted === undefined ? [expect.stringMatching(ended)] : []);
    second.release();
    expect(child.exitCode).toBe(null);
  });

  test("the folders of a continued fleet are closed again; its old control socket is removed, even from a folder with a short path", async () => {
    const path = join(makeFolder(), "e".repeat(120));
    const { first, source } = await leaveFleet(path, { PACELINE_TOKEN: "t" }, undefined);
    const short = dirname(first.paths.controlSocket);
    const folders = [first.paths.outputFolder, short];
    writeFileSync(first.paths.controlSocket, "");
    for (const folder of folders) {
      chmodSync(folder, 0o777);
      await expect(openRunDir(path, { source })).rejects.toThrow(`other users can write in ${folder}`);
      chmodSync(folder, 0o700);
    }
    for (const folder of folders) chmodSync(folder, 0o755);
    const second = await openRunDir(path, { source });
    expect(second.paths).toMatchObject({ outputFolder: folders[0], controlSocket: first.paths.controlSocket });
    expect(second.warnings).toEqual(
      folders.map((folder) => `${folder} is open to others (mode 0755); it is closed to them again`),
    );
    expect(folders.map((folder) => statSync(folder).mode & 0o777)).toEqual([0o700, 0o700]);
    expect(existsSync(first.paths.controlSocket)).toBe(false);
    second.release();
    expect(existsSync(short)).toBe(false);
  });

  test.each([
    ["with the token", "A=1\0PACELINE_TOKEN=t\0", false],
    ["of the same fleet, forked from a template", "PACELINE_CHANNEL=/r/channel.sock\0PACELINE_TOKEN=other\0", false],
    ["of another fleet", "PACELINE_CHANNEL=/r2/channel.sock\0PACELINE_TOKEN=other\0", true],
    ["of another program", "PATH=/bin\0HOME=\0", true],
    ["that a title has replaced", "gunicorn: worker\0\0\0HOME=/\0", false],
    ["that is empty", "\0\0", false],
  ])("an environment %s", (_what, environment, expected) => {
    expect(isOfAnother(environment, "t", "/r/channel.sock")).toBe(expected);
  });

  test("nothing of fleets whose folder is gone stays forever, and nothing of the others is removed", async () => {
    const state = makeFolder();
    const [here, gone] = [makeFolder(), join(state, "gone")];
    const make = async (name: string, folder: string) => {
      const runDir = await openRunDir(join(state, name));
      runDir.describe({ source: join(folder, "app.js"), folder, release: folder, name, orphanGraceMs: 1 });
      return runDir;
    };
    for (const [name, folder] of [
      ["old", gone],
      ["kept", here],
    ] as const)
      (await make(name, folder)).release();
    const running = await make("running", gone);
    symlinkSync(gone, join(state, "link"));
    pruneRunDirs(state);
    expect(readdirSync(state).sort()).toEqual(["kept", "old", "running"]);
    pruneRunDirs(state, Date.now() + 25 * 3_600_000);
    expect(readdirSync(state).sort()).toEqual(["kept", "running"]);
    running.release();
  });

  test("a path that leads to something else is rejected", async () => {
    const folder = makeFolder({ file: "" });
    const elsewhere = makeFolder();
    chmodSync(elsewhere, 0o700);
    symlinkSync(elsewhere, join(folder, "link"));
    await expect(openRunDir(join(folder, "link"))).rejects.toMatchObject({ code: "rundir" });
  });
});
