/** Runs every check there is: lint and format, types, then all tests; its last line counts the tests. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Runs a tool of node_modules/.bin with its output shown; true when it exits 0. */
function run(title, tool, args) {
  process.stdout.write(`\n== ${title}\n`);
  const result = spawnSync(join(root, "node_modules", ".bin", tool), args, { cwd: root, stdio: "inherit" });
  if (result.error) process.stdout.write(`${tool} did not start: ${result.error.message}\n`);
  const passed = result.status === 0;
  if (!passed) process.stdout.write(`${title}: FAILED\n`);
  return passed;
}

/** Counts the tests of vitest's report; a file that did not load counts as one failed test. */
function count(reportPath) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const file of JSON.parse(readFileSync(reportPath, "utf8")).testResults) {
    let failedHere = 0;
    for (const test of file.assertionResults) {
      if (test.status === "passed") counts.passed++;
      else if (test.status === "failed") failedHere++;
      else counts.skipped++;
    }
    counts.failed += file.status === "failed" && failedHere === 0 ? 1 : failedHere;
  }
  return counts;
}

const scratch = mkdtempSync(join(tmpdir(), "paceline-test-"));
const report = join(scratch, "report.json");
const outcomes = [
  run("lint and format", "biome", ["check", "--error-on-warnings", "."]),
  run("types", "tsc", ["-p", "test"]),
  run("tests", "vitest", [
    "run",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
    `--reporter=${join(root, "scripts", "test-reporter.mjs")}`,
    ...process.argv.slice(2),
  ]),
];

let counts = { passed: 0, failed: 0, skipped: 0 };
try {
  counts = count(report);
} catch (error) {
  outcomes.push(false);
  process.stdout.write(`vitest left no report: ${error instanceof Error ? error.message : error}\n`);
}
rmSync(scratch, { recursive: true, force: true });
if (counts.passed === 0) process.stdout.write("no test passed: that is a failure\n");

process.exitCode = outcomes.every(Boolean) && counts.failed === 0 && counts.passed > 0 ? 0 : 1;
process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
