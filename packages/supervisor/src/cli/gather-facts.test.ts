/** What `paceline explain` finds about a request in a file of the access log. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { accessLinesNaming } from "./gather-facts.js";

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "pl-access-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

it("finds the JSON lines of a request only at the end of the file", () => {
  const path = join(folder(), "access.log");
  const lines = ["old-id", "some-id", "other-id", "some-id"].map((requestId, at) => JSON.stringify({ requestId, at }));
  writeFileSync(path, `${lines.join("\n")}\n1.2.3.4 - - some-id\n`);
  const texts = (id: string, most?: number) => accessLinesNaming(id, path, most).lines.map(({ text }) => text);
  expect(texts("some-id")).toEqual([lines[1], lines[3]]);
  expect(texts("some-id", 60)).toEqual([lines[3]]);
  expect(texts("old-id")).toEqual([lines[0]]);
  expect(texts("old-id", 60)).toEqual([]);
});

it("says why a file is not read: it is missing, or not a regular file, such as a pipe, whose writer is not awaited", () => {
  const own = folder();
  execFileSync("mkfifo", [join(own, "pipe")]);
  expect(accessLinesNaming("id", join(own, "none")).problem).toContain("ENOENT");
  for (const path of [join(own, "pipe"), own])
    expect(accessLinesNaming("id", path)).toEqual({ lines: [], problem: `${path} is no regular file` });
});
