/** The benchmark writes into its own parts of docs/benchmarks.md and leaves the rest unchanged. */
import { expect, test } from "vitest";
import { replaceRegion, reportMarkdown } from "./docs.mjs";
import { summaryMarkdown } from "./summary.mjs";

test("replaceRegion changes only the region of the given name", () => {
  const page = "before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n";
  expect(replaceRegion(page, "bench", "new")).toBe(
    "before\n<!-- bench:begin -->\n\nnew\n\n<!-- bench:end -->\nafter\n",
  );
  expect(() => replaceRegion(page, "bench:summary", "new")).toThrow("bench:summary:begin");
});

test("the page states versions, missing peers, settings and losses", () => {
  const figures = { requestsPerSecond: 1000, seconds: 5, p50Ms: 1, p99Ms: 2, cpuUs: 10, rssMB: 9, pssMB: 8, failed: 0 };
  const report = {
    date: "2026-01-01",
    machine: { cpu: "a CPU", cpus: 2, memoryGB: 4, system: "Linux 6" },
    versions: { bun: "1.4.5", nginx: "1.22.1", pm2: undefined },
    missing: { "PM2 cluster": "pm2" },
    settings: { rounds: 3, requests: 50_000, seconds: 5 },
    sections: [
      {
        id: "fleet-2",
        kind: "load",
        instances: 2,
        title: "A fleet of 2 instances",
        rows: [
          { name: "paceline", isOurs: true, settings: "as it comes", notes: [], close: figures },
          { name: "paceline over HTTP/1.1", isOurs: true, settings: "", notes: [], close: figures },
          { name: "nginx", isOurs: false, settings: "one worker", notes: ["odd"], close: { ...figures, cpuUs: 9 } },
        ],
      },
    ],
  };
  const markdown = `${summaryMarkdown(report, "chart.svg")}\n${reportMarkdown(report)}`;
  for (const part of [
    "bun 1.4.5, nginx 1.22.1.",
    "Missing: PM2 cluster (pm2 is not installed).",
    "](chart.svg)",
    "| paceline | 10.0 | 1,000 | – | – | 8 |\n| nginx | 9.0 | 1,000 | – | – | 8 |",
    "- nginx, fleet: one worker",
    "- nginx: odd",
    "| nginx | fleet-2, close |  |  |  | 9.0 / 10.0 (−10 %) |  |  |",
    "| nginx | 1,000 | 5.00 | 1.0 | 2.0 | 9.0 | 9 | 8 | 0 |",
  ]) {
    expect(markdown).toContain(part);
  }
});
