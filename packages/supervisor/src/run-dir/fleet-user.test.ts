/** Who owns a run directory, and who may start a fleet of another user. */
import { existsSync, lchownSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { LoadedFleet } from "../config/load.js";
import type { FleetUser } from "../core/model.js";
import { claimLasting, claimRunDir, userToBecome } from "./fleet-user.js";
import { lockHolder, takeLock } from "./lock.js";

const USER: FleetUser = { name: "web", uid: 33, gid: 34, group: null, home: null };
const isRoot = process.getuid?.() === 0;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pl-user-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const ownerOf = (path: string) => {
  const { uid, gid } = lstatSync(path);
  return [uid, gid];
};

describe.skipIf(!isRoot)("as root", () => {
  test("a missing run directory is created for the user, with its parents", () => {
    const path = join(folder, "a", "b");
    claimRunDir(path, USER);
    expect([ownerOf(path), lstatSync(path).mode & 0o7777]).toEqual([[33, 34], 0o700]);
    expect(ownerOf(join(folder, "a"))).toEqual([0, 0]);
    claimRunDir(path, USER);
  });

  test("the run directory of root becomes the user's with its content, but not the targets of links", () => {
    const path = join(folder, "run");
    mkdirSync(join(path, "log"), { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, "others"), "");
    writeFileSync(join(path, "log", "1.log"), "");
    symlinkSync(join(folder, "others"), join(path, "link"));
    claimRunDir(path, USER);
    for (const name of ["", "log", "log/1.log", "link"]) expect(ownerOf(join(path, name))).toEqual([33, 34]);
    expect(ownerOf(join(folder, "others"))).toEqual([0, 0]);
  });

  test("a folder of death reports that only root can create becomes the user's", () => {
    const runDir = join(folder, "run", "shop");
    const deaths = join(folder, "lib", "shop", "deaths");
    claimLasting(join(runDir, "deaths"), runDir, USER);
    expect(existsSync(join(folder, "run"))).toBe(false);
    // As from a fleet that had no `user` before.
    mkdirSync(deaths, { recursive: true, mode: 0o700 });
    writeFileSync(join(deaths, "1-web.1.json"), "");
    for (const _ of ["first", "again"]) {
      claimLasting(deaths, runDir, USER);
      for (const path of [deaths, join(deaths, "1-web.1.json")]) expect(ownerOf(path)).toEqual([33, 34]);
    }
    expect([ownerOf(join(deaths, "..")), lstatSync(join(deaths, "..")).mode & 0o7777]).toEqual([[0, 0], 0o711]);
    claimLasting(deaths, runDir, { ...USER, uid: 35 });
    expect(ownerOf(deaths)).toEqual([33, 34]);
  });

  test("a lock that root has left in the folder of a user is named", () => {
    takeLock(folder);
    lchownSync(folder, 35, 35);
    process.seteuid?.(35);
    try {
      expect(() => lockHolder(folder)).toThrow("lock.1 belongs to another user");
    } finally {
      process.seteuid?.(0);
    }
  });

  test("the run directory of a third user, a link and an open folder are rejected", () => {
    const path = join(folder, "run");
    mkdirSync(path, { mode: 0o700 });
    lchownSync(path, 35, 35);
    expect(() => claimRunDir(path, USER)).toThrow(
      /belongs to .*, from a start with another `user` than web; remove it/,
    );
    symlinkSync(folder, join(folder, "link"));
    expect(() => claimRunDir(join(folder, "link"), USER)).toThrow("is a symbolic link; remove it");
    mkdirSync(join(folder, "open"), { mode: 0o755 });
    expect(() => claimRunDir(join(folder, "open"), USER)).toThrow("is open to others (mode 0755); remove it");
  });

  test("only root can switch to another user", () => {
    const fleet = { config: { user: USER }, source: { kind: "config", file: "/srv/p.toml" } } as LoadedFleet;
    expect(userToBecome(fleet)).toBe(USER);
    process.seteuid?.(35);
    try {
      expect(() => userToBecome(fleet)).toThrow(
        /^\/srv\/p.toml: user: .* cannot start a fleet of the user web: start it as root, or as that user: sudo -u web paceline start$/,
      );
      expect(userToBecome({ ...fleet, config: { ...fleet.config, user: { ...USER, uid: 35 } } })).toBe(undefined);
      const other = { ...USER, uid: 35, group: "db" };
      expect(() => userToBecome({ ...fleet, config: { ...fleet.config, user: other } })).toThrow("sudo -u web -g db");
    } finally {
      process.seteuid?.(0);
    }
    expect(userToBecome({ ...fleet, config: { ...fleet.config, user: null } })).toBe(undefined);
  });
});
