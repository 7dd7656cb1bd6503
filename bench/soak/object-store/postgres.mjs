/** Starts Debian's PostgreSQL: a separate cluster in a temporary folder, on a separate port. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { freePort } from "../support.mjs";

const INSTALLED = "/usr/lib/postgresql";

/** The folder of the newest version's programs; undefined if no version is installed. */
function programs() {
  if (!existsSync(INSTALLED)) return undefined;
  const versions = readdirSync(INSTALLED).sort((a, b) => Number(b) - Number(a));
  return versions.map((version) => path.join(INSTALLED, version, "bin")).find((bin) => existsSync(`${bin}/initdb`));
}

/** Returns its URL and a function that stops it and removes the folder; undefined if PostgreSQL is not installed. */
export async function startPostgres() {
  const bin = programs();
  if (bin === undefined) return undefined;
  const folder = mkdtempSync(path.join(tmpdir(), "pl-pg-"));
  chmodSync(folder, 0o755);
  // PostgreSQL refuses to run as root.
  const isRoot = process.getuid?.() === 0;
  const as = isRoot ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] : ["env"];
  if (isRoot) {
    const [uid, gid] = ["-u", "-g"].map((what) => Number(execFileSync("id", [what, "postgres"])));
    chownSync(folder, uid, gid);
  }
  const run = (program, ...args) => {
    const [first, ...rest] = [...as, path.join(bin, program), ...args];
    const { status, stdout, stderr } = spawnSync(first, rest, { cwd: folder, encoding: "utf8", timeout: 60_000 });
    if (status !== 0) throw new Error(`${program}: ${stdout}${stderr}`);
  };
  const data = path.join(folder, "data");
  const stop = () => {
    process.off("exit", stop);
    try {
      run("pg_ctl", "-D", data, "-m", "immediate", "stop");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };
  // Even if the program exits early.
  process.once("exit", stop);
  run("initdb", "-D", data, "-U", "store", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync");
  // Its data need not survive a power failure.
  const port = await freePort();
  const options = `-k ${folder} -p ${port} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=60`;
  run("pg_ctl", "-D", data, "-o", options, "-l", path.join(folder, "log"), "-w", "start");
  return { url: `postgres://store@127.0.0.1:${port}/postgres`, stop };
}
