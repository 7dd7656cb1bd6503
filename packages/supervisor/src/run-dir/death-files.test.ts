import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { DeathReport } from "../core/deaths.js";
import { DeathFiles, detailsOf, readReports } from "./report-files.js";

const REPORT: Omit<DeathReport, "id"> = {
  ...{ version: 1, at: 0, process: "web.1#1", name: "web.1", pool: "web", kind: "exit", attempt: 1 },
  ...{ generation: 1, pid: 1, runtime: "bun", release: "/srv", uptimeMs: 1, state: "ready", code: 1, signal: null },
  ...{ reason: "", running: null, inFlight: 0, requestsTotal: 0, requests: [], requestsOmitted: 0, stack: [] },
  ...{ history: null, lastLines: [] },
};

test("two supervisors that write into one folder give each report a different number", () => {
  const folder = mkdtempSync(join(tmpdir(), "deaths-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const [former, next] = [new DeathFiles(folder), new DeathFiles(folder)];
  for (const files of [former, next, next, former]) files.add(REPORT);
  expect(readReports(folder).map(({ id }) => id)).toEqual([4, 3, 2, 1]);
});

test.each([
  [
    null,
    [
      ["GET /a", "running", "reassigned"],
      ["GET /b", "started", "failed"],
    ],
    "GET /a",
    ["GET /b"],
  ],
  ["GET /c", [["GET /a", "running", "failed"]], "GET /c", ["GET /a"]],
  [null, [["GET /a", "notStarted", "reassigned"]], null, []],
] as const)(
  "a process ran %s and what its handlers ran, although another instance got it",
  (running, given, ran, lost) => {
    const requests = given.map(([request, state, outcome]) => ({ request, state, outcome, ageMs: 1 }));
    expect(detailsOf({ ...REPORT, id: 1, running, requests })).toMatchObject({ running: ran, requests: lost });
  },
);
