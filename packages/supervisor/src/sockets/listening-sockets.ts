/** The sockets the fleet listens on: bound here, once, and never listened on here; the balancers inherit them. */
import { lookup } from "node:dns/promises";
import { chmodSync, lchownSync, linkSync, lstatSync, readFileSync, renameSync, rmSync } from "node:fs";
import { isIP } from "node:net";
import { getSystemErrorMap } from "node:util";
import { listeningSockets } from "@paceline/wire/proc";
import { removeStaleSocket } from "@paceline/wire/socket-file";
import { processesWith, socketsBoundTo } from "@paceline/wire/unix-sockets";
import { formatListenAddress, isIpv6Only } from "../config/listen-address.js";
import { visible } from "../control-characters.js";
import type { ListenAddress, UnixAddress } from "../core/model.js";
import { PacelineError } from "../errors.js";

const OWNER_ONLY = 0o600;

export interface ListeningSocket {
  readonly fd: number;
  /** Such as `http://127.0.0.1:8080` or `unix:/run/shop.sock`, with the real port where 0 was asked for. */
  readonly url: string;
  /** Refuses new connections, gives the socket up, and removes its file if it has one; a second call does nothing. */
  close(): void;
}

/**
 * Binds every address, or none: when one cannot be had, the others are given up again.
 * @throws PacelineError with the system's code, such as `EADDRINUSE`; the message names who holds the address.
 */
export async function bindAll(addresses: readonly ListenAddress[]): Promise<ListeningSocket[]> {
  const sockets: ListeningSocket[] = [];
  try {
    for (const address of addresses) {
      sockets.push(address.kind === "tcp" ? await bindTcpAddress(address, addresses) : await bindUnixAddress(address));
    }
    return sockets;
  } catch (error) {
    for (const socket of sockets) socket.close();
    throw error;
  }
}

type TcpListenAddress = ListenAddress & { kind: "tcp" };

async function bindTcpAddress(address: TcpListenAddress, all: readonly ListenAddress[]): Promise<ListeningSocket> {
  const text = formatListenAddress(address).replace("http://", "");
  const { host, family } = await resolve(address.host, text);
  const binder = await systemBinder();
  const bound = binder.bindTcp(host, address.port, family, isIpv6Only(address, all));
  if (typeof bound === "number") throw bindError(bound, text, () => tcpPortHolder(address.port));
  return {
    fd: bound.fd,
    url: formatListenAddress({ ...address, port: bound.port }),
    close: once(() => {
      bound.shutDown();
      bound.close();
    }),
  };
}

async function bindUnixAddress({ path, mode = OWNER_ONLY, group }: UnixAddress): Promise<ListeningSocket> {
  const text = `unix:${path}`;
  await makeWay(path, text);
  const binder = await systemBinder();
  const bound = binder.bindUnix(path);
  if (typeof bound === "number") throw bindError(bound, text, () => unixSocketHolder(path));
  const inode = inodeOf(path);
  const close = once(() => {
    bound.shutDown();
    if (inodeOf(path) === inode) {
      rmSync(path, { force: true });
      bound.close();
    } else keepFile(path, () => bound.close());
  });
  try {
    // Nobody can connect before a balancer listens on it, so there is no moment at which others get in.
    if (group !== undefined) lchownSync(path, process.geteuid?.() ?? -1, group.gid);
    chmodSync(path, mode);
  } catch (error) {
    close();
    throw rightsError(error as NodeJS.ErrnoException, text, group?.name);
  }
  return { fd: bound.fd, url: text, close };
}

function rightsError({ code = "EIO" }: NodeJS.ErrnoException, text: string, group: string | undefined): PacelineError {
  const why =
    code === "EPERM" && group !== undefined
      ? `only root and members of the group ${group} can give it to that group`
      : "its mode and group cannot be set";
  return new PacelineError(code, `cannot listen on ${text}: ${why} (${code})`);
}

/** Names a file for good, whatever has its path later; undefined when there is none. */
function inodeOf(path: string): string | undefined {
  // As bigints: Node's realpathSync, and with it `import`, stops following links after a plain stat of a socket or a pipe (Node issue 51142).
  const stat = lstatSync(path, { throwIfNoEntry: false, bigint: true });
  return stat && `${stat.dev}:${stat.ino}`;
}

/** Node removes whatever has the path of a unix socket that it closes; this file is another's. */
function keepFile(path: string, close: () => void): void {
  const kept = `${path}.${process.pid}`;
  try {
    linkSync(path, kept);
  } catch {
    // There is no file, or no room for a second name: nothing can be kept.
    return close();
  }
  close();
  renameSync(kept, path);
  // Two names of one file: renaming one over the other does nothing.
  rmSync(kept, { force: true });
}

