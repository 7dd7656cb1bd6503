/** `paceline start`: a fleet in the foreground, or in a session of its own. */
import { Option } from "commander";
import type { RuntimeName } from "../../core/model.js";
import {
  collect,
  type JsonOption,
  parseCount,
  parseInstances,
  type TimeoutOption,
  withJson,
  withTimeout,
} from "../options.js";
import type { DefineCommand } from "../program.js";

export interface StartOptions extends TimeoutOption, JsonOption {
  detach?: boolean;
  instances?: number | "cpus";
  listen?: string[];
  runtime?: RuntimeName;
  runDir?: string;
  logFormat: "text" | "json" | "none";
  /** Where to say that the control socket is served; a file descriptor. */
  notifyFd?: number;
}

export const start: DefineCommand = (program, action) => {
  const command = program
    .command("start")
    .description("start a fleet: from a config file, an app module, or a folder that has one of them")
    .argument("[config|app]", "a config file, an app module or a folder", ".")
    .option("-d, --detach", "return when all instances are ready, and leave the fleet running")
    .option("-i, --instances <n>", 'how many instances, or "cpus"', parseInstances)
    .option("-l, --listen <address>", "where to listen, such as 127.0.0.1:8080; may be repeated", collect)
    .addOption(new Option("--runtime <name>", "what every process runs on").choices(["bun", "node"]))
    .option("--run-dir <path>", "where sockets, log and lock are kept (default: .paceline beside the config, or here)")
    .addOption(
      new Option("--log-format <format>", "how the log is printed").choices(["text", "json", "none"]).default("text"),
    )
    .addOption(new Option("--notify-fd <fd>").argParser(parseCount).hideHelp());
  withTimeout(withJson(command)).action(
    action(async (target: string, options: StartOptions) => {
      if (options.detach) {
        const { startDetached } = await import("../start-detached.js");
        return startDetached(target, options);
      }
      const { startForeground } = await import("../start-foreground.js");
      return startForeground(target, options);
    }),
  );
};
