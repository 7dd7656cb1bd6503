/** Starts Debian's PostgreSQL for a test: a cluster of its own in a temporary folder, on a port of its own. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, type TestContext } from "vitest";
import { freePort } from "./ports.js";

const INSTALLED = "/usr/lib/postgresql";

/** The folder of the newest version's programs. */
function programs(): string | undefined {
  if (!existsSync(INSTALLED)) return undefined;
  const versions = readdirSync(INSTALLED).sort((a, b) => Number(b) - Number(a));
  return versions.map((version) => join(INSTALLED, version, "bin")).find((bin) => existsSync(join(bin, "initdb")));
}

/** Skips the test if PostgreSQL is not installed; stops it after the test. */
export async function startPostgres(context: TestContext): Promise<{ url: string }> {
  const bin = programs();
  if (bin === undefined) context.skip("PostgreSQL is not installed");
  const folder = mkdtempSync(join(tmpdir(), "pl-pg-"));
  chmodSync(folder, 0o755);
  // It refuses to run as root.
  const isRoot = process.getuid?.() === 0;
  const as = isRoot ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] : ["env"];
  if (isRoot) {
    const [uid, gid] = ["-u", "-g"].map((what) => Number(execFileSync("id", [what, "postgres"])));
    chownSync(folder, uid as number, gid as number);
  }
  const run = (program: string, ...args: string[]) => {
    const [first = "", ...rest] = [...as, join(bin as string, program), ...args];
    const { status, stdout, stderr } = spawnSync(first, rest, { cwd: folder, encoding: "utf8", timeout: 60_000 });
    if (status !== 0) throw new Error(`${program}: ${stdout}${stderr}`);
  };
  const data = join(folder, "data");
  onTestFinished(() => {
    try {
      run("pg_ctl", "-D", data, "-m", "immediate", "stop");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
  run("initdb", "-D", data, "-U", "store", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync");
  // Nothing of a test has to survive a loss of power.
  const port = await freePort();
  const options = `-k ${folder} -p ${port} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=60`;
  run("pg_ctl", "-D", data, "-o", options, "-l", join(folder, "log"), "-w", "start");
  return { url: `postgres://store@127.0.0.1:${port}/postgres` };
}
