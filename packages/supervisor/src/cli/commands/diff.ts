/**
 * `paceline diff`: shows what a reload or a deploy would change: config keys, names of variables, files and runtimes. Exits with 1 if
 * something differs.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import type { FleetDiff, NamedRelease } from "../../control/api.js";
import { PacelineError } from "../../errors.js";
import type { FleetClient } from "../../fleet/fleet.js";
import type { ComparedFleet, ComparedRelease, RuntimeChange } from "../format-diff.js";
import type { OperateOptions } from "../operate.js";
import { type DefineCommand, milliseconds, unlessAll, withFleet, withJson, withTimeout } from "../options.js";
import { EXIT, print, printJson } from "../output.js";

type DiffOptions = OperateOptions & { updateEnv?: boolean; envFile?: string };

export const diff: DefineCommand = (program, action) => {
  const command = program
    .command("diff")
    .description("show what a reload or a deploy would change; exit status 1 if something differs")
    .argument("[release|pool]", "a release to deploy, or the pool to reload")
    .option("--env-file <file>", "an env file for all pools, as for deploy")
    .option("--update-env", "also compare this shell's environment");
  withTimeout(withJson(withFleet(command))).action(
    action(async (given: string | undefined, { updateEnv, envFile, ...options }: DiffOptions) => {
      const [{ connectFleet }, { formatDiff }] = await Promise.all([
        import("../../fleet/fleet.js"),
        import("../format-diff.js"),
      ]);
      const fleet = await connectFleet(options);
      const isRelease = given !== undefined && (await namesRelease(fleet, given));
      const pool = isRelease ? undefined : await fleet.unlessOwn(unlessAll(given));
      const release =
        isRelease || envFile !== undefined
          ? (await import("../run-deploy.js")).namedRelease(isRelease ? given : undefined, envFile)
          : undefined;
      if (release !== undefined && updateEnv)
        throw new PacelineError("usage", "--update-env is for a reload: a deploy keeps the environment of the fleet");
      const env = updateEnv ? (process.env as Record<string, string>) : undefined;
      const sides = { pool, env, timeoutMs: milliseconds(options.timeout) };
      const compared = await compare(fleet, sides, release).catch((error: unknown) => {
        // As in diff(1), 1 means that something differs.
        if (!(error instanceof PacelineError) || error.exitStatus !== EXIT.failed) throw error;
        throw new PacelineError(error.code, error.message, { cause: error, exitStatus: EXIT.usage });
      });
      if (options.json) printJson(compared);
      else print(formatDiff(compared));
      return compared.differs ? EXIT.failed : EXIT.done;
    }),
  );
};

/** Whether the text names a path. A pool of the fleet takes precedence over a file of the same name. */
async function namesRelease(fleet: FleetClient, given: string): Promise<boolean> {
  if (given.includes("/")) return true;
  if (!existsSync(given)) return false;
  const { name, pools } = await fleet.status();
  return name !== given && !pools.some((pool) => pool.name === given);
}

async function compare(
  fleet: FleetClient,
  sides: Parameters<FleetClient["diff"]>[0],
  release: NamedRelease | undefined,
): Promise<ComparedFleet> {
  const { details } = await fleet.diff(sides, release);
  const { config, env: variables, releases, runtimes, refused } = details as unknown as FleetDiff;
  const what = release === undefined ? ("reload" as const) : ("deploy" as const);
  const compared = await Promise.all([
    runtimeChanges(runtimes),
    Promise.all(releases.map((each) => files(each, fleet.runDir))),
  ]);
  const [versions, releaseFiles] = compared;
  const isOther = ({ from, to, files, problem }: ComparedRelease) =>
    from !== to || files.length > 0 || problem !== null;
  const differs = config.length + variables.length + versions.length > 0 || releaseFiles.some(isOther);
  return { differs, of: what, config, env: variables, runtimes: versions, files: releaseFiles, refused };
}

async function files(release: FleetDiff["releases"][number], runDir: string): Promise<ComparedRelease> {
  const { changedSince, compareReleases } = await import("../release-files.js");
  const { from, to, since } = release;
  const place = { without: [runDir] };
  try {
    const found = from === to ? await changedSince(to, since, place) : await compareReleases(from, to, place);
    return { ...release, ...found, problem: null };
  } catch (error) {
    return { ...release, files: [], cutOff: null, problem: (error as Error).message };
  }
}

/** If a program prints no version within this time, its version is unknown. In milliseconds. */
const VERSION_TIMEOUT_MS = 5_000;

async function runtimeChanges(runtimes: FleetDiff["runtimes"]): Promise<RuntimeChange[]> {
  const versions = new Map<string, Promise<string>>();
  const versionOf = (path: string) => {
    const known = versions.get(path) ?? askVersion(path);
    versions.set(path, known);
    return known;
  };
  const found: RuntimeChange[] = [];
  for (const { pool, pid, program } of runtimes) {
    // The file of a running program can still be run after an installation has replaced it.
    const [from, to] = await Promise.all([versionOf(`/proc/${pid}/exe`), versionOf(program)]);
    if (from === to || from === "" || to === "") continue;
    const known = found.find((each) => each.from === from && each.to === to);
    if (known === undefined) found.push({ pools: [pool], from, to });
    else known.pools.push(pool);
  }
  return found;
}

/** Returns the first line of `--version`; empty if there is none. */
function askVersion(program: string): Promise<string> {
  return new Promise((resolve) => {
    const options = { timeout: VERSION_TIMEOUT_MS, maxBuffer: 64 << 10, env: { ...process.env, BUN_BE_BUN: "1" } };
    execFile(program, ["--version"], options, (error, stdout) => {
      resolve(error === null ? (stdout.split("\n")[0] ?? "").trim() : "");
    });
  });
}
