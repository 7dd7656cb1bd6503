/** The atomic writing of files. */
import {
  chmodSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { replaceDurably, replaceFile, writeWhole } from "./run-dir-files.js";

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "paceline-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes half of a file, as on a disk that becomes full. */
function half(draft: string): never {
  writeFileSync(draft, "hal");
  throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
}

test("a file that cannot be written whole leaves the former one, and nothing else", () => {
  const folder = makeFolder();
  const file = join(folder, "paceline.toml");
  expect(() => writeWhole(file, half)).toThrow("ENOSPC");
  expect(readdirSync(folder)).toEqual([]);
  writeFileSync(file, "before");
  expect(() => writeWhole(file, half, { replaces: true })).toThrow("ENOSPC");
  expect(() => writeWhole(file, "after")).toThrow("EEXIST");
  expect(readdirSync(folder)).toEqual(["paceline.toml"]);
  expect(readFileSync(file, "utf8")).toBe("before");
});

test("a replaced file keeps its mode, and a symbolic link to it stays", () => {
  const folder = makeFolder();
  const [file, link] = [join(folder, "real.toml"), join(folder, "paceline.toml")];
  writeWhole(file, "before", { mode: 0o600 });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  chmodSync(file, 0o640);
  symlinkSync("real.toml", link);
  writeWhole(link, "after", { replaces: true });
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  expect({ text: readFileSync(file, "utf8"), mode: statSync(file).mode & 0o777 }).toEqual({
    text: "after",
    mode: 0o640,
  });
  expect(readdirSync(folder).sort()).toEqual(["paceline.toml", "real.toml"]);
});

test.each([
  ["replaceFile", replaceFile],
  ["replaceDurably", replaceDurably],
])("%s leaves no draft beside a path that it cannot replace", (_, replace) => {
  const folder = makeFolder();
  expect(() => replace(folder, "text")).toThrow();
  expect(readdirSync(join(folder, "..")).filter((name) => name.startsWith(`${folder.split("/").at(-1)}.`))).toEqual([]);
});
