/**
 * The fleet of a rehearsal: the user's own configuration on a free loopback port, in a separate run directory. It does not affect the
 * running fleet.
 */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attempt } from "@paceline/wire/proc";
import type { FleetConfig } from "../core/model.js";
import { PacelineError } from "../errors.js";
import type { FleetStart } from "../fleet/api.js";
import { createFleet, type StartedFleet } from "../fleet/create-fleet.js";
import { identify, isRunning, lockHolder } from "../run-dir/lock.js";

const HOST = "127.0.0.1";
const PREFIX = "paceline-rehearsal-";
/** A file that names the process that rehearses. */
const OWNER = "owner.json";
const RUN = "run";
/** How often processes report; a short time, so that a rehearsal need not wait long for their counts. */
export const REPORT_EVERY_MS = 250;

/** Variables that connect the real fleet with a service manager. */
const OF_A_SERVICE =
  /^(?:NOTIFY_SOCKET|WATCHDOG_\w+|LISTEN_\w+|FDSTORE|RUNTIME_DIRECTORY|STATE_DIRECTORY|PACELINE_RUN_DIR|PACELINE_STATE_DIR)$/;

export interface Stage {
  fleet: StartedFleet;
  config: FleetConfig;
  port: number;
  /** Stops the fleet if it is still running, and removes its folder. */
  clear(): Promise<void>;
}

interface StageOptions {
  start: FleetStart;
  signal: AbortSignal;
}

/** @throws StartError, ConfigError or PacelineError like a start; it leaves nothing behind then */
export async function setStage({ start, signal }: StageOptions): Promise<Stage> {
  removeLeftFolders();
  const folder = mkdtempSync(join(tmpdir(), PREFIX));
  writeFileSync(join(folder, OWNER), JSON.stringify({ ...identify(process.pid), namespace: pidNamespace() }));
  // The fleet may switch to another user, who has to enter the folder.
  if (process.getuid?.() === 0) chmodSync(folder, 0o711);
  const remove = () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  const port = await freePort();
  const given = start.env ?? (process.env as Record<string, string>);
  const inherited = Object.entries(given).filter(([name]) => !OF_A_SERVICE.test(name));
  try {
    const fleet = await createFleet({
      ...start,
      env: {
        ...Object.fromEntries(inherited),
        PACELINE_STATE_DIR: join(folder, "state"),
        PACELINE_REPORT_EVERY_MS: `${REPORT_EVERY_MS}`,
      },
      listen: [`${HOST}:${port}`],
      runDir: join(folder, RUN),
      rehearses: true,
      signal,
      ...{ endsSoon: true },
    });
    const { config } = fleet.prepared.fleet;
    const clear = async () => {
      await fleet.close().catch(() => {});
      remove();
    };
    return { fleet, config, port, clear };
  } catch (error) {
    remove();
    throw error;
  }
}

/** Removes the folders of rehearsals that were killed. */
function removeLeftFolders(): void {
  for (const name of attempt(() => readdirSync(tmpdir())) ?? []) {
    const folder = join(tmpdir(), name);
    // Other users may write into /tmp, too.
    if (name.startsWith(PREFIX) && attempt(() => isOurs(folder) && isLeft(folder)) === true)
      attempt(() => rmSync(folder, { recursive: true, force: true }));
  }
}

function isOurs(folder: string): boolean {
  const stat = lstatSync(folder);
  return stat.isDirectory() && stat.uid === process.getuid?.();
}

/**
 * Whether neither the rehearsal nor the supervisor of its fleet is still running. Processes of another container cannot be seen from here.
 */
function isLeft(folder: string): boolean {
  const { namespace, ...owner } = JSON.parse(readFileSync(join(folder, OWNER), "utf8"));
  if (namespace !== pidNamespace() || isRunning(owner)) return false;
  const runDir = join(folder, RUN);
  return !existsSync(runDir) || lockHolder(runDir) === undefined;
}

/** Returns an empty text if the system has no pid namespaces. */
function pidNamespace(): string {
  return attempt(() => readlinkSync("/proc/self/ns/pid")) ?? "";
}

/** Returns the address of the fleet for clients. */
export function addressOf({ port }: Pick<Stage, "port">): { host: string; port: number } {
  return { host: HOST, port };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", (cause) => reject(new PacelineError("failed", `no free port: ${cause.message}`, { cause })));
    server.listen({ host: HOST, port: 0 }, () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
