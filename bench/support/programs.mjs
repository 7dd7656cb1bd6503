/** Finds the programs to measure and their versions: system programs, those of Python, npm peers, and our own Bun. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const APPS = path.join(ROOT, "bench/apps");
export const PACELINE = path.join(ROOT, "packages/supervisor/bin/paceline");

/** Returns Paceline's own Bun, which also runs the peers' instances. */
export function bunPath() {
  const modules = path.join(ROOT, "packages/supervisor/node_modules/@oven");
  const name = readdirSync(modules).find((entry) => entry.startsWith("bun-"));
  return path.join(modules, name, "bin/bun");
}

/** Returns the first line of a program's version output, or undefined if it is not installed. */
function firstLine(program, args) {
  const { error, status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8", timeout: 10_000 });
  if (error !== undefined || (status !== 0 && `${stdout}${stderr}`.trim() === "")) return undefined;
  // nginx prints its version to stderr.
  return `${stdout}${stderr}`.trim().split("\n")[0];
}

/** Returns the Python interpreter that has the module, with the module's version. */
function pythonWith(module) {
  for (const python of ["python3", "/usr/bin/python3"]) {
    const program = `import sys, importlib.metadata as m; print(sys.executable, m.version("${module}"), sys.version.split()[0])`;
    const { status, stdout } = spawnSync(python, ["-c", program], { encoding: "utf8", timeout: 10_000 });
    if (status === 0) {
      const [executable, version, pythonVersion] = stdout.trim().split(" ");
      return { executable, version: `${version} (Python ${pythonVersion})` };
    }
  }
  return undefined;
}

/** Returns the version of a package in the directory of peers. */
function peerVersion(peers, name) {
  if (peers === undefined) return undefined;
  const file = path.join(peers, "node_modules", name, "package.json");
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")).version : undefined;
}

const PATTERNS = {
  nginx: ["-v", /nginx\/([\d.]+)/],
  haproxy: ["-v", /version (\S+)/],
  lighttpd: ["-v", /lighttpd\/([\d.]+)/],
  uwsgi: ["--version", /(\S+)/],
  gunicorn: ["--version", /version ([\d.]+)/],
  ab: ["-V", /Version (\S+)/],
  wrk: ["-v", /^wrk (?:debian\/)?(\S+)/],
};

/**
 * Returns versions by name, undefined for missing programs.
 * @param {string | undefined} peers the directory of `npm install pm2@7 http-proxy@1.18`
 */
export function findPrograms(peers) {
  const versions = {};
  for (const [program, [argument, pattern]] of Object.entries(PATTERNS)) {
    const line = firstLine(program, [argument]);
    versions[program] = line === undefined ? undefined : (pattern.exec(line)?.[1] ?? line);
  }
  const werkzeug = pythonWith("werkzeug");
  versions.werkzeug = werkzeug?.version;
  versions.pm2 = peerVersion(peers, "pm2");
  versions["http-proxy"] = peerVersion(peers, "http-proxy");
  versions.paceline = JSON.parse(readFileSync(path.join(ROOT, "packages/supervisor/package.json"), "utf8")).version;
  versions.bun = firstLine(bunPath(), ["--version"]);
  versions.node = process.versions.node;
  return { versions, peers, werkzeugPython: werkzeug?.executable };
}
