/** The fleet of a rehearsal: the user's own configuration on a free loopback port, in a run directory of its own. The running fleet is not touched. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FleetConfig } from "../core/model.js";
import { PacelineError } from "../errors.js";
import type { FleetStart } from "../fleet/api.js";
import { createFleet, type StartedFleet } from "../fleet/create-fleet.js";

const HOST = "127.0.0.1";
/** How often processes report, so that a rehearsal need not wait long for their counts. */
export const REPORT_EVERY_MS = 250;

/** Variables by which a service manager speaks to the real fleet. */
const OF_A_SERVICE =
  /^(?:NOTIFY_SOCKET|WATCHDOG_\w+|LISTEN_\w+|FDSTORE|RUNTIME_DIRECTORY|STATE_DIRECTORY|PACELINE_RUN_DIR|PACELINE_STATE_DIR)$/;

export interface Stage {
  fleet: StartedFleet;
  config: FleetConfig;
  port: number;
  /** Stops what is left of the fleet, and removes its folder. */
  clear(): Promise<void>;
}

export interface StageOptions {
  start: FleetStart;
  signal: AbortSignal;
}

/** @throws StartError, ConfigError or PacelineError as a start does; nothing is left then */
export async function setStage({ start, signal }: StageOptions): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), "paceline-rehearsal-"));
  // The fleet may become another user, who has to enter it.
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
      runDir: join(folder, "run"),
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

/** The address of the fleet, for clients. */
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
