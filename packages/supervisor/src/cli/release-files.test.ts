import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { changedSince, compareReleases, FILE_LIMITS } from "./release-files.js";

function makeFolder(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), "release-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

const OLD = { "app.js": "one", "same.js": "same", "gone.js": "gone", "lib/a.js": "a", "package-lock.json": "{}" };
const NEW = { "app.js": "two", "same.js": "same", "new.js": "new", ".next/b.js": "b", "package-lock.json": "{}" };

test("two releases differ in content, mode and links; what is not code is left out", async () => {
  const skipped = { "node_modules/m/i.js": "1", ".git/HEAD": "1", "app.log": "1", "data.sqlite-wal": "1" };
  const [from, to] = [makeFolder(OLD), makeFolder({ ...NEW, ...skipped, "run/x": "1", "a/b": "" })];
  for (const [folder, target] of [
    [from, "x"],
    [to, "y"],
  ] as const)
    symlinkSync(target, join(folder, "link"));
  const { files, cutOff } = await compareReleases(from, to, { without: [join(to, "run")] });
  expect(cutOff).toBe(null);
  expect(files.map(({ path, change }) => `${change} ${path}`)).toEqual([
    ...["added .next/b.js", "added a/b", "changed app.js", "removed gone.js", "removed lib/a.js", "changed link"],
    "added new.js",
  ]);
  const [changed] = files.filter(({ path }) => path === "app.js");
  // printf one | sha256sum
  expect(changed).toMatchObject({ from: "7692c3ad3540", to: "3fc4ccfe7458" });
  chmodSync(join(to, "same.js"), 0o755);
  expect((await compareReleases(from, to, { without: [] })).files).toContainEqual(
    expect.objectContaining({ path: "same.js", change: "changed" }),
  );
  expect((await compareReleases(from, from, { without: [] })).files).toEqual([]);
});

test("what is not compared is reported: too many files, bytes or changes", async () => {
  const many = Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`${at}.js`, `${at % 10}`]));
  const [from, to] = [makeFolder({}), makeFolder(many)];
  const compare = (limits: object) => compareReleases(from, to, { without: [], limits: { ...FILE_LIMITS, ...limits } });
  expect(await compare({})).toMatchObject({ cutOff: null, files: { length: 20 } });
  expect((await compare({ files: 5 })).cutOff).toContain("more than 5 files");
  const few = await compare({ changes: 3 });
  expect([few.files.length, few.cutOff]).toEqual([3, "17 more changes"]);
  const unread = await compare({ bytes: 7 });
  expect(unread.files.filter(({ to }) => to === null)).toHaveLength(13);
  expect(unread.cutOff).toContain("beyond 7 bytes");
  await expect(compareReleases(join(from, "nope"), to, { without: [] })).rejects.toThrow("ENOENT");
});

test("in an unchanged release folder, changes since a time are found, and folders that lost something", async () => {
  const folder = makeFolder({ "app.js": "1", "lib/a.js": "1", "lib/deep/b.js": "1" });
  const past = new Date(Date.now() - 60_000);
  for (const name of ["lib/deep", "lib", "."]) utimesSync(join(folder, name), past, past);
  const since = Math.max(
    ...["app.js", "lib/a.js", "lib/deep/b.js"].map((name) => statSync(join(folder, name)).ctimeMs),
  );
  const changed = async (at = since) => (await changedSince(folder, at, { without: [] })).files;
  expect(await changed()).toEqual([]);
  rmSync(join(folder, "lib/deep/b.js"));
  expect(await changed()).toMatchObject([{ path: "lib/deep/", change: "touched" }]);
  // A later time than the file system's clock may have now.
  expect(await changed(since - 60_000)).toContainEqual(expect.objectContaining({ path: "app.js", change: "changed" }));
});
