import type { LostRequests } from "@paceline/wire";
import { expect, onTestFinished, test } from "vitest";
import type { DeathReport } from "../core/deaths.js";
import { EventLog } from "../logs/event-log.js";
import { DeathReporter } from "./death-reporter.js";

test("lost requests are added to the newest reports, even after a storm of deaths", () => {
  const updated: string[] = [];
  let added = 0;
  const watch = new DeathReporter({
    files: {
      add: (report: Omit<DeathReport, "id">) => ({ ...report, id: ++added }),
      update: ({ process }: DeathReport) => updated.push(process),
    } as never,
    log: new EventLog(),
    usage: { peek: () => undefined } as never,
    oomKills: { explain: () => false } as never,
    alive: () => [],
    releaseOf: () => "",
  });
  onTestFinished(() => watch.close());
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
