/** The metrics of a fleet, their documentation, and the files that use them. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Status } from "../control/api.js";
import { FIGURES, type Figure } from "../core/figures.js";
import { LATENCY_BOUNDS, LatencyTotals } from "../stats/totals.js";
import type { Family } from "./exposition.js";
import { familiesOf } from "./families.js";

const read = (path: string) => readFileSync(new URL(`../../../../${path}`, import.meta.url), "utf8");

const measured = {
  ...{ state: "ready", rssBytes: 5, cpuPercent: 50, requestsTotal: 7, inFlight: 2, errorsTotal: 1, uptimeSeconds: 9 },
  ...{ linesTotal: 4, linesLost: 3, restarts: 6, stalledMs: 1500, recycles: 8, eventLoopLagMs: 20, heapBytes: 30 },
  ...{ deferred: { jobs: 11, oldestMs: 5 }, recycle: { memoryLimitInSeconds: 12 } },
};
const balancer = {
  ...measured,
  ...{ name: "balancer.1", connections: 1, connectionsTotal: 2, retriesTotal: 3, spoolBytes: 4, unreadEndedTotal: 5 },
  noRoomTotal: 8,
  ...{ hedgesTotal: 7, hedgesWonTotal: 6 },
};
const pool = { wanted: 3, ready: 2, generation: 5, requestsTotal: 100, errorsTotal: 4, receiving: 1, sending: 2 };
const responses = { "1xx": 0, "2xx": 6, "3xx": 0, "4xx": 1, "5xx": 0, abandoned: 0 };
const status = {
  ...{ name: "shop", version: "1.2.3", runtime: "bun 1.4.5", state: "running", uptimeSeconds: 60, lock: null },
  ...{
    requestsTotal: 10,
    errorsTotal: 1,
    rssBytes: 99,
    cpuPercent: 250,
    supervisor: { rssBytes: 44 },
    problem: "the disk is full",
  },
  balancers: [balancer],
  pools: [
    {
      ...pool,
      name: "web",
      instances: [{ ...measured, name: "web.1", outOfTurn: "drained", weight: 50, ejectionsTotal: 3, responses }],
    },
    { ...pool, name: "jobs", requestsTotal: null, errorsTotal: null, instances: [idle("jobs.1")] },
  ],
} as unknown as Status;

/** A worker without a process. */
function idle(name: string) {
  const none = {
    weight: null,
    requestsTotal: null,
    inFlight: null,
    rssBytes: null,
    cpuPercent: null,
    deferred: null,
    recycle: null,
  };
  return { ...measured, ...none, name, state: "backoff", eventLoopLagMs: null, heapBytes: null, stalledMs: null };
}

const totals = new LatencyTotals();
const families = familiesOf(status, (slot) => (slot === "web.1" || slot === "balancer.1" ? totals : undefined));

const sampleOf = (name: string, labels: object) =>
  families
    .flatMap((family) => (family.name === `paceline_${name}` && family.type !== "histogram" ? family.samples : []))
    .find((sample) => JSON.stringify(sample.labels) === JSON.stringify(labels))?.value;

const web = { pool: "web", process: "web.1" };
const jobs = { pool: "jobs", process: "jobs.1" };
const first = { pool: "balancer", process: "balancer.1" };

describe("the metrics of a fleet", () => {
  it.each([
    ["up", {}, 1],
    ["problem", {}, 1],
    ["locked", {}, 0],
    ["cpu_ratio", {}, 2.5],
    ["pool_instances_wanted", { pool: "web" }, 3],
    ["pool_instances_serving", { pool: "web" }, 0],
    ["instance_drained", web, 1],
    ["instance_ejected", web, 0],
    ["instance_weight", web, 50],
    ["instance_responses", { ...web, status: "2xx" }, 6],
    ["instance_responses", { ...web, status: "3xx" }, 0],
    ["instance_responses", { ...jobs, status: "2xx" }, undefined],
    ["ejections", web, 3],
    ["instance_drained", jobs, undefined],
    ["instance_weight", jobs, undefined],
    ["pool_requests", { pool: "jobs" }, undefined],
    ["process_cpu_ratio", web, 0.5],
    ["process_cpu_ratio", jobs, undefined],
    ["process_resident_memory_bytes", first, 5],
    ["requests", web, 7],
    ["requests", first, undefined],
    ["requests", jobs, undefined],
    ["errors", jobs, undefined],
    ["balancer_requests", first, 7],
    ["balancer_no_room", first, 8],
    ["deferred_jobs", web, 11],
    ["memory_limit_in_seconds", web, 12],
    ["instance_ready", jobs, 0],
    ["event_loop_lag_seconds", web, 0.02],
    ["stalled_seconds", web, 1.5],
    ["stalled_seconds", jobs, 0],
    ["restarts", jobs, 6],
  ])("%s %j", (name, labels, value) => {
    expect(sampleOf(name, labels)).toBe(value);
  });

  it("have the latencies of existing processes", () => {
    const samples = families.flatMap((family) => (family.type === "histogram" ? family.samples : []));
    expect(samples.map(({ labels, counts, bounds }) => [labels, counts.length, bounds])).toEqual([
      [web, LATENCY_BOUNDS.length + 1, LATENCY_BOUNDS],
      [first, LATENCY_BOUNDS.length + 1, LATENCY_BOUNDS],
    ]);
  });

  it("have each name once, and a valid number for every figure", () => {
    const names = families.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { metric } of FIGURES as readonly Figure[])
      if (metric !== undefined) expect(names).toContain(`paceline_${metric.name}`);
  });

  it("are all in docs/metrics.md", () => {
    const [, table = ""] = /<!-- metrics:begin -->\n([\s\S]*)<!-- metrics:end -->/.exec(read("docs/metrics.md")) ?? [];
    const rows = families.map((family) => `| \`${sampleName(family)}\` | ${family.type} | ${family.help} |\n`);
    expect(table).toBe(`| metric | type | meaning |\n|---|---|---|\n${rows.join("")}`);
  });

  it.each(["examples/prometheus/alerts.yml", "examples/prometheus/grafana.json"])("are what %s asks for", (path) => {
    const known = new Set(
      families.flatMap((family) =>
        family.type === "histogram"
          ? ["_bucket", "_sum", "_count"].map((end) => family.name + end)
          : [sampleName(family)],
      ),
    );
    const used = read(path).match(/paceline_[a-z_]+/g) ?? [];
    expect(used.length).toBeGreaterThan(5);
    expect(used.filter((name) => !known.has(name))).toEqual([]);
  });
});

function sampleName({ name, type }: Family): string {
  return type === "counter" ? `${name}_total` : type === "info" ? `${name}_info` : name;
}
