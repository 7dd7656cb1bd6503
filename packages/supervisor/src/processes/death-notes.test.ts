import { expect, test } from "vitest";
import { DeathNotes, ProcessHistory, SAMPLE_EVERY_MS } from "./death-notes.js";

test("keeps the newest sixty samples in order", () => {
  const history = new ProcessHistory();
  expect(history.read()).toBeNull();
  for (let n = 1; n <= 75; n++) {
    history.noteLag(n);
    history.noteLag(n / 2);
    history.add({ rssBytes: n * 1_000_000, requestsTotal: n * 10 }, n * SAMPLE_EVERY_MS);
  }
  const read = history.read();
  expect(read?.rssBytes).toHaveLength(60);
  expect(read?.rssBytes.at(0)).toBe(16_000_000);
  expect(read?.rssBytes.at(-1)).toBe(75_000_000);
  expect(read?.eventLoopLagMs.at(-1)).toBe(75);
  expect(read?.requestsPerSecond.at(-1)).toBe(2);
});

test("missing measurements are null, and a lag counts once", () => {
  const history = new ProcessHistory();
  history.add({ rssBytes: undefined, requestsTotal: undefined }, 0);
  expect(history.read()).toBeNull();
  history.add({ rssBytes: undefined, requestsTotal: 0 }, 5000);
  history.noteLag(40);
  history.add({ rssBytes: 1, requestsTotal: 5 }, 10_000);
  history.add({ rssBytes: 1, requestsTotal: 2 }, 15_000);
  expect(history.read()).toMatchObject({ rssBytes: [null, 1, 1], eventLoopLagMs: [null, 40, null] });
  expect(history.read()?.requestsPerSecond).toEqual([0, 1, 0]);
});

test("requests lost long before the exit have another cause; balancers report those that the exit cost before or after it", () => {
  const notes = new DeathNotes();
  const lose = (request: string, at: number) =>
    notes.lose(
      { upstream: "", requests: [{ request, ageMs: 0, state: "started", outcome: "failed" }], omitted: 1 },
      at,
    );
  lose("GET /short", 8_900);
  lose("GET /before", 9_950);
  lose("GET /after", 11_000);
  const { requests, requestsOmitted } = notes.lostAtEnd(10_000);
  expect([requests.map(({ request }) => request), requestsOmitted]).toEqual([["GET /before", "GET /after"], 2]);
  // The first request may be the reason why the process was killed.
  notes.killedAs = "hung";
  expect(notes.lostAtEnd(10_000).requestsOmitted).toBe(3);
});
