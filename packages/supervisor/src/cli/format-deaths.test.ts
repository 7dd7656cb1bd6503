import { describe, expect, test } from "vitest";
import type { DeathReport } from "../core/deaths.js";
import { formatDeath, formatDeaths } from "./format-reports.js";

const REPORT: DeathReport = {
  ...{ version: 1, id: 17, at: 1_700_000_000_000, process: "web.5#7", name: "web.5", pool: "web", kind: "hung" },
  ...{ attempt: 7, generation: 2, pid: 4711, runtime: "node", release: "/srv/shop", uptimeMs: 3 * 3_600_000 },
  ...{ state: "killing", code: null, signal: "SIGKILL", inFlight: 3, requestsTotal: 812, requestsOmitted: 0 },
  reason: "hung: its event loop was blocked for 30 s while running GET /report; killed by SIGKILL after 10840 s",
  running: "GET /report",
  requests: [
    { request: "GET /report", ageMs: 31_500, state: "running", outcome: "failed", id: "r-1" },
    { request: "GET /", ageMs: 400, state: "notStarted", outcome: "reassigned" },
  ],
  stack: ["total (/srv/shop/app.js:12:9)", "fetch (/srv/shop/app.js:30:3)"],
  history: { everyMs: 5000, rssBytes: [40e6, 80e6], eventLoopLagMs: [null, 12], requestsPerSecond: [3, 0] },
  lastLines: Array.from({ length: 60 }, (_, at) => `line ${at + 1}`),
};
const NOW = REPORT.at + 120_000;

describe("the list", () => {
  test("has a line for each report, as wide as the terminal at most", () => {
    const crash = {
      ...REPORT,
      ...{ id: 3, kind: "exit", code: 1, signal: null, running: null, stack: [] },
    } as DeathReport;
    const lines = formatDeaths([REPORT, { ...crash, lastLines: ["TypeError: x", "    at a.js:1"] }], NOW, 80).split(
      "\n",
    );
    expect(lines).toEqual([
      "ID  WHEN    NAME   HOW     LIVED  LOST  LAST LINE",
      "17  2m ago  web.5  hung       3h     1  total (app.js:12:9), GET /report",
      " 3  2m ago  web.5  exit 1     3h     1  TypeError: x",
    ]);
    const narrow = formatDeaths([REPORT], NOW, 40).split("\n");
    expect(narrow.every((line) => line.length <= 40)).toBe(true);
  });
  test("says that there are none", () => expect(formatDeaths([], NOW, 80)).toBe("no process has died"));
  test("shows no control characters", () => {
    expect(formatDeaths([{ ...REPORT, running: "GET /\x1b[2J" }], NOW, 80)).toContain("\\x1b[2J");
  });
});

describe("one report", () => {
  test("fits on a screen, with the newest lines", () => {
    const lines = formatDeath(REPORT, { columns: 80, rows: 24 }).split("\n");
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(lines.every((line) => line.length <= 80)).toBe(true);
    expect(lines.slice(0, 2)).toEqual([
      "death 17: web.5#7, hung, 2023-11-14T22:13:20.000Z",
      "  pid 4711 · generation 2 · node · was killing · lived 3 h · 812 requests, 3 in…",
    ]);
    expect(lines).toContain("it was running GET /report; requests in flight: 1 lost, 1 sent to another insta…");
    expect(lines).toContain("     31.5 s  GET /report  (running, failed, r-1)");
    expect(lines).toContain("  total (/srv/shop/app.js:12:9)");
    expect(lines.find((line) => line.startsWith("  RSS MB"))).toMatch(/ 80\.0, max 80\.0$/);
    expect(lines.at(-1)).toBe("  line 60");
    expect(lines).toContain("last lines (more: --json)");
  });
  test("of a process that could not be started is short", () => {
    const none = { running: null, requests: [], stack: [], history: null, lastLines: [], pid: null, runtime: "" };
    const text = formatDeath({ ...REPORT, ...none, kind: "notStarted" }, { columns: 200, rows: 50 });
    expect(text.split("\n")).toHaveLength(3);
  });
});
