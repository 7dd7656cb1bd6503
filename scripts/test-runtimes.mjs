/**
 * Runs the server's tests on every supported runtime: this Node, newer versions of Node, and Bun; prints one line for each. Names such as
 * `22` and `bun` select some of them.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
/** Outside the workspace: binaries of 100 MB each, needed only for this script. */
const cache = join(root, "node_modules", ".cache", "paceline-nodes");
/** The installed versions of other major versions; exact, so that a new release cannot break anything. */
const NODES = ["20.20.2", "22.23.3", "24.9.0", "26.9.0"];
const INSTALL_DEADLINE_MS = 300_000;
const RUN_DEADLINE_MS = 900_000;
const LIST = ["packages/server/test"];

/** Returns the binary of a Node version, installed if missing. */
function findNode(version) {
  if (majorOf(process.versions.node) === majorOf(version))
    return { path: process.execPath, version: process.versions.node };
  const { platform, arch } = process;
  const name = `node-${platform}-${arch}`;
  const folder = join(cache, version);
  const path = join(folder, "node_modules", name, "bin", "node");
  if (!existsSync(path)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
    const args = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", `${name}@${version}`];
    const done = spawnSync("npm", args, { cwd: folder, encoding: "utf8", timeout: INSTALL_DEADLINE_MS });
    if (done.status !== 0) return { reason: `${name}@${version} cannot be installed: ${npmReason(done)}` };
  }
  const asked = spawnSync(path, ["--version"], { encoding: "utf8" });
  return asked.stdout?.trim() === `v${version}`
    ? { path, version }
    : { reason: `${path} does not run: ${lastLine(asked)}` };
}

function majorOf(version) {
  return version.split(".")[0];
}

/** Returns npm's line about its failure. */
function npmReason(done) {
  const lines = done.stderr?.split("\n") ?? [];
  return lines.find((line) => /^npm error (?!code |errno |A complete log)\S/.test(line)) ?? lastLine(done);
}

function lastLine({ error, stderr }) {
  return error?.message ?? stderr?.trim().split("\n").slice(-1)[0] ?? "no reason was told";
}

/** Runs the tests in the list whose names match; the names select the runtime. */
function runList(environment, pattern) {
  const scratch = mkdtempSync(join(tmpdir(), "paceline-runtimes-"));
  const report = join(scratch, "report.json");
  const done = spawnSync(
    join(root, "node_modules", ".bin", "vitest"),
    ["run", ...LIST, "-t", pattern, "--reporter=default", "--reporter=json", `--outputFile.json=${report}`],
    {
      cwd: root,
      encoding: "utf8",
      env: { ...process.env, ...environment },
      timeout: RUN_DEADLINE_MS,
      maxBuffer: 1 << 26,
    },
  );
  try {
    const { testResults } = JSON.parse(readFileSync(report, "utf8"));
    const tests = testResults.flatMap(({ assertionResults }) => assertionResults);
    const passed = tests.filter(({ status }) => status === "passed").length;
    const failed = tests.filter(({ status }) => status === "failed");
    const broken = testResults.filter((file) => file.status === "failed" && file.assertionResults.length === 0);
    return {
      passed,
      failures: [
        ...failed.map(({ fullName, failureMessages }) => `${fullName}: ${failureMessages[0]?.split("\n")[0]}`),
        ...broken.map(({ name, message }) => `${name}: ${message?.split("\n")[0]}`),
      ],
    };
  } catch (error) {
    return { passed: 0, failures: [`vitest left no report: ${lastLine({ ...done, error: done.error ?? error })}`] };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Prints the line of a runtime; returns true if there were no problems. */
function judge(name, { passed, failures }) {
  process.stdout.write(`${name}: ${passed} passed, ${failures.length} failed\n`);
  for (const failure of failures) process.stdout.write(`  ${failure}\n`);
  return failures.length === 0 && passed > 0;
}

const known = [...NODES.map(majorOf), "bun"];
const asked = process.argv.slice(2).map((name) => name.toLowerCase());
const unknown = asked.find((name) => !known.includes(name));
if (unknown !== undefined) {
  process.stderr.write(
    `test-runtimes: there is no runtime ${unknown}; name some of ${known.join(", ")}, or none for all\n`,
  );
  process.exit(2);
}
const isWanted = (name) => asked.length === 0 || asked.includes(name);

const outcomes = [];
for (const version of NODES.filter((version) => isWanted(majorOf(version)))) {
  const found = findNode(version);
  if (found.path === undefined) {
    process.stdout.write(`Node ${version}: not tested, ${found.reason}\n`);
    continue;
  }
  outcomes.push(judge(`Node ${found.version}`, runList({ PACELINE_TEST_NODE: found.path }, "\\bon node\\b")));
}
if (isWanted("bun")) outcomes.push(judge("Bun", runList({}, "\\bon bun\\b")));
process.exitCode = outcomes.every(Boolean) ? 0 : 1;
