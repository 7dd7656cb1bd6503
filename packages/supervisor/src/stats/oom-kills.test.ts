import { expect, test } from "vitest";
import { counterFiles, killedPids, OomKills, parseOomKills } from "./oom-kills.js";

test.each([
  ["v2", "0::/system.slice/shop.service\n", ["/sys/fs/cgroup/system.slice/shop.service/memory.events"]],
  ["v2 in a container", "0::/\n", ["/sys/fs/cgroup/memory.events"]],
  ["v1", "12:pids:/a\n4:cpu,memory:/docker/1\n", ["/sys/fs/cgroup/memory/docker/1/memory.oom_control"]],
  ["outside the namespace", "0::/../other\n", []],
  ["none", "", []],
])("where a control group of %s counts", (_, text, files) => expect(counterFiles(text)).toEqual(files));

test.each([
  ["low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n", 2],
  ["oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", 7],
  ["nr_free_pages 1\noom_kill 0\n", 0],
  ["nr_free_pages 1\n", undefined],
])("parses the counter in %j", (text, count) => expect(parseOomKills(text)).toBe(count));

test("the kernel's messages name the process", () => {
  const messages = [
    "3,100,5000000,-;Out of memory: Killed process 7 (node) total-vm:1kB\n",
    "3,101,90000000,-;Memory cgroup out of memory: Killed process 4711 (node) total-vm:1kB\n SUBSYSTEM=x\n",
    "6,102,90000001,-;oom_reaper: reaped process 12 (x)\n",
  ];
  expect([...killedPids(messages, 91e6)]).toEqual([4711]);
});

/** Reads from a table; the kernel's messages are not in it. */
function counted(files: Record<string, string>) {
  return new OomKills((path) => files[path]);
}

test("a kill that was counted explains one death, and only a recent one", () => {
  const files: Record<string, string> = {
    "/proc/self/cgroup": "0::/a\n",
    "/sys/fs/cgroup/a/memory.events": "oom_kill 4\n",
  };
  const kills = counted(files);
  expect(kills.explain(null, 1000)).toBe(false);
  files["/sys/fs/cgroup/a/memory.events"] = "oom_kill 6\n";
  expect([kills.explain(null, 1000), kills.explain(null, 1001), kills.explain(null, 1002)]).toEqual([
    true,
    true,
    false,
  ]);
  files["/sys/fs/cgroup/a/memory.events"] = "oom_kill 7\n";
  kills.look(2000);
  expect(kills.explain(null, 20_000)).toBe(false);
});

test("without a counter nothing is known; the machine's counter is the last choice", () => {
  expect(counted({}).explain(null)).toBeUndefined();
  const files = { "/proc/vmstat": "oom_kill 1\n" };
  const kills = counted(files);
  files["/proc/vmstat"] = "oom_kill 2\n";
  expect(kills.explain(null)).toBe(true);
});
