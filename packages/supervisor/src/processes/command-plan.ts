/** Plans the process of a `command` or `worker` pool: the settings of its shim, with the placeholders filled in. */
import { randomBytes } from "node:crypto";
import type { CommandSpec, HealthConfig, SocketAddress } from "@paceline/wire";
import type { PoolConfig, RuntimeName } from "../core/model.js";
import { fillPlaceholders } from "../core/placeholders.js";
import { fleetTag, type RunDirPaths } from "../run-dir/run-dir-files.js";
import { forRuntime, type RuntimePrograms, runtimeCommand } from "../runtime/runtimes.js";

/** The CommandSpec from the kind `command`, with unfilled placeholders. */
type CommandSource = Omit<CommandSpec, "address" | "cwd" | "termTimeoutMs" | "readyTimeoutMs" | keyof HealthConfig> & {
  /** Missing if it serves nothing. */
  isOnSocket: boolean;
  hasPort: boolean;
  /** A module that the pool's runtime runs with `args`. */
  module?: string;
};

interface CommandPlan {
  spec: CommandSpec;
  /** The value of SPAWN_TAG. */
  commandTag: string;
  /** The shim's own environment. */
  environment: Record<string, string>;
}

const HOST = "127.0.0.1";
/** These variables would affect the shim, which runs on Node or Bun. The shim passes them on to the command. */
const OF_A_RUNTIME = /^(NODE|BUN)_/;

/** @param environment the command's environment, without the entries of `env` that contain placeholders */
export function planCommand(
  { workload, policy, health, cwd, runtime }: PoolConfig,
  { id, name, socket }: { id: string; name: string; socket: string },
  environment: Record<string, string>,
  { takePort, runtimes, runDir }: { takePort(): number; runtimes: RuntimePrograms; runDir: RunDirPaths },
): CommandPlan {
  const { isOnSocket, hasPort, args, env, module, ...rest } = workload.command as CommandSource;
  const port = hasPort ? takePort() : undefined;
  const values = { socket, name, host: HOST, bun: runtimes.bun, ...(port !== undefined && { port: String(port) }) };
  const fill = (text: string) => fillPlaceholders(text, values);
  const address: SocketAddress | undefined = isOnSocket
    ? socket
    : port === undefined
      ? undefined
      : { host: HOST, port };
  const filled = Object.fromEntries(Object.entries(env).map(([key, value]) => [key, fill(value)]));
  const ofRuntimes = Object.fromEntries(Object.entries(environment).filter(([key]) => OF_A_RUNTIME.test(key)));
  const others = Object.entries(environment).filter(([key]) => !OF_A_RUNTIME.test(key));
  const commandTag = newTag(id, runDir);
  const { termTimeoutMs, readyTimeoutMs } = policy;
  const words = [...(module === undefined ? [] : moduleWords(module, runtimes, runtime)), ...args.map(fill)];
  return {
    commandTag,
    environment: Object.fromEntries(others),
    spec: {
      ...rest,
      ...health,
      args: words,
      env: {
        ...(words.includes(`${runtimes.bun}`) ? forRuntime(ofRuntimes, { hasUserCode: true }) : ofRuntimes),
        // The command's own PORT or HOST in `env` override these. Next.js and others listen on HOSTNAME.
        ...(port !== undefined && { PORT: String(port), HOST, HOSTNAME: HOST }),
        ...filled,
      },
      cwd,
      ...(address !== undefined && { address }),
      termTimeoutMs,
      readyTimeoutMs,
    },
  };
}

/** Returns the words that run a module of the user. Node gets a loader for TypeScript. */
function moduleWords(module: string, runtimes: RuntimePrograms, runtime: RuntimeName): string[] {
  const { command, args } = runtimeCommand(runtimes, runtime, { entry: module, hasUserCode: true });
  const isTypeScript = runtime === "node" && /\.[cm]?tsx?$/.test(module);
  return [command, ...(isTypeScript ? ["--import", import.meta.resolve("jiti/register")] : []), ...args];
}

/** Returns a value for SPAWN_TAG that is unique to a spawn. */
export function newTag(id: string, { channelSocket }: Pick<RunDirPaths, "channelSocket">): string {
  return `${fleetTag(channelSocket)}${id.replace("#", "-")}-${randomBytes(12).toString("hex")}`;
}
