/** The state folder is shared: other fleets start and stop while it is read. */
import fs, { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { listRunDirs, pruneRunDirs } from "./registry.js";

/** Calls `then` after each listing of a folder, before its entries are looked at. The modules under test may be loaded already. */
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

test("entries that disappear while they are looked at are left out, and the rest is read and pruned", () => {
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
