/** The state folder is shared: other fleets start and stop while it is read. */
import fs, {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type FleetFile, startCommandOf, writeFleetFile } from "./fleet-file.js";
import { describeLoss, HOW_TO_REPLACE, howToGoOn } from "./orphans.js";
import { listRunDirs, pruneLasting, pruneRunDirs, supervisorSeenAt } from "./registry.js";

const DAY_MS = 24 * 3_600_000;

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "pl-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Calls `then` after each listing of a folder, before its entries are examined. The modules under test may be loaded already. */
function afterListing(then: () => void): void {
  const { readdirSync } = fs;
  const listing = ((...args: Parameters<typeof readdirSync>) => {
    const entries = readdirSync(...args);
    then();
    return entries;
  }) as typeof readdirSync;
  const replace = (by: typeof readdirSync) => {
    fs.readdirSync = by;
    syncBuiltinESMExports();
  };
  replace(listing);
  onTestFinished(() => replace(readdirSync));
}

test("entries that disappear while they are examined are left out, and the rest is read and pruned", () => {
  const folder = mkdtempSync(join(tmpdir(), "pl-"));
  const outside = mkdtempSync(join(tmpdir(), "pl-"));
  onTestFinished(() => {
    for (const each of [folder, outside]) rmSync(each, { recursive: true });
  });
  const link = (name: string) => symlinkSync(outside, join(folder, name));
  const remove = (...names: string[]) => {
    for (const name of names) rmSync(join(folder, name), { recursive: true, force: true });
  };
  const prepare = () => {
    for (const name of ["a-link", "z-link"]) link(name);
    mkdirSync(join(folder, "b-fleet"), { mode: 0o700 });
    symlinkSync(join(folder, "nowhere"), join(folder, "c-dangling"));
  };
  afterListing(() => remove("a-link", "b-fleet"));
  prepare();
  expect(listRunDirs(folder)).toEqual([outside]);
  remove("z-link", "c-dangling");
  prepare();
  pruneRunDirs(folder);
  expect(existsSync(join(folder, "z-link"))).toBe(true);
  expect(fs.lstatSync(join(folder, "c-dangling"), { throwIfNoEntry: false })).toBeUndefined();
});

test("run directories that nobody will need are removed, each after its time", () => {
  const state = makeFolder();
  const here = makeFolder();
  const gone = join(here, "gone");
  const make = (name: string, files: Record<string, string> = { "lock.1": "" }) => {
    mkdirSync(join(state, name), { mode: 0o700 });
    for (const [file, text] of Object.entries(files)) writeFileSync(join(state, name, file), text);
    return join(state, name);
  };
  const fleet = (name: string, folder: string, endedAt: number | null) => {
    const path = make(name);
    const channelSocket = join(path, "channel.sock");
    const sockets = { controlSocket: join(path, "control.sock"), channelSocket };
    const whose = { source: join(folder, "app.js"), folder, release: folder, name };
    writeFleetFile(path, { version: 1, ...whose, pid: 1, startedAt: 0, endedAt, orphanGraceMs: 1, ...sockets });
  };
  fleet("killed", gone, null);
  fleet("killed-here", here, null);
  fleet("stopped", gone, Date.now());
  fleet("stopped-here", here, Date.now());
  make("failed-start");
  make("of-a-later-version", { "lock.1": "", "fleet.json": '{"version":2}' });
  make("something-else", { "notes.txt": "" });
  const leftAfter = (days: number) => {
    pruneRunDirs(state, Date.now() + days * DAY_MS);
    return readdirSync(state).sort();
  };
  const others = ["killed-here", "of-a-later-version", "something-else", "stopped-here"];
  expect(leftAfter(0.9)).toEqual(["failed-start", "killed", ...others, "stopped"].sort());
  expect(leftAfter(1.1)).toEqual(["failed-start", "killed", ...others].sort());
  expect(leftAfter(31)).toEqual(others);
});

test("reports of root's fleets outlast their run directories, but not forever, and nothing else is touched", () => {
  const [runDirs, lasting] = [makeFolder(), makeFolder()];
  mkdirSync(join(runDirs, "running"));
  for (const path of ["running/deaths", "old/deaths", "old/history", "0.1.0/programs", "empty"])
    mkdirSync(join(lasting, path), { recursive: true, mode: 0o700 });
  writeFileSync(join(lasting, "old/deaths/1-web.1.json"), "{}");
  pruneLasting(runDirs, lasting, Date.now() + 80 * DAY_MS);
  expect(readdirSync(lasting).sort()).toEqual(["0.1.0", "empty", "old", "running"]);
  pruneLasting(runDirs, lasting, Date.now() + 91 * DAY_MS);
  expect(readdirSync(lasting).sort()).toEqual(["0.1.0", "running"]);
});

test.each([
  [
    true,
    true,
    "a balancer starts the next supervisor within seconds, which takes them over; so does `paceline start`; `paceline stop` ends them",
  ],
  [true, false, "`paceline start` takes them over; `paceline stop` ends them"],
  [false, true, HOW_TO_REPLACE],
])(
  "what is said of processes without a supervisor: can be taken over %s, by a balancer %s",
  (canGoOn, revives, text) => {
    expect(howToGoOn(canGoOn, revives, "paceline start")).toBe(text);
  },
);

test("a supervisor was running when it wrote its state, and until its children lost it", () => {
  const folder = makeFolder();
  const socket = join(folder, "channel.sock");
  expect(supervisorSeenAt(folder, socket)).toBe(0);
  const touch = (name: string, second: number) => {
    writeFileSync(join(folder, name), "");
    utimesSync(join(folder, name), second, second);
  };
  touch("state.json", 1_000);
  touch("fleet.json", 9_000);
  expect(supervisorSeenAt(folder, socket)).toBe(1_000_000);
  touch("channel.sock.lost", 2_000);
  expect(supervisorSeenAt(folder, socket)).toBe(2_000_000);
  const record = { name: "shop", pid: 7, orphanGraceMs: 60_000 } as FleetFile;
  const told = (count: number) => describeLoss(record, socket, count).replace(/\d\d:\d\d:\d\d/g, "TIME");
  const killed = "the supervisor of shop (pid 7) was killed at TIME";
  expect(told(1)).toBe(`${killed}; 1 process of it keeps running until TIME, then drains and exits`);
  expect(told(2)).toBe(`${killed}; 2 processes of it keep running until TIME, then drain and exit`);
});

test.each([
  [{ "--name": '"x"' }, "paceline start"],
  [
    { "--name": '"q w"', "--worker": "true", "the program after --": '["node","q.js","a b"]' },
    "paceline start --name 'q w' --worker -- node q.js 'a b'",
  ],
  [{ "--wsgi": '"shop:app"', "the arguments after --": '["-v"]' }, "paceline start --wsgi shop:app -- -v"],
  [{ "--worker": "true", "the program after --": "5ab1" }, undefined],
])("the command that starts a fleet with the options %j", (options, command) => {
  expect(startCommandOf({ options })).toBe(command);
});
