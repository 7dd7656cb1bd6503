/** `start --or-reload`: what is to be started runs already, so it takes over what is new. */
import { existsSync } from "node:fs";
import { lockHolder } from "../run-dir/lock.js";
import type { StartOptions } from "./commands/start.js";
import type { ExitStatus } from "./exit-status.js";
import { operate } from "./operate.js";
import { prepareStart } from "./prepare-start.js";

/** The exit status of the reload; undefined when the fleet does not run. @throws as prepareStart does */
export async function reloadRunning(target: string, options: StartOptions): Promise<ExitStatus | undefined> {
  const { runDirPath } = await prepareStart(target, options);
  if (!existsSync(runDirPath) || lockHolder(runDirPath) === undefined) return undefined;
  const { json, timeout } = options;
  return operate("/v1/reload", {}, { runDir: runDirPath, ...(json ? { json } : {}), ...(timeout ? { timeout } : {}) });
}
