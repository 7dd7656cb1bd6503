/**
 * Prepares a fresh clone: installs the dependencies and builds, each only if its inputs changed. With `--to-run`, as `npm start` calls it,
 * packages that only tests use are left out, because a user waits for the first start.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const installStamp = join(root, "node_modules", ".paceline-setup");
const buildStamp = join(root, "node_modules", ".paceline-build");
const lowestNode = [20, 19];
const isToRun = process.argv.includes("--to-run");
/** Only tests use its dependencies: AWS's SDK, 38 packages. */
const testsOnly = "paceline-example-object-store";

function fail(message) {
  process.stderr.write(`setup: ${message}\n`);
  process.exit(1);
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > lowestNode[0] || (major === lowestNode[0] && minor >= lowestNode[1])) return;
  fail(`Paceline needs Node ${lowestNode.join(".")} or newer; this is Node ${process.versions.node}.`);
}

/** Returns the names of the folders in packages/. */
function packageNames() {
  return readdirSync(join(root, "packages"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(root, "packages", entry.name, "package.json")))
    .map((entry) => entry.name)
    .sort();
}

/** Returns one hash of everything that the installed node_modules depend on. */
function installHash() {
  const files = ["pnpm-lock.yaml", "pnpm-workspace.yaml", "package.json"];
  files.push(join("examples", "package.json"), join("examples", "object-store", "package.json"));
  for (const name of packageNames()) files.push(join("packages", name, "package.json"));
  const hash = createHash("sha256").update(`${process.platform} ${process.arch}\n`);
  for (const file of files) hash.update(`${file}\n`).update(readFileSync(join(root, file)));
  return hash.digest("hex");
}

function readStamp(path) {
  return existsSync(path) ? readFileSync(path, "utf8").trim() : "";
}

function install() {
  const all = installHash();
  const wanted = isToRun ? `${all} to run` : all;
  if ([all, wanted].includes(readStamp(installStamp))) return;
  const { packageManager } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  process.stdout.write("setup: installing dependencies (once; later starts need no network)\n");
  // CI=true: pnpm asks no questions and uses the lockfile unchanged.
  const args = ["--yes", packageManager, "install", "--frozen-lockfile"];
  const result = spawnSync("npx", isToRun ? [...args, `--filter=!${testsOnly}`] : args, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, CI: "true" },
  });
  if (result.error)
    fail(`npx did not start: ${result.error.message}. npm, which comes with Node, must be on the PATH.`);
  if (result.status !== 0) {
    fail("the dependencies could not be installed; the lines above say why. Is the npm registry reachable?");
  }
  writeFileSync(installStamp, `${wanted}\n`);
  rmSync(buildStamp, { force: true });
}

/** Returns the time of the latest change under a path, including changes of folders: they change when a file is removed. */
function latestChange(path) {
  const info = statSync(path);
  if (!info.isDirectory()) return info.mtimeMs;
  let latest = info.mtimeMs;
  for (const name of readdirSync(path)) latest = Math.max(latest, latestChange(join(path, name)));
  return latest;
}

function buildIsFresh() {
  const builtAt = Number(readStamp(buildStamp) || 0);
  const scripts = ["bundle", "bundling", "page-document"].map((name) => join("scripts", `${name}.mjs`));
  const sources = ["tsconfig.json", "tsconfig.base.json", ...scripts];
  for (const name of packageNames()) {
    if (!existsSync(join(root, "packages", name, "dist"))) return false;
    sources.push(join("packages", name, "src"), join("packages", name, "tsconfig.json"));
  }
  return sources.every((source) => latestChange(join(root, source)) < builtAt);
}

function build() {
  if (buildIsFresh()) return;
  const startedAt = Date.now();
  process.stdout.write("setup: building\n");
  const tsc = join(root, "node_modules", ".bin", "tsc");
  // Go collects garbage less often, which is a quarter of the compiler's CPU time.
  run("the compiler", tsc, ["-b"], { GOGC: "400" });
  run("the bundler", process.execPath, [join(root, "scripts", "bundle.mjs")]);
  writeFileSync(buildStamp, `${startedAt}\n`);
}

function run(what, program, args, env = {}) {
  const result = spawnSync(program, args, { cwd: root, stdio: "inherit", env: { ...process.env, ...env } });
  if (result.error) fail(`${what} did not start: ${result.error.message}. Remove node_modules and try again.`);
  if (result.status !== 0) fail("the build failed; the lines above say why.");
}

checkNode();
install();
build();
