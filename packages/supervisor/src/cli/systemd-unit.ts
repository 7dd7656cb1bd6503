/** The systemd unit of a fleet (systemd.service(5), systemd.exec(5)): `paceline export systemd` prints it, `paceline startup` installs it. */
import { createHash } from "node:crypto";
import { existsSync, realpathSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { findUser } from "../config/accounts.js";
import { SUPERVISOR_GROUP } from "../core/control-groups.js";
import type { FleetConfig } from "../core/model.js";
import { visibleLine } from "../core/words.js";
import { PacelineError } from "../errors.js";
import { deadlines } from "../export/facts.js";
import type { FleetStart } from "../fleet/api.js";
import { prepareStart } from "../fleet/prepare-start.js";
import { writtenArguments } from "../fleet/supervisor-process.js";
import { builtFile } from "../package.js";
import { SERVICE_PREFIX } from "../run-dir/registry.js";
import { userName } from "../run-dir/trust.js";
import { EXIT } from "./output.js";

interface FleetUnit {
  /** The name of the unit, without `.service`. */
  name: string;
  text: string;
}

/**
 * @param user the user who runs it; default: `user` of the config, or the owner of the folder. `manager`: the caller's own systemd runs it
 * @throws ConfigError, or PacelineError `usage` if only root could run the fleet
 */
export async function fleetUnit(start: FleetStart, user: string | "manager" | undefined): Promise<FleetUnit> {
  const account = user === undefined || user === "manager" ? undefined : findUser(user, undefined);
  if (account !== undefined && "problem" in account) throw new PacelineError("usage", `--user: ${account.problem}`);
  // The run directory does not matter, because none is created.
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

/** Returns the folders below /run in which the fleet listens on unix sockets. */
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
 * Returns the path of the command for later use. The first choice is the command in node_modules of the fleet's folder or of a folder
 * above, which a new installation replaces. The second choice is the command in PATH, and the last one is this package's own.
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

/** Returns a folder and all folders above it. */
function above(folder: string): string[] {
  const parent = dirname(folder);
  return parent === folder ? [folder] : [folder, ...above(parent)];
}

export interface UnitFacts {
  /** The fleet's name. */
  name: string;
  /** The arguments of `paceline start`. */
  start: readonly string[];
  /** The working directory. */
  folder: string;
  /** The user who runs it; null: the user whose own systemd it is. */
  user: string | null;
  /** The group in the configuration; null: the user's own. */
  group: string | null;
  /** The absolute path of the command. */
  paceline: string;
  /** Folders of programs that may be missing in systemd's PATH, for example that of node. */
  programFolders: readonly string[];
  /** Whether a pool has `maxMemoryMb`, so that the kernel must enforce it, too. */
  hasMemoryLimit: boolean;
  /** Whether the fleet listens on a port below 1024. */
  hasLowPort: boolean;
  /** Folders below /run that the sockets in `listen` need. */
  runtimeDirs: readonly string[];
  /** The names of credentials in its configuration. */
  credentials: readonly string[];
  /** The maximum times of a start and of a stop, in milliseconds. */
  startMs: number;
  stopMs: number;
}

/** systemd's PATH for services. */
const SERVICE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin";
const TEMPORARY = /^\/(?:var\/)?tmp\//;
const HOMES = /^\/(?:home|root|run\/user)(?:\/|$)/;
/** How long after the fleet's own deadline systemd kills what has not stopped, in seconds. */
const MARGIN_S = 15;

/** Turns off what no web app needs. Memory that is both writable and executable stays allowed, because JavaScript is compiled into it. */
const HARDENING = [
  "NoNewPrivileges=yes",
  "PrivateDevices=yes",
  "ProtectSystem=full",
  "ProtectKernelTunables=yes",
  "ProtectKernelModules=yes",
  "ProtectKernelLogs=yes",
  "ProtectClock=yes",
  "ProtectHostname=yes",
  "ProtectProc=invisible",
  "RestrictNamespaces=yes",
  "RestrictRealtime=yes",
  "RestrictSUIDSGID=yes",
  "RemoveIPC=yes",
  "LockPersonality=yes",
  "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
  "SystemCallArchitectures=native",
  "SystemCallFilter=@system-service",
  "SystemCallFilter=~@privileged",
  "SystemCallErrorNumber=EPERM",
];

/** Instances with `maxMemoryMb` get control groups of their own, beside that of the supervisor. */
const DELEGATION = [
  "# From systemd 254 on the kernel enforces maxMemoryMb, too: each instance has a control group. Earlier versions ignore the second line.",
  "Delegate=memory",
  `DelegateSubgroup=${SUPERVISOR_GROUP}`,
];

/**
 * @returns the text of the unit
 * @throws PacelineError `usage` for a path or an argument that a unit cannot contain
 */
export function systemdUnit(facts: UnitFacts): string {
  refuseUnwritable(facts);
  const { name, start, folder, user, group, paceline, programFolders, runtimeDirs, credentials, startMs, stopMs } =
    facts;
  const command = (...args: string[]) => [paceline, ...args].map(word).join(" ");
  const runDir = `${SERVICE_PREFIX}${unitName(name)}`;
  const missing = programFolders.filter((path) => !SERVICE_PATH.split(":").includes(path));
  const paths = [...start, folder, paceline, ...missing];
  const lines = [
    "[Unit]",
    `Description=${specifiers(name)} (Paceline)`,
    ...(user === null ? [] : ["Wants=network-online.target", "After=network-online.target"]),
    "",
    "[Service]",
    "# The fleet is up when all its instances are ready. A separate process, systemd-notify, reports this: all.",
    "Type=notify",
    "NotifyAccess=all",
    ...(user === null ? [] : [`User=${specifiers(user)}`]),
    ...(user === null || group === null ? [] : [`Group=${specifiers(group)}`]),
    `WorkingDirectory=${specifiers(folder)}`,
    ...(missing.length === 0 ? [] : [`Environment=${word(`PATH=${[...missing, SERVICE_PATH].join(":")}`)}`]),
    `ExecStart=${command("start", ...start)}`,
    `ExecReload=${command("reload")}`,
    "# Only the supervisor gets SIGTERM; it drains the other processes. If it is killed, they keep serving, and the next supervisor takes them over",
    "# with the listening sockets, which systemd keeps meanwhile.",
    "KillMode=process",
    "FileDescriptorStoreMax=32",
    `TimeoutStartSec=${Math.ceil(startMs / 1000) + MARGIN_S}`,
    `TimeoutStopSec=${Math.ceil(stopMs / 1000) + MARGIN_S}`,
    "WatchdogSec=60",
    "Restart=on-failure",
    "RestartSec=1",
    "# Starting again does not correct a wrong configuration.",
    `RestartPreventExitStatus=${EXIT.usage}`,
    "LimitNOFILE=65536",
    ...(facts.hasMemoryLimit ? DELEGATION : []),
    "# The run directory, with the log and the key of sticky cookies.",
    `StateDirectory=${runDir}`,
    "StateDirectoryMode=0700",
    ...(user === null || runtimeDirs.length === 0 ? [] : [`RuntimeDirectory=${runtimeDirs.map(word).join(" ")}`]),
    `Environment=PACELINE_RUN_DIR=%S/${runDir}`,
    ...(credentials.length === 0
      ? []
      : ["# Write each secret into its file, of mode 0600 and owned by root, or change the path."]),
    ...credentials.map((id) => `LoadCredential=${specifiers(id)}:/etc/credstore/${specifiers(id)}`),
    "",
    ...(user === null ? ["NoNewPrivileges=yes"] : sandbox(facts, paths)),
    "",
    "[Install]",
    `WantedBy=${user === null ? "default" : "multi-user"}.target`,
  ];
  return `${refuseJoined(lines).join("\n")}\n`;
}

/** Settings that only the system's own systemd can enforce. */
function sandbox({ hasLowPort, hasMemoryLimit }: UnitFacts, paths: readonly string[]): string[] {
  const isUsed = (place: RegExp) => paths.some((path) => place.test(path));
  const capability = hasLowPort ? "CAP_NET_BIND_SERVICE" : "";
  return [
    `AmbientCapabilities=${capability}`,
    `CapabilityBoundingSet=${capability}`,
    ...(isUsed(HOMES) ? [] : ["ProtectHome=yes"]),
    ...(isUsed(TEMPORARY) ? [] : ["PrivateTmp=yes"]),
    ...HARDENING,
    ...(hasMemoryLimit ? [] : ["ProtectControlGroups=yes"]),
  ];
}

/** The name of a unit's folder, `NAME.service.d`, and that of a draft must not be longer than 255 bytes. */
const MAX_UNIT_NAME = 200;

/** Returns the fleet's name as a part of a unit's name and of a folder. Different names stay different. */
export function unitName(name: string): string {
  const plain = name.replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^[.-]+|[.-]+$/g, "");
  if (plain === name && name.length <= MAX_UNIT_NAME) return name;
  const hash = createHash("sha256").update(name).digest("hex").slice(0, 6);
  return `${plain === "" ? "fleet" : plain.slice(0, MAX_UNIT_NAME)}-${hash}`;
}

/** Values that a unit cannot contain: a line end ends a setting, some settings have no escapes, and trailing spaces are cut off. */
function refuseUnwritable(facts: UnitFacts): void {
  const texts = Object.values(facts).filter((value) => typeof value !== "number" && typeof value !== "boolean");
  const bad = (texts.flat() as (string | null)[]).find((text) => text !== null && /\p{Cc}/u.test(text));
  if (bad != null)
    throw new PacelineError("usage", `${visibleLine(bad)} has a control character, which no systemd unit can contain`);
  if (facts.folder.endsWith(" "))
    throw new PacelineError("usage", `"${facts.folder}" ends in a space, which no systemd unit can contain`);
}

/** A backslash at the end of a line joins the next line to it, unless it is escaped. */
function refuseJoined(lines: readonly string[]): readonly string[] {
  const joined = lines.find((line) => (/\\*$/.exec(line)?.[0].length ?? 0) % 2 === 1);
  if (joined === undefined) return lines;
  throw new PacelineError("usage", `${joined} ends in a backslash, which no systemd unit can contain`);
}

/** Escapes `%`, so that it is not read as a specifier. */
function specifiers(text: string): string {
  return text.replaceAll("%", "%%");
}

/** Writes one word of a command line in systemd's syntax. */
function word(text: string): string {
  const escaped = specifiers(text)
    .replaceAll("\\", "\\\\")
    .replaceAll("$", () => "$$");
  return /^[\w@%+=:,./\\$-]+$/.test(escaped) && escaped !== "" ? escaped : `"${escaped.replaceAll('"', '\\"')}"`;
}
