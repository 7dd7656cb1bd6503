import { expect, test } from "vitest";
import {
  groupFiles,
  groupNameOf,
  groupPathOf,
  hasMemoryInV1,
  isProcessGroup,
  kernelLimits,
  killIn,
  killText,
  mountOfGroups,
  placeOfGroups,
  slowedText,
} from "./control-groups.js";

test.each([
  ["v2 alone", "0::/system.slice/shop.service/paceline-supervisor\n", "/system.slice/shop.service/paceline-supervisor"],
  ["v2 beside v1", "4:memory:/a\n0::/b\n", "/b"],
  ["a container", "0::/\n", "/"],
  ["outside of the namespace", "0::/../x\n", undefined],
  ["v1 alone", "4:memory:/a\n", undefined],
])("the path of %s", (_, text, path) => expect(groupPathOf(text)).toBe(path));

test.each([
  ["cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "/sys/fs/cgroup"],
  [
    "cgroup /sys/fs/cgroup/memory cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
    "/sys/fs/cgroup/unified",
  ],
  ["tmpfs /cgroup2 tmpfs rw 0 0\n", undefined],
])("the mount in %j", (text, mount) => expect(mountOfGroups(text)).toBe(mount));

test.each([
  ["cgroup2 /sys/fs/cgroup cgroup2 rw,memory_recursiveprot 0 0\n", false],
  ["cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n", true],
  ["cgroup /a cgroup memory,cpu 0 0\n", true],
])("who limits memory in %j", (text, isInV1) => expect(hasMemoryInV1(text)).toBe(isInV1));

const OWN = "/system.slice/shop.service/paceline-supervisor";
const usable = {
  path: OWN,
  isMemoryInV1: false,
  isMachineRoot: false,
  controllers: ["cpu", "memory"],
  isWritable: true,
  strangers: 0,
};

test.each([
  ["a systemd unit with a subgroup", {}, { base: "/system.slice/shop.service", leaves: false }],
  ["a unit that others have joined", { strangers: 3 }, { base: "/system.slice/shop.service", leaves: false }],
  ["a container", { path: "/" }, { base: "/", leaves: true }],
  ["a container after a restart", { path: "/paceline-supervisor" }, { base: "/", leaves: false }],
])("groups are created in %s", (_, facts, place) => expect(placeOfGroups({ ...usable, ...facts })).toEqual(place));

test.each([
  ["v1", { path: undefined }, "this system has no cgroup v2"],
  ["v2 beside v1", { isMemoryInV1: true }, "this system limits memory with cgroup v1"],
  ["a shell", { path: "/user.slice/session-1.scope" }, /no control group of its own/],
  ["a unit without a subgroup", { path: "/system.slice/shop.service" }, /DelegateSubgroup=/],
  ["the machine's root", { path: "/", isMachineRoot: true }, /no control group of its own/],
  ["a read-only mount", { isWritable: false }, /cannot be written/],
  ["memory on v1", { controllers: ["hugetlb"] }, /has no memory controller/],
  ["a container with other programs", { path: "/", strangers: 1 }, /other programs/],
])("none are created in %s", (_, facts, problem) =>
  expect(placeOfGroups({ ...usable, ...facts })).toEqual({ problem: expect.stringMatching(problem) }),
);

test.each([1, 60, 100, 300, 4000])(
  "with maxMemoryMb %d the kernel limits a process later than recycling does",
  (maxMemoryMb) => {
    const { highBytes, maxBytes } = kernelLimits(maxMemoryMb);
    expect(highBytes).toBeGreaterThanOrEqual(maxMemoryMb * 1.25 * 1e6);
    expect(maxBytes).toBeGreaterThanOrEqual(maxMemoryMb * 1.5 * 1e6);
    expect(maxBytes - highBytes).toBeGreaterThanOrEqual(32e6);
  },
);

test("the files and the name of a group", () => {
  expect(groupFiles(300)).toEqual({ "memory.high": "375000000", "memory.max": "450000000", "memory.oom.group": "1" });
  expect(isProcessGroup(groupNameOf("web.3#7"))).toBe(true);
  for (const name of ["paceline-supervisor", "cgroup.procs", "init.scope"]) expect(isProcessGroup(name)).toBe(false);
});

test.each([
  [
    "low 0\nhigh 9\nmax 12\noom 2\noom_kill 3\noom_group_kill 1\n",
    "it reached its hard limit of 450 MB (maxMemoryMb 300)",
  ],
  ["high 0\nmax 0\noom 0\noom_kill 1\n", "the machine had no memory left"],
  ["high 4\nmax 3\noom 1\noom_kill 0\n", undefined],
  ["", undefined],
])("memory.events %j", (text, why) => {
  const kill = killIn(text);
  expect(kill && killText(kill, 300)).toBe(why);
});

test.each([
  [
    "380000000\n",
    "anon 340000000\nfile 40000000\n",
    "; the kernel slows it down, because it uses 340 MB of memory (maxMemoryMb 300)",
  ],
  // The process is above its limit, but below the kernel's limit.
  ["350000000\n", "anon 340000000\nfile 10000000\n", ""],
  // Caches are dropped.
  ["375000000\n", "anon 200000000\nfile 175000000\nanon_thp 380000000\n", ""],
  ["", "", ""],
])("memory.current %j, memory.stat %j", (current, stat, said) => expect(slowedText(current, stat, 300)).toBe(said));
