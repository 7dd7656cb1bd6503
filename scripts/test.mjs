/** Runs every check there is: lint and format, types, then all tests; its last line counts the tests. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
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

/** Mostly waits, for minutes: it runs beside the others, and takes the place of none of them. */
const LONG_TEST = "test/age.test.ts";

/** Starts the long test, whose output is shown at the end; answers with what waits for it. */
function startLongTest(scratch, longReport) {
  const output = join(scratch, "long-test.txt");
  const log = openSync(output, "w");
  const args = ["run", LONG_TEST, "--reporter=default", "--reporter=json", `--outputFile.json=${longReport}`];
  const child = spawn(join(root, "node_modules", ".bin", "vitest"), args, { cwd: root, stdio: ["ignore", log, log] });
  const ended = once(child, "exit");
  return async () => {
    const [code] = await ended;
    process.stdout.write(`\n== ${LONG_TEST}\n${readFileSync(output, "utf8")}`);
    return code === 0;
  };
}

/** Counts the tests of vitest's report; a file that did not load counts as one failed test. */
function count(reportPath, counts) {
  for (const file of JSON.parse(readFileSync(reportPath, "utf8")).testResults) {
    let failedHere = 0;
    for (const test of file.assertionResults) {
      if (test.status === "passed") counts.passed++;
      else if (test.status === "failed") failedHere++;
      else counts.skipped++;
    }
    counts.failed += file.status === "failed" && failedHere === 0 ? 1 : failedHere;
  }
}

const scratch = mkdtempSync(join(tmpdir(), "paceline-test-"));
const report = join(scratch, "report.json");
const longReport = join(scratch, "long-report.json");
const args = process.argv.slice(2);
const longTest = args.length === 0 ? startLongTest(scratch, longReport) : undefined;
const outcomes = [
  run("lint and format", "biome", ["check", "--error-on-warnings", "."]),
  run("types", "tsc", ["-p", "test"]),
  run("tests", "vitest", [
    "run",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
    `--reporter=${join(root, "scripts", "test-reporter.mjs")}`,
    ...(longTest === undefined ? args : ["--exclude", LONG_TEST]),
  ]),
];

if (longTest !== undefined) outcomes.push(await longTest());

const counts = { passed: 0, failed: 0, skipped: 0 };
try {
  count(report, counts);
  if (longTest !== undefined) count(longReport, counts);
} catch (error) {
  outcomes.push(false);
  process.stdout.write(`vitest left no report: ${error instanceof Error ? error.message : error}\n`);
}
rmSync(scratch, { recursive: true, force: true });
if (counts.passed === 0) process.stdout.write("no test passed: that is a failure\n");

process.exitCode = outcomes.every(Boolean) && counts.failed === 0 && counts.passed > 0 ? 0 : 1;
process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
