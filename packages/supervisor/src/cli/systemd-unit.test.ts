import { expect, test } from "vitest";
import { systemdUnit, type UnitFacts, unitName } from "./systemd-unit.js";

const FACTS: UnitFacts = {
  name: "shop",
  start: ["/srv/shop/paceline.config.json"],
  folder: "/srv/shop",
  user: "shop",
  group: null,
  paceline: "/srv/shop/node_modules/.bin/paceline",
  programFolders: ["/usr/bin"],
  hasMemoryLimit: false,
  hasLowPort: false,
  runtimeDirs: [],
  credentials: [],
  startMs: 90_000,
  stopMs: 41_000,
};
const linesOf = (changes: Partial<UnitFacts>) => systemdUnit({ ...FACTS, ...changes }).split("\n");

test.each<[string, Partial<UnitFacts>, string[], string[]]>([
  [
    "a usual fleet",
    {},
    [
      "ExecStart=/srv/shop/node_modules/.bin/paceline start /srv/shop/paceline.config.json",
      "ProtectHome=yes",
      "CapabilityBoundingSet=",
      "TimeoutStartSec=105",
    ],
    ["Environment=PATH", "Delegate"],
  ],
  [
    "a limit of memory",
    { hasMemoryLimit: true },
    ["Delegate=memory", "DelegateSubgroup=paceline-supervisor", "ProtectKernelTunables=yes"],
    ["ProtectControlGroups"],
  ],
  [
    "a port below 1024",
    { hasLowPort: true },
    ["AmbientCapabilities=CAP_NET_BIND_SERVICE", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"],
    [],
  ],
  [
    "node of a home",
    { programFolders: ["/home/a/.nvm/bin"] },
    ["Environment=PATH=/home/a/.nvm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"],
    ["ProtectHome"],
  ],
  ["a group", { user: "65534", group: "daemon" }, ["User=65534", "Group=daemon"], []],
  ["sockets in /run", { runtimeDirs: ["shop", "a/b"] }, ["RuntimeDirectory=shop a/b"], []],
  [
    "a user's own systemd",
    { user: null, group: "daemon", hasLowPort: true, runtimeDirs: ["shop"] },
    ["WantedBy=default.target", "NoNewPrivileges=yes", "StateDirectory=paceline-shop"],
    ["User", "Group", "Ambient", "Capability", "Protect", "Private", "RestrictA", "After", "RuntimeDirectory"],
  ],
  [
    "a secret of systemd",
    { credentials: ["db", "50%"] },
    ["LoadCredential=db:/etc/credstore/db", "LoadCredential=50%%:/etc/credstore/50%%"],
    [],
  ],
  ["a folder below /tmp", { folder: "/tmp/shop" }, ["ProtectHome=yes"], ["PrivateTmp"]],
  [
    "a folder with signs",
    { start: ['/srv/a b/50%/$x"y\\z.json'], folder: "/srv/a b/50%" },
    [
      'ExecStart=/srv/shop/node_modules/.bin/paceline start "/srv/a b/50%%/$$x\\"y\\\\z.json"',
      "WorkingDirectory=/srv/a b/50%%",
    ],
    [],
  ],
])("of %s", (_what, changes, there, missing) => {
  const lines = linesOf(changes);
  for (const line of there) expect(lines).toContain(line);
  for (const start of missing) expect(lines.filter((line) => line.startsWith(start))).toEqual([]);
});

test.each([
  ["shop", "shop"],
  ["my shop/2", "my-shop-2-"],
  ["..", "fleet-"],
  ["日本", "fleet-"],
])("the unit of %s is named %s", (name, expected) =>
  expect(unitName(name)).toMatch(new RegExp(`^${expected}${expected.endsWith("-") ? "[0-9a-f]{6}" : ""}$`)),
);

test("the unit of a long name has a shorter one, and different names stay different", () => {
  const names = ["a".repeat(200), "b".repeat(255), `${"b".repeat(254)}c`].map(unitName);
  expect(names.map((name) => name.length)).toEqual([200, 207, 207]);
  expect(new Set(names).size).toBe(3);
});

test.each<[keyof UnitFacts, (text: string) => Partial<UnitFacts>]>([
  ["name", (name) => ({ name })],
  ["start", (each) => ({ start: ["--name", each] })],
  ["folder", (folder) => ({ folder })],
  ["user", (user) => ({ user })],
  ["group", (group) => ({ group })],
  ["paceline", (paceline) => ({ paceline })],
  ["programFolders", (each) => ({ programFolders: [each] })],
  ["runtimeDirs", (each) => ({ runtimeDirs: [each] })],
  ["credentials", (each) => ({ credentials: [each] })],
])("no value of %s adds or joins lines", (_key, changes) => {
  const text = "/srv/a";
  for (const control of ["\n", "\r", "\0", "\u001b", "\u0085"])
    expect(() => linesOf(changes(`${text}${control}ExecStartPre=/bin/evil`))).toThrow("has a control character");
  const usual = linesOf(changes(text)).length;
  let lines: string[] = [];
  try {
    lines = linesOf(changes(`${text}\\`));
  } catch (error) {
    expect((error as Error).message).toMatch(/^\w+=.*\\ ends in a backslash, which no systemd unit can contain$/);
    return;
  }
  expect(lines).toHaveLength(usual);
  // An even number of backslashes is text.
  expect(lines.filter((line) => /(?<!\\)(?:\\\\)*\\$/.test(line))).toEqual([]);
});
