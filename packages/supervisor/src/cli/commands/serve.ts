/** `paceline serve`: runs one instance on a port, without a supervisor. The launcher does the same without loading this file. */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { flagsOf, SERVE_OPTIONS } from "@paceline/server/options";
import { Option } from "commander";
import type { RuntimeName } from "../../core/model.js";
import { ignoresHangup } from "../../hangup.js";
import { builtFile } from "../../package.js";
import { forRuntime, runtimeCommand } from "../../runtime/runtimes.js";
import type { DefineCommand } from "../options.js";
import { EXIT, type ExitStatus, printError } from "../output.js";

const RELAYED: NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];

export const serve: DefineCommand = (program, action) => {
  const command = program
    .command("serve")
    .description("run one instance alone on a port: one small process")
    .argument("[app]", "the app module")
    .argument("[args...]", "after --: arguments of the app")
    .allowUnknownOption()
    .helpOption(false)
    .addOption(withChoices(new Option("--runtime <name>", "the runtime"), ["bun", "node"]));
  for (const option of SERVE_OPTIONS)
    command.addOption(withChoices(new Option(flagsOf(option), option.description), option.choices));
  command.action(
    action(async (): Promise<ExitStatus> => {
      // Reads the raw arguments, because the command-line parser removes `--`.
      const given = process.argv.slice(process.argv.indexOf("serve") + 1);
      const { findRuntimes } = await import("../../runtime/runtimes.js");
      const runtimes = findRuntimes();
      const { runtime, rest } = takeRuntime(given);
      const isProxy = rest.some((arg) => arg === "--proxy" || arg.startsWith("--proxy="));
      const name = runtime ?? (isProxy ? "node" : runtimes.preferred);
      const program = name === "bun" || name === "node" ? runtimes[name] : undefined;
      if (program === undefined) {
        printError(`${name} is not installed here`);
        return EXIT.usage;
      }
      const server = runtimeCommand(runtimes, name as RuntimeName, { entry: SERVER, hasUserCode: true });
      return relay(server.command, [...server.args, ...rest]);
    }),
  );
};

/** The server itself refuses other words. */
function withChoices(option: Option, choices: readonly string[] | undefined): Option {
  if (choices !== undefined) option.argChoices = [...choices];
  return option;
}

const SERVER = builtFile("programs/server/bin.js");

function takeRuntime(args: string[]): { runtime: string | undefined; rest: string[] } {
  const ours = args.includes("--") ? args.slice(0, args.indexOf("--")) : args;
  const at = ours.findIndex((arg) => arg === "--runtime" || arg.startsWith("--runtime="));
  if (at < 0) return { runtime: undefined, rest: args };
  const [, value] = (args[at] ?? "").split("=");
  const taken = value === undefined ? 2 : 1;
  return { runtime: value ?? args[at + 1] ?? "", rest: [...args.slice(0, at), ...args.slice(at + taken)] };
}

function relay(program: string, args: string[]): Promise<ExitStatus> {
  const env = forRuntime(process.env as Record<string, string>, { hasUserCode: true });
  const child = spawn(program, args, { env, stdio: "inherit" });
  for (const signal of RELAYED.filter((name) => name !== "SIGHUP" || !ignoresHangup))
    process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      const status = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
      resolve(status as ExitStatus);
    });
  });
}
