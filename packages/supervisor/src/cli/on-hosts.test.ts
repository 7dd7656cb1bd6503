import { expect, test } from "vitest";
import { readHosts } from "./on-hosts.js";

const read = (line: string, environment = {}) => readHosts(line.split(" "), environment);

test("a command line that begins with -H runs on another host, any other here", () => {
  expect(read("reload -H box1")).toBe(undefined);
  expect(read("--version")).toBe(undefined);
  expect(read("-H box1 -H ssh://deploy@box2:22 reload web --json")).toEqual({
    ...{ hosts: ["box1", "ssh://deploy@box2:22"], ssh: "ssh", isParallel: false, isReading: false },
    args: ["reload", "web", "--json"],
  });
  expect(read("--on=box1 --on box1 --parallel --ssh=/bin/x status -H")).toEqual({
    ...{ hosts: ["box1"], ssh: "/bin/x", isParallel: true, isReading: true, args: ["status", "-H"] },
  });
  expect(read("-H box1 status", { PACELINE_SSH: "my-ssh" })?.ssh).toBe("my-ssh");
  for (const host of ["10.0.0.1", "a@[fe80::1%eth0]:2", "box_1.example", "ssh://box1"])
    expect(read(`-H ${host} status`)?.hosts).toEqual([host]);
});

test.each([
  ["-H", "-H needs a value"],
  ["-H box1", "no command was given"],
  ["--parallel status", "need -H"],
  // With an option of ssh, whoever wrote the host name could run a program.
  ["-H -oProxyCommand=x status", "must be HOST"],
  ["-H a@-oProxyCommand=x status", "must be HOST"],
  ["-H ssh://box1/srv status", "without a path"],
  ["-H box1;reboot status", "must be HOST"],
  ["-H box1 start", "start does not run on other machines"],
  ["-H box1 toString", "toString does not run on other machines"],
  ["-H box1 -H box2 --parallel reload", "--parallel is not valid with reload"],
  ["-H box1 -H box2 logs -f", "add --parallel"],
  ["-H box1 -H box2 top --plain", "add --parallel"],
  ["-H box1 -H box2 top", "add --plain"],
  ["-H box1 -H box2 --parallel events --follow --json", "omit --follow"],
])("%s is rejected: %s", (line, message) => {
  expect(() => read(line)).toThrow(message);
});
