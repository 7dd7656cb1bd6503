/** What counts as a failure of an upstream. */
import { expect, it } from "vitest";
import { UsualTime } from "./usual-time.js";
import { Vitals } from "./vitals.js";

it("counts failures in a row, and calls back from the second on; losses at once count as one", () => {
  const clock = { now: 0 };
  const rows: number[] = [];
  const vitals = new Vitals(clock, new UsualTime(), (row) => rows.push(row));
  vitals.answered(500, 1);
  vitals.answered(404, 1);
  for (const status of [503, 504]) vitals.answered(status, 1);
  for (const loss of ["lost", "bystander", "refused"] as const) vitals.lost(loss);
  for (const loss of ["notStarted", "stale", "stalled", "freed"] as const) vitals.lost(loss);
  clock.now += 100;
  vitals.lost("broken");
  expect(rows).toEqual([2, 3, 4]);
  expect(vitals).toMatchObject({ requests: 6, failures: 5, row: 4 });
  vitals.decay(0.5);
  expect(vitals).toMatchObject({ requests: 3, failures: 2.5, row: 4 });
  vitals.answered(200, 1);
  expect(vitals.row).toBe(0);
  vitals.reset();
  expect(vitals).toMatchObject({ requests: 0, failures: 0, row: 0 });
});
