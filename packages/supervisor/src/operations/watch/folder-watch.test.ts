import { mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { waitFor } from "../../../../../test/support/wait.js";
import { FolderWatch } from "./folder-watch.js";

let folder: string;
let root: string;
let changed: string[];
let problems: string[];
let watched: FolderWatch;

const write = (name: string, text = "x") => {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), text);
};
const isIgnored = (path: string) => basename(path) === "node_modules";

function follow(maxFolders = 100): void {
  watched = new FolderWatch({
    onChange: (path) => changed.push(path),
    onProblem: (message) => problems.push(message),
    maxFolders,
  });
  watched.follow({ roots: [root], files: [join(folder, "conf/.env")], isIgnored });
}

/** Makes the change, and waits until a change of that path is reported. */
async function sees(path: string, change: () => void): Promise<void> {
  changed = [];
  change();
  await waitFor(`a change of ${path}`, () => changed.includes(join(folder, path)), { details: () => `${changed}` });
}

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "pl-watch-")));
  root = join(folder, "app");
  changed = [];
  problems = [];
  for (const name of ["app/app.js", "app/lib/deep/a.js", "app/node_modules/m/m.js", "conf/.env"]) write(name);
});
afterEach(() => {
  watched.close();
  rmSync(folder, { recursive: true, force: true });
});

test("reports files that are changed, added, removed and replaced, at any depth, and files elsewhere", async () => {
  follow();
  await sees("app/app.js", () => write("app/app.js", "y"));
  await sees("app/lib/deep/a.js", () => write("app/lib/deep/a.js", "y"));
  await sees("app/lib/new.js", () => write("app/lib/new.js"));
  await sees("app/lib/new.js", () => rmSync(join(folder, "app/lib/new.js")));
  for (let time = 0; time < 2; time++) {
    await sees("app/app.js", () => {
      write("app/.app.js.tmp", "z");
      renameSync(join(folder, "app/.app.js.tmp"), join(folder, "app/app.js"));
    });
  }
  await sees("conf/.env", () => write("conf/.env", "y"));
  expect(problems).toEqual([]);
});

test("follows folders that are added, removed and added again, including the root", async () => {
  follow();
  for (let time = 0; time < 2; time++) {
    await sees("app/new", () => write("app/new/below/a.js"));
    await sees("app/new/below/a.js", () => write("app/new/below/a.js", "y"));
    await sees("app/new", () => rmSync(join(folder, "app/new"), { recursive: true }));
  }
  // Like a build with its output folder.
  for (let time = 0; time < 2; time++) {
    rmSync(root, { recursive: true });
    await sees("app", () => write("app/lib/a.js"));
    await sees("app/lib/a.js", () => write("app/lib/a.js", "y"));
  }
  // Like a release that replaces another one.
  write("next/lib/a.js");
  await sees("app", () => {
    rmSync(root, { recursive: true });
    renameSync(join(folder, "next"), root);
  });
  await sees("app/lib/a.js", () => write("app/lib/a.js", "z"));
});

test("does not watch ignored folders, or more folders than the limit", async () => {
  follow();
  // The app's folder, lib, deep, and the folders that contain the app and the env file.
  expect(watched.size).toBe(5);
  watched.close();
  for (let n = 0; n < 10; n++) write(`app/many/${n}/a.js`);
  follow(8);
  expect(watched.size).toBe(8);
  expect(problems).toEqual(["watches only the first 8 folders"]);
  await sees("app/app.js", () => write("app/app.js", "y"));
});

test("releases what it no longer follows", () => {
  follow();
  watched.follow({ roots: [join(root, "lib")], files: [], isIgnored });
  expect(watched.size).toBe(3);
  watched.follow({ roots: [join(folder, "gone")], files: [], isIgnored });
  expect(watched.size).toBe(1);
  expect(problems).toEqual([]);
});
