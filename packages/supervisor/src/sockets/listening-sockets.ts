/** The fleet's listening sockets: they are bound once here and inherited by the balancers, which listen on them. */
import {
  chmodSync,
  closeSync,
  lchownSync,
  linkSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
} from "node:fs";
import { isIP } from "node:net";
import { getSystemErrorMap } from "node:util";
import { attempt, listeningSockets } from "@paceline/wire/proc";
import { processesWith, removeStaleSocket, socketsBoundTo } from "@paceline/wire/socket-file";
import { formatListenAddress, hostAndPort, isIpv6Only } from "../config/listen-address.js";
import type { ListenAddress, UnixAddress } from "../core/model.js";
import { visible } from "../core/words.js";
import { PacelineError } from "../errors.js";
import type { BoundSocket } from "./bind-node.js";
import { InheritedSockets } from "./inherited-sockets.js";

const OWNER_ONLY = 0o600;

export interface ListeningSocket {
  readonly fd: number;
  /** A URL such as `http://127.0.0.1:8080` or `unix:/run/shop.sock`, with the actual port if 0 was requested. */
  readonly url: string;
  /** Refuses new connections, closes the socket and removes its file. A second call does nothing. */
  close(): void;
}

/**
 * Binds all addresses or none: if one fails, the others are closed again. Sockets that systemd has opened are used as they are.
 * @throws PacelineError with the system's code, for example `EADDRINUSE`, and a message that names the process that holds the address; code
 * `config` if systemd has opened an address that is not listed
 */
export async function bindAll(
  addresses: readonly ListenAddress[],
  inherited = new InheritedSockets([]),
  { owner, mayBeHeld = false }: BindOptions = {},
): Promise<ListeningSocket[]> {
  const sockets: ListeningSocket[] = [];
  const bind = (address: ListenAddress) =>
    address.kind === "tcp" ? bindTcpAddress(address, addresses) : bindUnixAddress(address, owner);
  try {
    // Loads the binder, because `freePort` needs it even if all sockets are inherited.
    await systemBinder();
    for (const address of addresses) {
      const { kind } = address;
      const fd = inherited.take(address, kind === "tcp" ? (await resolve(address)).host : undefined);
      if (fd !== undefined) sockets.push(await inheritedSocket(fd, address, inherited.isOurs));
      else {
        const held = (error: PacelineError) => heldSocket(address, error, () => bind(address));
        sockets.push(await (mayBeHeld ? bind(address).catch(held) : bind(address)));
      }
    }
    inherited.checkAllTaken(addresses);
    return sockets;
  } catch (error) {
    for (const socket of sockets) socket.close();
    throw error;
  }
}

/**
 * A socket that only balancers of an earlier supervisor have. They continue to serve it. No other balancer can be started before they have
 * closed it: each attempt to start one tries to bind the address again.
 */
function heldSocket(
  address: ListenAddress,
  error: PacelineError,
  bind: () => Promise<ListeningSocket>,
): ListeningSocket {
  if (error.code !== "EADDRINUSE") throw error;
  const url = formatListenAddress(address);
  let bound: ListeningSocket | undefined;
  let isClosed = false;
  let isBinding = false;
  const bindAgain = async () => {
    if (isBinding || isClosed) return;
    isBinding = true;
    bound = await bind().catch(() => undefined);
    isBinding = false;
    if (isClosed) bound?.close();
  };
  return {
    get url(): string {
      return bound?.url ?? url;
    },
    get fd(): number {
      if (bound !== undefined) return bound.fd;
      void bindAgain();
      throw new PacelineError(
        "EADDRINUSE",
        `${url} is held by balancers of an earlier supervisor; stop and start the fleet to replace them`,
      );
    },
    // The earlier balancers close it when they have drained.
    close: once(() => {
      isClosed = true;
      if (bound !== undefined) return bound.close();
      if (address.kind === "unix" && socketsBoundTo(address.path).size === 0) rmSync(address.path, { force: true });
    }),
  };
}

async function inheritedSocket(fd: number, address: ListenAddress, isOurs: boolean): Promise<ListeningSocket> {
  const url = formatListenAddress(address);
  const close = () => closeSync(fd);
  // systemd continues to listen on the socket: clients that connect between this fleet and the next one wait.
  if (!isOurs) return { fd, url, close: once(close) };
  const { shutDown } = await systemBinder();
  const bound = { fd, shutDown: () => shutDown(fd), close };
  return address.kind === "unix" ? unixSocket(address.path, url, bound) : tcpSocket(url, bound);
}

type Bound = Pick<BoundSocket, "fd" | "shutDown" | "close">;

function tcpSocket(url: string, { fd, shutDown, close }: Bound): ListeningSocket {
  return {
    fd,
    url,
    close: once(() => {
      shutDown();
      close();
    }),
  };
}

