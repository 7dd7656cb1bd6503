/** Finds what is measured on this machine, and tells its version: system programs, Python's, npm peers, our own Bun. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const APPS = path.join(ROOT, "bench/apps");
export const PACELINE = path.join(ROOT, "packages/supervisor/bin/paceline");

/** The Bun that Paceline brings along, which the peers' instances run on too. */
export function bunPath() {
  const modules = path.join(ROOT, "packages/supervisor/node_modules/@oven");
  const name = readdirSync(modules).find((entry) => entry.startsWith("bun-"));
  return path.join(modules, name, "bin/bun");
}

/** What a program says when asked for its version, or undefined when it is not there. */
function firstLine(program, args) {
  const { error, status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8", timeout: 10_000 });
  if (error !== undefined || (status !== 0 && `${stdout}${stderr}`.trim() === "")) return undefined;
  // nginx tells its version on stderr.
  return `${stdout}${stderr}`.trim().split("\n")[0];
}

/** The Python that has the module, with the module's version. */
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

/** The version of a package that was installed into the directory of peers. */
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
 * What is there: versions by name, undefined for what is missing.
 * @param {string | undefined} peers the directory in which `npm install pm2@7 http-proxy@1.18` was run
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
