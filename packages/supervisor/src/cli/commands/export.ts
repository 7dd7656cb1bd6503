/** `paceline export systemd`: prints a unit with which systemd runs the fleet. */
import { existsSync, realpathSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Argument } from "commander";
import type { FleetConfig } from "../../core/model.js";
import { PacelineError } from "../../errors.js";
import type { FleetStart } from "../../fleet/api.js";
import { builtFile } from "../../package.js";
import { type DefineCommand, type StartOptions, startOf } from "../options.js";
import { EXIT, print } from "../output.js";
import { originOf, withOrigin } from "../start-arguments.js";

export const exportUnit: DefineCommand = (program, action) => {
  withOrigin(
    program
      .command("export")
      .description("print a systemd unit that starts this fleet; the arguments are those of start")
      .addArgument(new Argument("<format>", "what to print").choices(["systemd"])),
  )
    .option("--user <name>", "the user who runs the fleet (default: the key user, or the owner of its folder)")
    .action(
      action(async (_format: string, given: string, args: string[], exportOptions: ExportOptions) => {
        const { target, options } = originOf(given, args, exportOptions);
        print(await unitOf(startOf(target, options), exportOptions.user));
        return EXIT.done;
      }),
    );
};

interface ExportOptions extends StartOptions {
  user?: string;
}

/** @throws ConfigError, or PacelineError `usage` if nobody but root could run the fleet */
async function unitOf(start: FleetStart, user: string | undefined): Promise<string> {
  const [{ prepareStart }, { originArguments }, { systemdUnit, unitName }] = await Promise.all([
    import("../../fleet/prepare-start.js"),
    import("../../fleet/supervisor-process.js"),
    import("../systemd-unit.js"),
  ]);
  // Whatever the run directory is: none is made.
  const prepared = await prepareStart({ ...start, runDir: "." }, { endsSoon: true, isOnlyChecked: true });
  const { identity, runtimes, fleet } = prepared;
  const { config, source } = fleet;
  const isPath = source.kind === "config" || (start.file !== undefined && source.kind === "app");
  const name = unitName(config.name);
  const unit = systemdUnit({
    ...{ name: config.name, folder: identity.folder },
    start: originArguments(isPath ? { ...start, file: identity.source } : start),
    user: user ?? config.user?.name ?? (await ownerOf(identity.folder)),
    paceline: findCommand(identity.folder),
    programFolders: runtimes.node === undefined ? [] : [dirname(runtimes.node)],
    hasLowPort: config.listen.some((address) => address.kind === "tcp" && address.port < 1024),
    credentials: credentialsOf(config),
    ...deadlines(config),
  });
  const install = `systemctl daemon-reload && systemctl enable --now ${name}`;
  return `# /etc/systemd/system/${name}.service; then: ${install}\n${unit.trimEnd()}`;
}

function credentialsOf({ pools }: FleetConfig): string[] {
  const sources = pools.flatMap(({ secrets }) => Object.values(secrets));
  return [...new Set(sources.flatMap((source) => ("credential" in source ? [source.credential] : [])))];
}

async function ownerOf(folder: string): Promise<string> {
  const { userName } = await import("../../run-dir/trust.js");
  const { uid } = statSync(folder);
  if (uid !== 0) return userName(uid).replace(/^uid /, "");
  throw new PacelineError("usage", `${folder} belongs to root: name the user who runs the fleet with --user`);
}

/**
 * Returns the path of the command for later: that in node_modules of the fleet's folder or of one above, which a new installation
 * replaces; else that in PATH; else this package's own.
 */
function findCommand(folder: string, path = process.env.PATH ?? ""): string {
  const own = realpathSync(resolve(builtFile("."), "../bin/paceline"));
  const installed = above(folder).map((parent) => join(parent, "node_modules/.bin/paceline"));
  const local = installed.find((command) => existsSync(command));
  if (local !== undefined) return local;
  const folders = path.split(":").filter((part) => part.startsWith("/"));
  const commands = folders.map((part) => join(part, "paceline"));
  return commands.find((command) => existsSync(command) && realpathSync(command) === own) ?? own;
}

/** Returns a folder and all those above it. */
function above(folder: string): string[] {
  const parent = dirname(folder);
  return parent === folder ? [folder] : [folder, ...above(parent)];
}

/** The longest that a start and a stop may take, in milliseconds. */
function deadlines({ pools, balancer }: FleetConfig): { startMs: number; stopMs: number } {
  const policies = [balancer.policy, ...pools.map(({ policy }) => policy)];
  const most = (of: (policy: (typeof policies)[number]) => number) => Math.max(...policies.map(of));
  return {
    // An instance that fails to start is tried again.
    startMs: 3 * most(({ readyTimeoutMs }) => readyTimeoutMs),
    stopMs: most(({ drainTimeoutMs, termTimeoutMs }) => drainTimeoutMs + 1000 + 2 * termTimeoutMs),
  };
}