function unixSocket(path: string, url: string, { fd, shutDown, close }: Bound): ListeningSocket {
  const inode = inodeOf(path);
  return {
    fd,
    url,
    close: once(() => {
      shutDown();
      if (inodeOf(path) === inode) {
        removeIfAllowed(path);
        close();
      } else keepFile(path, close);
    }),
  };
}

export type TcpListenAddress = ListenAddress & { kind: "tcp" };

async function bindTcpAddress(address: TcpListenAddress, all: readonly ListenAddress[]): Promise<ListeningSocket> {
  const text = textOf(address);
  const { host, family } = await resolve(address);
  const binder = await systemBinder();
  let bound = binder.bindTcp(host, address.port, family, isIpv6Only(address, all));
  // The machine has no IPv6, and the address stands for all addresses of the machine.
  const isEverywhere = address.redirect !== undefined || (address.tls?.names.length ?? 0) > 0;
  if (typeof bound === "number" && isEverywhere && host === "::" && NO_IPV6.has(codeOf(bound)))
    bound = binder.bindTcp("0.0.0.0", address.port, 4, false);
  if (typeof bound === "number") throw bindError(bound, text, () => tcpPortHolder(address.port));
  return tcpSocket(formatListenAddress({ ...address, port: bound.port }), bound);
}

interface BindOptions {
  owner?: SocketOwner;
  /** Whether balancers of an earlier supervisor may hold an address; that is not an error then. */
  mayBeHeld?: boolean;
}

/** The user that gets the file of a unix socket. */
type SocketOwner = { uid: number; gid: number };

async function bindUnixAddress(
  { path, mode = OWNER_ONLY, group }: UnixAddress,
  owner: SocketOwner | undefined,
): Promise<ListeningSocket> {
  const text = `unix:${path}`;
  await makeWay(path, text);
  const binder = await systemBinder();
  const bound = binder.bindUnix(path);
  if (typeof bound === "number") throw bindError(bound, text, () => unixSocketHolder(path));
  const socket = unixSocket(path, text, bound);
  try {
    // Safe, because no client can connect before a balancer listens on the socket.
    if (owner !== undefined) lchownSync(path, owner.uid, group?.gid ?? owner.gid);
    else if (group !== undefined) lchownSync(path, process.geteuid?.() ?? -1, group.gid);
    chmodSync(path, mode);
  } catch (error) {
    socket.close();
    throw rightsError(error as NodeJS.ErrnoException, text, group?.name);
  }
  return socket;
}

/** In a folder of root, a supervisor that has switched to another user cannot remove the file. The next start removes it. */
function removeIfAllowed(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["EACCES", "EPERM", "EROFS"].includes(code)) throw error;
  }
}

function rightsError({ code = "EIO" }: NodeJS.ErrnoException, text: string, group: string | undefined): PacelineError {
  const why =
    code === "EPERM" && group !== undefined
      ? `only root and members of the group ${group} can give it to that group`
      : "its mode and group cannot be set";
  return new PacelineError(code, `cannot listen on ${text}: ${why} (${code})`);
}

/** Returns a file's device and inode, which identify the file even if its path is reused; undefined if there is no file. */
function inodeOf(path: string): string | undefined {
  // `bigint`: after a plain stat of a socket or a pipe, Node's realpathSync and `import` stop following links (Node issue 51142).
  const stat = lstatSync(path, { throwIfNoEntry: false, bigint: true });
  return stat && `${stat.dev}:${stat.ino}`;
}

/** Keeps the file during `close`: Node removes any file at the socket's path, and this one belongs to another socket. */
function keepFile(path: string, close: () => void): void {
  const kept = `${path}.${process.pid}`;
  try {
    linkSync(path, kept);
  } catch {
    // There is no file, or no space for a second name, so nothing can be kept.
    return close();
  }
  close();
  renameSync(kept, path);
  // A rename does nothing if both names are the same file.
  rmSync(kept, { force: true });
}

function once(action: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) action();
    isDone = true;
  };
}

/** Removes a socket file that a crash left behind. Throws if the socket is in use, or if the path is another kind of file. */
async function makeWay(path: string, text: string): Promise<void> {
  const found = await removeStaleSocket(path).catch((cause: NodeJS.ErrnoException) => {
    const { code = "EIO", message } = cause;
    throw new PacelineError(code, `cannot listen on ${text}: ${message}`, { cause });
  });
  if (found === "other") throw new PacelineError("EEXIST", `cannot listen on ${text}: the file there is not a socket`);
  if (found === "held") throw inUse(text, unixSocketHolder(path));
}

function textOf(address: TcpListenAddress): string {
  return hostAndPort(address);
}

