/** The listening sockets that this process inherits: from systemd (sd_listen_fds(3)), or from a balancer or supervisor of its fleet. */
import { closeSync, readlinkSync } from "node:fs";
import { isIP } from "node:net";
import { listeningSockets } from "@paceline/wire/proc";
import { socketsBoundTo } from "@paceline/wire/socket-file";
import { formatListenAddress } from "../config/listen-address.js";
import type { ListenAddress } from "../core/model.js";
import { PacelineError } from "../errors.js";

/** The first descriptor, SD_LISTEN_FDS_START. */
const FIRST = 3;
/** More sockets than any unit has. */
const MAX_SOCKETS = 256;
const VARIABLES = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] as const;

/** The name of this fleet's own sockets in systemd's file descriptor store. */
export const STORED = "paceline-listen";

/** Descriptors of sockets that this process has not opened; each is used once. */
export class InheritedSockets {
  /** By inode. */
  private readonly descriptors = new Map<string, number>();
  private readonly hadAny: boolean;

  /** @param isOurs whether this fleet has opened the sockets, and may close them for all processes */
  constructor(
    descriptors: readonly number[],
    readonly isOurs = false,
  ) {
    for (const fd of descriptors) {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      if (target.startsWith("socket:[")) this.descriptors.set(target.slice(8, -1), fd);
    }
    this.hadAny = this.descriptors.size > 0;
  }

  /** Whether systemd has opened the sockets for its unit. */
  get isForeign(): boolean {
    return !this.isOurs && this.hadAny;
  }

  /** Returns the descriptor of the socket that listens on this address; undefined if there is none. `host` is an IP address. */
  take(address: ListenAddress, host?: string): number | undefined {
    if (this.descriptors.size === 0) return undefined;
    const inodes =
      address.kind === "unix" ? socketsBoundTo(address.path) : inodesOf(host ?? address.host, address.port);
    for (const inode of inodes) {
      const fd = this.descriptors.get(inode);
      this.descriptors.delete(inode);
      if (fd !== undefined) return fd;
    }
    return undefined;
  }

  /**
   * Closes the fleet's own sockets that no address names.
   * @throws PacelineError `config` if systemd has opened such a socket: its clients would wait forever
   */
  checkAllTaken(addresses: readonly ListenAddress[]): void {
    if (this.isOurs) {
      for (const fd of this.descriptors.values()) closeSync(fd);
      this.descriptors.clear();
    }
    if (this.descriptors.size === 0) return;
    const opened = [...this.descriptors].map(([inode, fd]) => nameOf(inode) ?? `descriptor ${fd}`).join(", ");
    const listed = addresses.map((address) => formatListenAddress(address).replace(/^(http|tcp):\/\//, "")).join(", ");
    throw new PacelineError("config", `systemd has opened ${opened}, which is not in listen (${listed})`);
  }
}

/**
 * Removes systemd's variables from the environment, and returns the sockets that they describe.
 * @param isMeant false for a process that the main process of the unit has started
 * @param ours the number of descriptors that another process of the same fleet has passed on
 */
export function takeInheritedSockets(
  isMeant: boolean,
  ours?: number,
  environment: NodeJS.ProcessEnv = process.env,
  pid = process.pid,
): InheritedSockets {
  const [listener, count = "", names = ""] = VARIABLES.map((name) => environment[name]);
  for (const name of VARIABLES) delete environment[name];
  if (ours !== undefined) return new InheritedSockets(descriptors(ours), true);
  const isGiven = isMeant && Number(listener) === pid && /^\d+$/.test(count);
  // A unit has either socket units of its own, or a fleet that stores its sockets.
  const isStored = names !== "" && names.split(":").every((name) => name === STORED);
  return new InheritedSockets(descriptors(isGiven ? Number(count) : 0), isGiven && isStored);
}

function descriptors(count: number): number[] {
  return Array.from({ length: Math.min(count, MAX_SOCKETS) }, (_, n) => FIRST + n);
}

function inodesOf(host: string, port: number): Set<string> {
  // `ListenStream=8080` opens an IPv6 socket that also accepts IPv4 clients.
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
