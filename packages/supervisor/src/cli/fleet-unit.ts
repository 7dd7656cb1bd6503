/** The systemd unit of a fleet as it would be started: what `paceline export systemd` prints and `paceline startup` installs. */
import { existsSync, realpathSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { findUser } from "../config/accounts.js";
import type { FleetConfig } from "../core/model.js";
import { PacelineError } from "../errors.js";
import { deadlines } from "../export/facts.js";
import type { FleetStart } from "../fleet/api.js";
import { prepareStart } from "../fleet/prepare-start.js";
import { writtenArguments } from "../fleet/supervisor-process.js";
import { builtFile } from "../package.js";
import { userName } from "../run-dir/trust.js";
import { systemdUnit, unitName } from "./systemd-unit.js";

interface FleetUnit {
  /** The name of the unit, without `.service`. */
  name: string;
  text: string;
}

/**
 * @param user who runs it; default: `user` of the config, or the owner of the folder. `manager`: the caller's own systemd runs it
 * @throws ConfigError, or PacelineError `usage` if nobody but root could run the fleet
 */
export async function fleetUnit(start: FleetStart, user: string | "manager" | undefined): Promise<FleetUnit> {
  const account = user === undefined || user === "manager" ? undefined : findUser(user, undefined);
  if (account !== undefined && "problem" in account) throw new PacelineError("usage", `--user: ${account.problem}`);
  // The run directory does not matter: none is made.
  const prepared = await prepareStart({ ...start, runDir: "." }, { endsSoon: true, isOnlyChecked: true });
  const { identity, runtimes, fleet } = prepared;
  const { config, source } = fleet;
  const isPath = source.kind === "config" || (start.file !== undefined && source.kind === "app");
  const text = systemdUnit({
    ...{ name: config.name, folder: identity.folder },
    start: writtenArguments(isPath ? { ...start, file: identity.source } : start, config.listen),
    user: user === "manager" ? null : (user ?? config.user?.name ?? ownerOf(identity.folder)),
    group: user === undefined ? (config.user?.group ?? null) : null,
    paceline: findCommand(identity.folder),
    programFolders: runtimes.node === undefined ? [] : [dirname(runtimes.node)],
    hasMemoryLimit: config.pools.some(({ recycle }) => recycle.maxMemoryMb > 0),
    hasLowPort: config.listen.some((address) => address.kind === "tcp" && address.port < 1024),
    runtimeDirs: runtimeDirsOf(config),
    credentials: credentialsOf(config),
    ...deadlines(config),
  });
  return { name: unitName(config.name), text };
}

/** Returns the folders below /run in which it listens on unix sockets. */
function runtimeDirsOf({ listen }: FleetConfig): string[] {
  const folders = listen.map((address) => (address.kind === "unix" ? dirname(address.path) : ""));
  return [...new Set(folders.flatMap((folder) => /^\/run\/(?!user(?:\/|$))(.+)$/.exec(folder)?.[1] ?? []))];
}

function credentialsOf({ pools }: FleetConfig): string[] {
  const sources = pools.flatMap(({ secrets }) => Object.values(secrets));
  return [...new Set(sources.flatMap((source) => ("credential" in source ? [source.credential] : [])))];
}

function ownerOf(folder: string): string {
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
