/** What counts as a failure of an upstream. */
import { expect, it } from "vitest";
import { UsualTime } from "./pace.js";
import { PoolVitals, Vitals } from "./vitals.js";

it("counts consecutive failures, and calls back from the second on; simultaneous losses count as one", () => {
  const clock = { now: 0, current: 0 };
  const rows: number[] = [];
  const vitals = new Vitals(clock, new UsualTime(), new PoolVitals(), (row) => rows.push(row));
  vitals.countResponse(500, 1);
  vitals.countResponse(404, 1);
  for (const status of [503, 504]) vitals.countResponse(status, 1);
  for (const loss of ["closed", "bystander", "refused"] as const) vitals.lost(loss);
  for (const loss of ["notStarted", "staleConnection", "stalled", "behindStalled"] as const) vitals.lost(loss);
  clock.now += 100;
  vitals.lost("broken");
  expect(rows).toEqual([2, 3, 4]);
  expect(vitals).toMatchObject({ requests: 6, failures: 5, row: 4 });
  vitals.decay(0.5);
  expect(vitals).toMatchObject({ requests: 3, failures: 2.5, row: 4 });
  vitals.countResponse(200, 1);
  expect(vitals.row).toBe(0);
  vitals.reset();
  expect(vitals).toMatchObject({ requests: 0, failures: 0, row: 0 });
});

it("counts what the others did during consecutive failures: successes that began after the first, and all failures until the last", () => {
  const clock = { now: 0, current: 100 };
  const pool = new PoolVitals();
  const [own, other] = [0, 1].map(() => new Vitals(clock, new UsualTime(), pool, () => {})) as [Vitals, Vitals];
  for (let at = 0; at < 50; at++) other.countResponse(200, 1);
  own.countResponse(500, 1);
  clock.current += 5;
  other.countResponse(200, 6);
  other.countResponse(500, 6);
  other.countResponse(200, 4);
  expect(own.besideRow).toEqual({ requests: 0, failures: 0 });
  own.countResponse(500, 1);
  other.countResponse(200, 1);
  expect(own.besideRow).toEqual({ requests: 2, failures: 1 });
  expect(own.beside).toEqual({ requests: 54, failures: 1 });
  own.reset();
  other.countResponse(200, 1);
  expect([own.beside, pool.failing]).toEqual([{ requests: 1, failures: 0 }, []]);
  own.countResponse(500, 1);
  own.end();
  own.countResponse(500, 1);
  expect(pool.failing).toEqual([]);
});
