import type { LostRequests } from "@paceline/wire";
import { expect, onTestFinished, test } from "vitest";
import type { DeathReport } from "../core/deaths.js";
import { EventLog } from "../logs/event-log.js";
import { DeathReporter } from "./death-reporter.js";

/** A reporter whose files only pass on what is added and updated. */
function reporterOf(onAdd: (report: DeathReport) => void, onUpdate: (report: DeathReport) => void = () => {}) {
  let added = 0;
  const reporter = new DeathReporter({
    files: {
      add: (report: Omit<DeathReport, "id">) => {
        const numbered = { ...report, id: ++added };
        onAdd(numbered);
        return numbered;
      },
      update: onUpdate,
    } as never,
    log: new EventLog(),
    usage: { peek: () => undefined } as never,
    oomKills: { explain: () => false } as never,
    alive: () => [],
    releaseOf: () => "",
  });
  onTestFinished(() => reporter.close());
  return reporter;
}

test("a process that ended with its supervisor has lived until its last sign of life, and no less than nothing", () => {
  const found: DeathReport[] = [];
  const reporter = reporterOf((report) => found.push(report));
  const foundAt = Date.now();
  const process = {
    id: "web.1#1",
    name: "web.1",
    pool: "web",
    attempt: 1,
    generation: 1,
    spawnedAt: performance.now(),
  };
  const ending = { status: { code: null, signal: null }, foundAt, reason: "ended", lastLines: [] };
  reporter.ended(process, { ...ending, at: foundAt - 5_000 }, "ready");
  expect(found).toMatchObject([{ at: foundAt - 5_000, foundAt, uptimeMs: 0 }]);
});

test("lost requests are added to the newest reports, even after a storm of deaths", () => {
  const updated: string[] = [];
  let added = 0;
  const watch = reporterOf(
    () => added++,
    ({ process }) => updated.push(process),
  );
  const ending = { status: { code: 1, signal: null }, at: 0, reason: "exited with code 1", lastLines: [] };
  for (let attempt = 1; attempt <= 300; attempt++) {
    const process = { id: `web.1#${attempt}`, name: "web.1", pool: "web", attempt, generation: 1 };
    watch.ended(process, ending, "starting");
  }
  const lost = (upstream: string): LostRequests => ({
    ...{ upstream, omitted: 0 },
    requests: [{ request: "GET /", ageMs: 1, state: "running", outcome: "failed" }],
  });
  for (const attempt of [1, 299, 300]) watch.lost(undefined, lost(`web.1#${attempt}`));
  expect([added, updated]).toEqual([300, ["web.1#299", "web.1#300"]]);
});
