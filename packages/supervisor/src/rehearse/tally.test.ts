/** What counts as lost, and the figures of a phase. */
import { expect, test } from "vitest";
import type { Outcome } from "./exchange.js";
import { Tally } from "./tally.js";

function outcome(status: number, loss: Outcome["loss"] = null, durationMs = 1): Outcome {
  const rest = { startedAt: 0, cookies: [], body: "", announcesClose: false, socket: null };
  return { ask: { method: "GET", path: "/a", host: "x" }, status, loss, durationMs, ...rest };
}

test("a missing response and a response of the balancer are losses; an error of the app is not", () => {
  const tally = new Tally("reload");
  for (const status of [200, 404, 500, 502, 503, 504]) tally.add(outcome(status));
  tally.add(outcome(0, "reset"));
  const { sent, lost, losses, errors } = tally.counts();
  expect({ sent, lost, how: losses.map(({ how }) => how), errors }).toEqual({
    ...{ sent: 7, lost: 4, how: ["502", "503", "504", "reset"], errors: { "GET /a": 1 } },
  });
});

test("percentiles are those of all responses, even if not all are kept", () => {
  expect(new Tally("steady").counts()).toMatchObject({ p50: null, p99: null, max: null });
  const tally = new Tally("steady");
  for (let at = 0; at < 50_000; at++) tally.add(outcome(200, null, at % 100));
  tally.add(outcome(0, "timeout", 30_000));
  const { p50, p99, max } = tally.counts();
  expect([p50, p99, max]).toEqual([expect.closeTo(50, -1), expect.closeTo(99, -1), expect.closeTo(99, -1)]);
  expect(tally.byRequest.get("GET /a")).toMatchObject({ responses: 50_000, slowestMs: 99 });
});
