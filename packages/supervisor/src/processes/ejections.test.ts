/** Each ejection and readmission is one event, however often it is reported. */
import { expect, test } from "vitest";
import { EventLog } from "../logs/event-log.js";
import { type Ejection, noteEjection, outForHealth } from "./ejections.js";

test("one event for each change, from each balancer, with the reason and the time", () => {
  const log = new EventLog();
  const child = { name: "web.3", ejections: new Map<string, Ejection>(), ejectionsTotal: 0 };
  const balancers = [1, 2].map((index) => ({ id: `balancer.${index}#1`, name: `balancer.${index}` }));
  const [first, second] = balancers as [(typeof balancers)[number], (typeof balancers)[number]];
  const reason = "5 failures in a row; of the others' 80 requests 0 failed";
  const reports: [balancer: typeof first, at: number, ejected?: [number: number, forMs: number]][] = [
    [first, 0],
    [first, 0, [1, 10_000]],
    [first, 3_000, [1, 9_000]],
    [second, 2_000, [1, 10_000]],
    [first, 9_040, [1, 1_000]],
    [first, 10_050],
    [first, 11_000],
    [second, 11_000, [1, 1_000]],
    // Readmitted and ejected again between two reports.
    [second, 12_100, [2, 19_900]],
    [second, 32_100],
  ];
  for (const [balancer, at, [number, forMs] = []] of reports) {
    const ejected = number === undefined || forMs === undefined ? undefined : { reason, number, forMs };
    noteEjection(log, child, balancer, ejected, at);
  }
  expect(log.recentEvents().map(({ level, subject, message }) => `${level} ${subject} ${message}`)).toEqual([
    `warn web.3 is ejected by balancer.1 for 10 s: ${reason}`,
    `warn web.3 is ejected by balancer.2 for 10 s: ${reason}`,
    "info web.3 is readmitted by balancer.1 after 10.1 s",
    `warn web.3 is ejected by balancer.2 for 19.9 s: ${reason}`,
    "info web.3 is readmitted by balancer.2 after 20 s",
  ]);
  expect([child.ejections.size, child.ejectionsTotal]).toEqual([0, 3]);
});

test.each<[fails: string, balancers: string, anyway: string, expected: string | null]>([
  ["none", "12", "", null],
  // A balancer may still report an ejection that the supervisor knows to be over.
  ["none", "12", "12", null],
  ["checks", "12", "", "ejected"],
  ["checks", "12", "1", "ejected"],
  ["checks", "12", "12", "failing"],
  // No balancer has reported it.
  ["checks", "", "", "ejected"],
  ["1", "12", "", "ejected"],
  ["1", "12", "1", "failing"],
  ["1", "12", "2", "ejected"],
  ["12", "12", "12", "failing"],
])("ejected by %s, of balancers %s, and served by %s all the same: %s", (fails, balancers, anyway, expected) => {
  const named = (ids: string) => new Map([...ids].map((id) => [id, 0]));
  const ejections = named(/[a-z]/.test(fails) ? "" : fails);
  const child = { failsChecks: fails === "checks", ejections, relayed: named(balancers) };
  expect(outForHealth({ ...child, servedAnywayBy: new Set(anyway) })).toBe(expected);
});
