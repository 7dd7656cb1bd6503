/** Creates the projects of `npm run field` in a cache outside of this repository: installs, writes and builds each once. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";

export const CACHE = path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), ".cache"), "paceline-field");
const STEP_MS = 600_000;

const hashOf = (value) => createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 12);

/** Returns the folder of an app's packages; apps with the same packages share it. */
function folderOf({ packages }) {
  const [first = "none"] = packages;
  return path.join(CACHE, `${first.replaceAll("/", "_")}-${hashOf(packages)}`);
}

/** Whether nothing needs to be installed or built for an app. */
export function isCached(app) {
  const folder = folderOf(app);
  return existsSync(path.join(folder, "installed")) && (app.build === undefined || isBuilt(folder, app));
}

/** Returns an app's folder, its program there, and the version of its main package. */
export function prepare(app) {
  const { name, packages, source, extension = "cjs", files = {}, build, program } = app;
  const folder = folderOf(app);
  install(folder, packages, files["package.json"]);
  const file = program ?? `${name.replaceAll(/\W+/g, "-").toLowerCase()}.${extension}`;
  const all = source === undefined ? files : { ...files, [file]: source };
  for (const [each, text] of Object.entries(all)) write(path.join(folder, each), text);
  if (build !== undefined && !isBuilt(folder, app)) {
    for (const [command, ...args] of build) run(command, args, folder);
    writeFileSync(stampOf(folder, app), "");
  }
  return { folder, file: path.join(folder, file), version: versionOf(folder, packages) };
}

function install(folder, packages, own = '{ "private": true }\n') {
  if (existsSync(path.join(folder, "installed"))) return;
  mkdirSync(folder, { recursive: true });
  write(path.join(folder, "package.json"), own);
  if (packages.length > 0) run("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts", ...packages], folder);
  writeFileSync(path.join(folder, "installed"), "");
}

/** A build is repeated if the project's files or its build steps have changed. */
function stampOf(folder, { files, build }) {
  return path.join(folder, `built-${hashOf([files, build])}`);
}

function isBuilt(folder, app) {
  return existsSync(stampOf(folder, app));
}

/** Does not touch an unchanged file; a package.json keeps its dependencies. */
function write(file, text) {
  const isOld = existsSync(file);
  const old = isOld ? readFileSync(file, "utf8") : "";
  const isPackage = path.basename(file) === "package.json" && isOld;
  const next = isPackage ? `${JSON.stringify({ ...JSON.parse(old), ...JSON.parse(text) }, null, 2)}\n` : text;
  if (isOld && next === old) return;
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, next);
}

function run(command, args, cwd) {
  const telemetry = { NEXT_TELEMETRY_DISABLED: "1", ASTRO_TELEMETRY_DISABLED: "1", NUXT_TELEMETRY_DISABLED: "1" };
  const env = { ...process.env, NODE_ENV: "production", ...telemetry };
  const { status, stderr, error } = spawnSync(command, args, { cwd, encoding: "utf8", timeout: STEP_MS, env });
  if (status === 0) return;
  const reason = error?.message ?? stderr.trim().split("\n").slice(-5).join("\n");
  throw new Error(`${command} ${args.join(" ")} failed: ${reason}`);
}

function versionOf(folder, [first]) {
  if (first === undefined) return "";
  const name = first.replace(/(.)@.*/, "$1");
  return JSON.parse(readFileSync(path.join(folder, "node_modules", name, "package.json"), "utf8")).version;
}
