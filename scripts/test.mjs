/** Runs all checks concurrently: lint and format, types, and all tests. The last line counts the tests. */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

const bin = (tool) => join(root, "node_modules", ".bin", tool);

/** Runs vitest with its output shown; returns true on exit 0. */
function runTests(args) {
  process.stdout.write("\n== tests\n");
  const result = spawnSync(bin("vitest"), args, { cwd: root, stdio: "inherit" });
  if (result.error) process.stdout.write(`vitest did not start: ${result.error.message}\n`);
  return result.status === 0;
}

/** Starts a tool in parallel with the tests. The returned function shows its output at the end and resolves with true on exit 0. */
function startBeside(title, tool, args, env = {}) {
  const output = join(scratch, `${tool}-${title.replaceAll(/\W/g, "-")}.txt`);
  const log = openSync(output, "w");
  const child = spawn(bin(tool), args, { cwd: root, stdio: ["ignore", log, log], env: { ...process.env, ...env } });
  closeSync(log);
  const ended = new Promise((resolve) => {
    child.on("error", (error) => resolve(`${tool} did not start: ${error.message}`));
    child.on("exit", (code, signal) => resolve(code === 0 ? undefined : `exited with ${code ?? signal}`));
  });
  return async () => {
    const problem = await ended;
    process.stdout.write(`\n== ${title}\n${readFileSync(output, "utf8")}`);
    if (problem !== undefined) process.stdout.write(`${title}: FAILED: ${problem}\n`);
    return problem === undefined;
  };
}

/** This test mostly waits, for minutes, so it runs in parallel with the others without using a worker. */
const LONG_TEST = "test/age.test.ts";

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
const all = args.length === 0;
const besides = [
  startBeside("lint and format", "biome", ["check", "--error-on-warnings", "."]),
  // Leaves CPU time to the tests: one checker computes no type twice, and Go collects garbage less often.
  startBeside("types", "tsc", ["-p", "test", "--checkers", "1"], { GOGC: "400" }),
];
if (all) {
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${longReport}`];
  besides.push(startBeside(LONG_TEST, "vitest", ["run", LONG_TEST, ...reporters]));
}
const outcomes = [
  runTests([
    "run",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
    `--reporter=${join(root, "scripts", "test-reporter.mjs")}`,
    ...(all ? ["--exclude", LONG_TEST] : args),
  ]),
];
for (const ended of besides) outcomes.push(await ended());

const counts = { passed: 0, failed: 0, skipped: 0 };
try {
  count(report, counts);
  if (all) count(longReport, counts);
} catch (error) {
  outcomes.push(false);
  process.stdout.write(`vitest left no report: ${error instanceof Error ? error.message : error}\n`);
}
rmSync(scratch, { recursive: true, force: true });
if (counts.passed === 0) process.stdout.write("no test passed: that is a failure\n");

process.exitCode = outcomes.every(Boolean) && counts.failed === 0 && counts.passed > 0 ? 0 : 1;
process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
