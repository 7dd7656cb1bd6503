/** Plans the process of a `command` pool: the settings of its shim, with the placeholders filled in. */
import { randomBytes } from "node:crypto";
import type { CommandSpec, HealthConfig, SocketAddress } from "@paceline/wire";
import type { PoolConfig } from "../core/model.js";
import { fillPlaceholders } from "../core/placeholders.js";
import { fleetTag, type RunDirPaths } from "../run-dir/run-dir-files.js";

/** The CommandSpec from the kind `command`, with unfilled placeholders. */
type CommandSource = Omit<CommandSpec, "address" | "cwd" | "termTimeoutMs" | "readyTimeoutMs" | keyof HealthConfig> & {
  isOnSocket: boolean;
  hasPort: boolean;
};

interface CommandPlan {
  spec: CommandSpec;
  /** The value of SPAWN_MARK. */
  mark: string;
  /** The shim's own environment. */
  environment: Record<string, string>;
}

const HOST = "127.0.0.1";
/** These variables would affect the shim, which runs on Node or Bun; it passes them on. */
const OF_A_RUNTIME = /^(NODE|BUN)_/;

/** @param environment the command's environment, without the entries of `env` that contain placeholders */
export function planCommand(
  { workload, policy, health, cwd }: PoolConfig,
  { id, name, socket }: { id: string; name: string; socket: string },
  environment: Record<string, string>,
  { takePort, runtimes, runDir }: { takePort(): number; runtimes: { bun?: string }; runDir: RunDirPaths },
): CommandPlan {
  const { isOnSocket, hasPort, args, env, ...rest } = workload.command as CommandSource;
  const port = hasPort ? takePort() : undefined;
  const values = { socket, name, host: HOST, bun: runtimes.bun, ...(port !== undefined && { port: String(port) }) };
  const fill = (text: string) => fillPlaceholders(text, values);
  const address: SocketAddress = isOnSocket || port === undefined ? socket : { host: HOST, port };
  const filled = Object.fromEntries(Object.entries(env).map(([key, value]) => [key, fill(value)]));
  const forRuntimes = Object.entries(environment).filter(([key]) => OF_A_RUNTIME.test(key));
  const others = Object.entries(environment).filter(([key]) => !OF_A_RUNTIME.test(key));
  const mark = newTag(id, runDir);
  const { termTimeoutMs, readyTimeoutMs } = policy;
  return {
    mark,
    environment: Object.fromEntries(others),
    spec: {
      ...rest,
      ...health,
      args: args.map(fill),
      env: {
        ...Object.fromEntries(forRuntimes),
        // The command's own PORT or HOST in `env` override these. Next.js and others listen on HOSTNAME.
        ...(port !== undefined && { PORT: String(port), HOST, HOSTNAME: HOST }),
        ...filled,
      },
      cwd,
      address,
      termTimeoutMs,
      readyTimeoutMs,
    },
  };
}

/** Returns a value for SPAWN_MARK that is unique to a spawn. */
export function newTag(id: string, { channelSocket }: Pick<RunDirPaths, "channelSocket">): string {
  return `${fleetTag(channelSocket)}${id.replace("#", "-")}-${randomBytes(12).toString("hex")}`;
}