async function resolve(address: TcpListenAddress): Promise<{ host: string; family: 4 | 6 }> {
  const { host } = address;
  const family = isIP(host);
  if (family !== 0) return { host, family: family as 4 | 6 };
  try {
    const { lookup } = await import("node:dns/promises");
    const found = await lookup(host);
    return { host: found.address, family: found.family as 4 | 6 };
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "ENOTFOUND";
    throw new PacelineError(code, `cannot listen on ${textOf(address)}: no address for ${host} (${code})`, { cause });
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
 * Returns a free TCP port of 127.0.0.1 that is not in `taken`. May only be called after `bindAll` has resolved once.
 * @throws PacelineError `EADDRINUSE` if there is none
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

/**
 * Returns a TCP socket whose address further sockets of this user may share. May only be called after `bindAll` has resolved once.
 * @param all the addresses of the fleet
 * @throws PacelineError with the system's code, or `ENOTSUP` if this runtime cannot do this
 */
export function bindShared(address: TcpListenAddress, all: readonly ListenAddress[]): BoundSocket {
  const text = textOf(address);
  if (binder?.canShare !== true)
    throw new PacelineError("ENOTSUP", `cannot share ${text} among instances: direct mode needs Bun, or Node 22.12`);
  const { host, port } = address;
  const bound = binder.bindTcp(host, port, isIP(host) as 4 | 6, isIpv6Only(address, all), true);
  if (typeof bound === "number") throw bindError(bound, text, () => tcpPortHolder(port));
  return bound;
}

/**
 * Returns a copy of the socket with which a process listens on an address; undefined if the process does not listen there, or a copy is not
 * possible.
 */
export function copySocket(pid: number, { host, port }: TcpListenAddress): number | undefined {
  const targets = new Set<string>();
  for (const socket of listeningSockets())
    if (socket.port === port && socket.host === host) targets.add(`socket:[${socket.inode}]`);
  const folder = `/proc/${pid}/fd`;
  const isIts = (fd: string) => targets.has(attempt(() => readlinkSync(`${folder}/${fd}`)) ?? "");
  const found = (attempt(() => readdirSync(folder)) ?? []).find(isIts);
  return found === undefined ? undefined : binder?.copyDescriptor(pid, Number(found));
}

/**
 * Throws if any process listens on the address, even one of this user that would share it.
 * @throws PacelineError `EADDRINUSE`
 */
export function checkUnused(address: TcpListenAddress, all: readonly ListenAddress[]): void {
  const { host, port } = address;
  const bound = binder?.bindTcp(host, port, isIP(host) as 4 | 6, isIpv6Only(address, all));
  if (typeof bound === "number") throw bindError(bound, textOf(address), () => tcpPortHolder(port));
  bound?.close();
}

const FIRST_FREE_PORT = 1024;
const PRIVILEGED =
  "ports below 1024 need the capability CAP_NET_BIND_SERVICE (EACCES): AmbientCapabilities=CAP_NET_BIND_SERVICE or a socket unit of systemd, or start as root with the key `user`, or sysctl net.ipv4.ip_unprivileged_port_start=80";

const NO_IPV6 = new Set(["EAFNOSUPPORT", "EADDRNOTAVAIL", "EINVAL"]);

function codeOf(errno: number): string {
  return getSystemErrorMap().get(errno)?.[0] ?? "ELISTEN";
}

function bindError(errno: number, text: string, holder: () => string | undefined): PacelineError {
  const code = codeOf(errno);
  const description = getSystemErrorMap().get(errno)?.[1] ?? `error ${-errno}`;
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

/** Returns a description of the process that uses a port, for example `pid 4711 (nginx: master process)`; undefined if unknown. */
function tcpPortHolder(port: number): string | undefined {
  const inodes = new Set<string>();
  for (const socket of listeningSockets()) if (socket.port === port) inodes.add(socket.inode);
  return holder(inodes);
}

/** Returns a description of the process that uses a unix socket; undefined if unknown. */
function unixSocketHolder(path: string): string | undefined {
  return holder(socketsBoundTo(path));
}

function holder(inodes: ReadonlySet<string>): string | undefined {
  for (const pid of processesWith(inodes)) return `pid ${pid} (${commandLine(pid)})`;
  return undefined;
}

/** Returns the command line of a process on one line. */
function commandLine(pid: number): string {
  const line = attempt(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) ?? "";
  const words = line.replaceAll("\0", " ").trim();
  const text = visible(words.slice(0, MAX_COMMAND + 1))
    .replaceAll("\n", "\\n")
    .replaceAll("\t", "\\t");
  if (text === "") return "unknown command";
  return text.length > MAX_COMMAND ? `${text.slice(0, MAX_COMMAND)}…` : text;
}
