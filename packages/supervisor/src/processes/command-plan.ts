/** What a shim is told of the command that it is to run: placeholders filled, a port of its own where it takes one. */
import { randomBytes } from "node:crypto";
import type { CommandSpec, SocketAddress } from "@paceline/wire";
import type { HealthConfig, PoolConfig } from "../core/model.js";
import { fillPlaceholders } from "../core/placeholders.js";
import { fleetTag } from "../run-dir/fleet-tag.js";
import type { RunDirPaths } from "../run-dir/run-dir-paths.js";

/** The part of a CommandSpec that the kind `command` made, its placeholders not yet filled. */
type CommandSource = Omit<CommandSpec, "address" | "cwd" | "termTimeoutMs" | "readyTimeoutMs" | keyof HealthConfig> & {
  isOnSocket: boolean;
  hasPort: boolean;
};

export interface CommandPlan {
  spec: CommandSpec;
  /** The value of SPAWN_MARK. */
  mark: string;
  /** What the shim has of it. */
  environment: Record<string, string>;
}

const HOST = "127.0.0.1";
/** They would change the shim, which runs on Node or Bun itself; it hands them on. */
const OF_A_RUNTIME = /^(NODE|BUN)_/;

/** A value of SPAWN_MARK, unique to a spawn. */
export function newTag(id: string, { linkSocket }: Pick<RunDirPaths, "linkSocket">): string {
  return `${fleetTag(linkSocket)}${id.replace("#", "-")}-${randomBytes(12).toString("hex")}`;
}

/** @param environment what the command is to have, without what its `env` says with placeholders in it. */
export function planCommand(
  { runs, policy, health, cwd }: PoolConfig,
  { id, name, socket }: { id: string; name: string; socket: string },
  environment: Record<string, string>,
  { takePort, runtimes, runDir }: { takePort(): number; runtimes: { bun?: string }; runDir: RunDirPaths },
): CommandPlan {
  const { isOnSocket, hasPort, args, env, ...rest } = runs.command as CommandSource;
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
        // A program may have a PORT or HOST of its own in `env`. HOSTNAME is what servers of Next.js and others listen on.
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
