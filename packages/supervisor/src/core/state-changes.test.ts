/** The lines of `paceline watch`. */
import { expect, it } from "vitest";
import type { FleetFacts, InstanceFacts, PoolFacts } from "./explain-model.js";
import { changeLine, changesBetween } from "./state-changes.js";

const NOW = 1_800_000_000_000;
const instance = {
  ...{ name: "web.1", state: "ready", attempt: 1, outOfTurn: null, weight: 100, stalledMs: null, recycle: null },
} as unknown as InstanceFacts;
const pool = {
  name: "web",
  wanted: 1,
  ready: 1,
  generation: 3,
  deploy: null,
  instances: [instance],
} as unknown as PoolFacts;
const balancers = [{ ...instance, name: "balancer.1" }] as unknown as FleetFacts["balancers"];
const fleet = {
  ...{ name: "shop", state: "running", problem: null, log: null, lock: null, balancers, pools: [pool] },
} as unknown as FleetFacts;

/** Returns the fleet with a changed instance and pool. */
const having = (own: Partial<InstanceFacts>, ofPool: Partial<PoolFacts> = {}): FleetFacts => ({
  ...fleet,
  pools: [{ ...pool, instances: [{ ...instance, ...own }], ...ofPool }],
});
const exited = { at: NOW - 9, level: "warn", subject: "web.1", message: "exited with code 1; restarts in 0.2 s\nmore" };

it.each<[string[], FleetFacts, FleetFacts]>([
  [[], fleet, having({ requestsTotal: 7, rssBytes: 9 })],
  [
    ["web.1 ready → backoff: exited with code 1; restarts in 0.2 s", "web 1/1 ready → 0/1 ready"],
    fleet,
    having({ state: "backoff" }, { ready: 0 }),
  ],
  [["web.1 restarted, process 1 → process 2: exited with code 1; restarts in 0.2 s"], fleet, having({ attempt: 2 })],
  [["web.1 in turn → drained: exited with code 1; restarts in 0.2 s"], fleet, having({ outOfTurn: "drained" })],
  [["web.1 weight 100 → 50, 50 % of the normal share"], fleet, having({ weight: 50 })],
  [["web.1 does not respond: exited with code 1; restarts in 0.2 s"], fleet, having({ stalledMs: 4_000 })],
  [["web 1 → 3 instances wanted"], fleet, having({}, { wanted: 3 })],
  [["web generation 3 → 4"], fleet, having({}, { generation: 4 })],
  [["web was removed"], fleet, { ...fleet, pools: [] }],
  [["web was added with 1 instances"], { ...fleet, pools: [] }, fleet],
  [["shop problem: the disk is full"], fleet, { ...fleet, problem: "the disk is full" }],
  [["shop running → stopping"], fleet, { ...fleet, state: "stopping" }],
])("%j", (lines, before, after) => {
  expect(changesBetween(before, after, [exited], NOW).map(changeLine)).toEqual(lines);
});

it("have the time of the event that explains them", () => {
  const [change] = changesBetween(fleet, having({ state: "backoff" }), [exited], NOW);
  expect(change).toMatchObject({ at: NOW - 9, kind: "state", from: "ready", to: "backoff" });
});
