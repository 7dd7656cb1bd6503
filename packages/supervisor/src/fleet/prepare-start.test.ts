import { spawn } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHANNEL_ENVIRONMENT } from "@paceline/wire";
import { afterAll, expect, test } from "vitest";
import type { InstanceStatus, Status } from "../control/api.js";
import { identify } from "../run-dir/lock.js";
import { lateMessage, prepareStart, waitingMessage } from "./prepare-start.js";

const instance = (name: string, state: string, reason?: string) =>
  ({
    name,
    state,
    lastExit: reason === undefined ? null : { at: 0, reason, lastLines: ["Error: no database"] },
  }) as unknown as InstanceStatus;
const statusOf = (...instances: InstanceStatus[]) => ({ pools: [{ instances }] }) as unknown as Status;

test.each([
  [undefined, "not all instances became ready within 5 s"],
  [statusOf(instance("web.1", "ready")), "not all instances became ready within 5 s"],
  [
    statusOf(instance("web.1", "ready"), instance("web.2", "starting")),
    "not all instances became ready within 5 s: web.2 (starting)",
  ],
  [
    statusOf(...[1, 2, 3, 4, 5].map((n) => instance(`web.${n}`, "backoff", "exited with code 1"))),
    "not all instances became ready within 5 s: web.1 (backoff; exited with code 1), web.2 (backoff; exited with code 1), web.3 (backoff; exited with code 1) and 2 more",
  ],
])("a start that is late names what it waits for", (status, expected) => {
  expect(lateMessage(5000, status)).toEqual({
    message: expected,
    lastLines: expected.includes("exited") ? ["Error: no database"] : [],
  });
});

const running = (name: string, state: string, uptimeSeconds: number | null, reason?: string) =>
  Object.assign(instance(name, state, reason), { uptimeSeconds });

test.each([
  [undefined, "waiting for the supervisor (pid 7), which does not respond yet"],
  [statusOf(running("web.1", "ready", 2)), "waiting for the fleet, whose processes are ready"],
  [
    statusOf(
      running("web.1", "ready", 2),
      running("web.2", "starting", 1.9),
      running("web.3", "backoff", null, "exited"),
    ),
    "waiting for web.2 (starting for 2 s), web.3 (backoff; exited)",
  ],
])("a start that takes longer says what it waits for", (status, expected) => {
  expect(waitingMessage(7, status && { ...status, balancers: [] })).toBe(expected);
});

/** A process of a fleet whose supervisor was killed. */
const TOKEN = "of-a-fleet";
const left = spawn("sleep", ["600"], { env: { ...process.env, [CHANNEL_ENVIRONMENT.token]: TOKEN }, stdio: "ignore" });
const root = realpathSync(mkdtempSync(join(tmpdir(), "prepare-start-")));
afterAll(() => {
  left.kill("SIGKILL");
  rmSync(root, { recursive: true, force: true });
});
symlinkSync("gone", join(root, "current"));

function runDirOf(source: string): string {
  const runDir = mkdtempSync(join(root, "run-"));
  const counts = { requestsTotal: 0, errorsTotal: 0 };
  const { pid = 0 } = left;
  const record = { source, folder: root, release: root, name: "shop", controlSocket: "", channelSocket: "" };
  const saved = {
    ...{ version: 1, startedAt: 1, snapshotVersion: 1, folder: "run-1", environments: [{}] },
    ...{ config: { name: "shop", balancer: {}, listen: [], pools: [] }, fleet: { pools: [] } },
    ...{ routed: [], templates: [], ports: [], generations: [], slots: [], totals: [] },
    processes: [
      {
        ...{ id: "web.1#1", pool: "web", name: "web.1", token: TOKEN, pid, startTime: identify(pid)?.startedAt },
        ...{ runtime: "node", protocol: "http1", index: 1, attempt: 1, generation: 1, spawnedAt: 1, relayed: [] },
        ...{ outputRow: 0, maxOutputBytes: 0, ...counts },
      },
    ],
  };
  const write = (name: string, value: object) => writeFileSync(join(runDir, name), JSON.stringify(value));
  write("fleet.json", { version: 1, pid: 1, startedAt: 1, endedAt: null, orphanGraceMs: 1, ...record });
  write("state.json", saved);
  return runDir;
}

test.each([
  [
    "current",
    "current/paceline.config.json",
    / is missing \(.*\/current is a symbolic link to gone, where there is noth/,
  ],
  ["current", "current/app.js", /current\/app.js: is missing \(/],
  ["current/app.js", "current/app.js", /current\/app.js: is missing \(/],
  ["renamed", "renamed/paceline.toml", /renamed\/paceline.toml: is missing$/],
  ["renamed/app.js", "renamed/app.js", /renamed\/app.js: is missing$/],
  [".", "app.js", /app.js: is missing$/],
])(
  "a start of %s goes on with what a killed supervisor has left of %s, which is gone",
  async (file, place, problem) => {
    const runDir = runDirOf(join(root, place));
    const { fleet, identity } = await prepareStart({ file, cwd: root, runDir });
    expect(fleet).toMatchObject({ problem: expect.stringMatching(problem), config: { name: "shop" } });
    expect(identity.source).toBe(join(root, place));
    const others = runDirOf(join(root, "other.js"));
    await expect(prepareStart({ file, cwd: root, runDir: others })).rejects.toThrow(
      /there is no such|has no config file/,
    );
  },
);

test("a missing static folder, and one whose fleet is to be replaced", async () => {
  const runDir = runDirOf(join(root, "files"));
  const start = { static: "files", cwd: root, runDir };
  expect((await prepareStart(start)).fleet.problem).toMatch(/files: is missing$/);
  await expect(prepareStart({ ...start, replace: true })).rejects.toThrow(/its fleet runs without a supervisor/);
});