function once(action: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) action();
    isDone = true;
  };
}

/** Makes way where a crash has left a socket file; one that a living process has, or another kind of file, is not ours. */
async function makeWay(path: string, text: string): Promise<void> {
  const found = await removeStaleSocket(path).catch((cause: NodeJS.ErrnoException) => {
    const { code = "EIO", message } = cause;
    throw new PacelineError(code, `cannot listen on ${text}: ${message}`, { cause });
  });
  if (found === "other") throw new PacelineError("EEXIST", `cannot listen on ${text}: the file there is not a socket`);
  if (found === "held") throw inUse(text, unixSocketHolder(path));
}

async function resolve(host: string, text: string): Promise<{ host: string; family: 4 | 6 }> {
  const family = isIP(host);
  if (family !== 0) return { host, family: family as 4 | 6 };
  try {
    const found = await lookup(host);
    return { host: found.address, family: found.family as 4 | 6 };
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "ENOTFOUND";
    throw new PacelineError(code, `cannot listen on ${text}: no address for ${host} (${code})`, { cause });
  }
}

type Binder = typeof import("./bind-node.js");
let binder: Binder | undefined;

async function systemBinder(): Promise<Binder> {
  binder ??= await (process.versions.bun === undefined ? import("./bind-node.js") : import("./bind-bun.js"));
  return binder;
}

const MAX_PORT_TRIES = 100;

/**
 * A TCP port of 127.0.0.1 on which nobody listens and that is not in `taken`. Only after `bindAll` has resolved once.
 * @throws PacelineError `EADDRINUSE` when there is none
 */
export function freePort(taken: ReadonlySet<number>): number {
  for (let tries = 0; tries < MAX_PORT_TRIES; tries++) {
    const bound = binder?.bindTcp("127.0.0.1", 0, 4, false);
    if (bound === undefined || typeof bound === "number") break;
    bound.close();
    if (!taken.has(bound.port)) return bound.port;
  }
  throw new PacelineError("EADDRINUSE", "no free port was found on 127.0.0.1");
}

const FIRST_FREE_PORT = 1024;
const PRIVILEGED =
  "ports below 1024 need the capability CAP_NET_BIND_SERVICE (EACCES): AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd unit, or sysctl net.ipv4.ip_unprivileged_port_start=80";

function bindError(errno: number, text: string, holder: () => string | undefined): PacelineError {
  const [code, description] = getSystemErrorMap().get(errno) ?? ["ELISTEN", `error ${-errno}`];
  if (code === "EADDRINUSE") return inUse(text, holder());
  const port = Number(/:(\d+)$/.exec(text)?.[1] ?? FIRST_FREE_PORT);
  if (code === "EACCES" && port < FIRST_FREE_PORT)
    return new PacelineError(code, `cannot listen on ${text}: ${PRIVILEGED}`);
  return new PacelineError(code, `cannot listen on ${text}: ${description} (${code})`);
}

function inUse(text: string, holder: string | undefined): PacelineError {
  const by = holder === undefined ? "another process" : holder;
  return new PacelineError("EADDRINUSE", `cannot listen on ${text}: it is held by ${by}`);
}

const MAX_COMMAND = 120;

/** Such as `pid 4711 (nginx: master process)`; undefined when it cannot be told, as for a process of another user. */
function tcpPortHolder(port: number): string | undefined {
  const inodes = new Set<string>();
  for (const socket of listeningSockets()) if (socket.port === port) inodes.add(socket.inode);
  return holder(inodes);
}

/** The same for the path of a unix socket. */
function unixSocketHolder(path: string): string | undefined {
  return holder(socketsBoundTo(path));
}

function holder(inodes: ReadonlySet<string>): string | undefined {
  for (const pid of processesWith(inodes)) return `pid ${pid} (${commandLine(pid)})`;
  return undefined;
}

/** In one line, whatever the process calls itself. */
function commandLine(pid: number): string {
  const line = attempt(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) ?? "";
  const words = line.replaceAll("\0", " ").trim();
  const text = visible(words.slice(0, MAX_COMMAND + 1))
    .replaceAll("\n", "\\n")
    .replaceAll("\t", "\\t");
  if (text === "") return "unknown command";
  return text.length > MAX_COMMAND ? `${text.slice(0, MAX_COMMAND)}…` : text;
}

/** A process may end, or belong to someone else, while we look at it; either way it has nothing to tell. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
