import { spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { ControlGroups } from "./control-groups.js";

/** An artificial /proc and /sys; unlike in the kernel, the files of a folder do not disappear with it. */
function made({
  path = "/shop.service/paceline-supervisor",
  controllers = "cpu memory pids\n",
  procs = `${process.pid}\n`,
} = {}) {
  const root = mkdtempSync(join(tmpdir(), "paceline-groups-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const mount = join(root, "sys/fs/cgroup");
  const base = join(mount, path.replace(/\/paceline-supervisor$/, ""));
  const populated = new Set<string>();
  mkdirSync(join(mount, path), { recursive: true });
  mkdirSync(join(root, "proc/self"), { recursive: true });
  writeFileSync(join(root, "proc/self/mounts"), "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
  writeFileSync(join(root, "proc/self/cgroup"), `0::${path}\n`);
  writeFileSync(join(mount, path, "cgroup.type"), "domain\n");
  writeFileSync(join(mount, path, "cgroup.procs"), procs);
  for (const [file, text] of [
    ["cgroup.controllers", controllers],
    ["cgroup.subtree_control", ""],
    ["cgroup.procs", path === "/" ? procs : ""],
  ] as const)
    writeFileSync(join(base, file), text);
  const problems: string[] = [];
  const groups = new ControlGroups({
    root,
    onProblem: (problem) => problems.push(problem),
    remove: (folder) => {
      if (populated.has(folder)) throw Object.assign(new Error("busy"), { code: "EBUSY" });
      rmSync(folder, { recursive: true });
    },
  });
  onTestFinished(() => groups.close());
  const said = (...file: string[]) => readFileSync(join(base, ...file), "utf8");
  const list = () => readdirSync(base).filter((name) => name.startsWith("paceline-"));
  return { root, base, groups, problems, populated, said, list };
}

test("a process with a limit gets a group; its leftover processes are killed, and the group is removed", async () => {
  const { base, groups, problems, populated, said, list } = made();
  mkdirSync(join(base, "paceline-web.9#1"));
  const folder = groups.confine("web.1#1", 4711, 300) as string;
  expect(folder).toBe(join(base, "paceline-web.1#1"));
  expect(said("cgroup.subtree_control")).toBe("+memory");
  const files = ["memory.high", "memory.max", "memory.oom.group", "cgroup.procs"];
  expect(files.map((file) => said("paceline-web.1#1", file))).toEqual(["375000000", "450000000", "1", "4711"]);
  // The group of a process that had exited without a supervisor is gone.
  expect(list().sort()).toEqual(["paceline-supervisor", "paceline-web.1#1"]);
  expect(groups.confine("web.2#1", 4712, 0)).toBeNull();
  writeFileSync(join(folder, "memory.events"), "oom 1\noom_kill 2\n");
  expect(groups.killIn(folder)).toEqual({ atLimit: true });
  populated.add(folder);
  groups.end(folder);
  await expect.poll(() => existsSync(join(folder, "cgroup.kill"))).toBe(true);
  populated.clear();
  await expect.poll(list).toEqual(["paceline-supervisor"]);
  expect(problems).toEqual([]);
});

test("in a container the processes first leave the group of the container, unless it has other processes", () => {
  const { groups, said, problems } = made({ path: "/" });
  // The artificial file keeps its content, so this ends at its limit.
  expect(groups.confine("web.1#1", 4711, 100)).not.toBeNull();
  expect(said("paceline-supervisor", "cgroup.procs")).toBe(`${process.pid}`);
  expect(problems).toEqual([]);
  const shared = made({ path: "/", procs: `${process.pid}\n${2 ** 22 + 1}\n` });
  expect(shared.groups.confine("web.1#1", 4711, 100)).toBeNull();
  expect(shared.problems).toEqual(["other programs are in its control group"]);
});

test("if there can be no groups, that is reported once", () => {
  const { groups, problems, list } = made({ controllers: "hugetlb\n" });
  for (const id of ["web.1#1", "web.2#1"]) expect(groups.confine(id, 4711, 100)).toBeNull();
  expect(problems).toEqual(["its control group has no memory controller"]);
  expect(list()).toEqual(["paceline-supervisor"]);
});

test("on a real system the next supervisor finds the group of a process, and removes it with the leftover processes", async (context) => {
  const mounts = readFileSync("/proc/self/mounts", "utf8");
  const mount =
    mounts
      .split("\n")
      .find((line) => line.split(" ")[2] === "cgroup2")
      ?.split(" ")[1] ?? "";
  const base = join(mount, `paceline-test-${process.pid}`);
  const folder = join(base, "paceline-web.1#1");
  try {
    mkdirSync(folder, { recursive: true });
  } catch {
    context.skip("cgroup v2 is not writable");
  }
  const left = spawn("sleep", ["600"]);
  onTestFinished(() => {
    left.kill("SIGKILL");
    rmdirSync(base);
  });
  writeFileSync(join(folder, "cgroup.procs"), `${left.pid}`);
  const groups = new ControlGroups({ onProblem: () => {} });
  expect(groups.of(left.pid as number)).toBe(folder);
  expect(groups.of(process.pid)).toBeNull();
  const ended = new Promise((resolve) => left.once("exit", (_, signal) => resolve(signal)));
  groups.end(folder);
  expect(await ended).toBe("SIGKILL");
  await expect.poll(() => existsSync(folder)).toBe(false);
  groups.close();
});
