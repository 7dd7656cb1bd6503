/** The listening sockets that systemd has opened for this process: sd_listen_fds(3). */
import { readlinkSync } from "node:fs";
import { isIP } from "node:net";
import { listeningSockets } from "@paceline/wire/proc";
import { socketsBoundTo } from "@paceline/wire/socket-file";
import { formatListenAddress } from "../config/listen-address.js";
import type { ListenAddress } from "../core/model.js";
import { PacelineError } from "../errors.js";

/** The first descriptor, SD_LISTEN_FDS_START. */
const FIRST = 3;
/** More than anybody's unit has. */
const MAX_SOCKETS = 256;
const VARIABLES = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] as const;

/** Descriptors of sockets that this process has not opened, each used once. */
export class InheritedSockets {
  /** By inode. */
  readonly #descriptors = new Map<string, number>();

  constructor(descriptors: readonly number[]) {
    for (const fd of descriptors) {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      if (target.startsWith("socket:[")) this.#descriptors.set(target.slice(8, -1), fd);
    }
  }

  /** Returns the descriptor of the socket that listens on this address; undefined if there is none. `host` is an IP address. */
  take(address: ListenAddress, host?: string): number | undefined {
    if (this.#descriptors.size === 0) return undefined;
    const inodes =
      address.kind === "unix" ? socketsBoundTo(address.path) : inodesOf(host ?? address.host, address.port);
    for (const inode of inodes) {
      const fd = this.#descriptors.get(inode);
      this.#descriptors.delete(inode);
      if (fd !== undefined) return fd;
    }
    return undefined;
  }

  /** @throws PacelineError `config` if a socket was opened that no address names: its clients would wait for ever */
  checkAllTaken(addresses: readonly ListenAddress[]): void {
    if (this.#descriptors.size === 0) return;
    const opened = [...this.#descriptors].map(([inode, fd]) => nameOf(inode) ?? `descriptor ${fd}`).join(", ");
    const listed = addresses.map((address) => formatListenAddress(address).replace("http://", "")).join(", ");
    throw new PacelineError("config", `systemd has opened ${opened}, which is not in listen (${listed})`);
  }
}

/** Takes systemd's variables out of the environment. `isMeant` is false for a process that was started on behalf of the meant one. */
export function takeInheritedSockets(
  isMeant: boolean,
  environment: NodeJS.ProcessEnv = process.env,
  pid = process.pid,
): InheritedSockets {
  const [listener, count = ""] = VARIABLES.map((name) => environment[name]);
  for (const name of VARIABLES) delete environment[name];
  const isOurs = isMeant && Number(listener) === pid && /^\d+$/.test(count);
  const length = isOurs ? Math.min(Number(count), MAX_SOCKETS) : 0;
  return new InheritedSockets(Array.from({ length }, (_, n) => FIRST + n));
}

function inodesOf(host: string, port: number): Set<string> {
  // `ListenStream=8080` is a socket of IPv6 that takes IPv4 clients, too.
  const hosts = host === "0.0.0.0" ? [host, "::"] : [host];
  const inodes = new Set<string>();
  for (const socket of listeningSockets())
    if (socket.port === port && hosts.includes(socket.host)) inodes.add(socket.inode);
  return inodes;
}

function nameOf(inode: string): string | undefined {
  for (const socket of listeningSockets())
    if (socket.inode === inode) return `${isIP(socket.host) === 6 ? `[${socket.host}]` : socket.host}:${socket.port}`;
  return undefined;
}
