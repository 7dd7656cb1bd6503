/** Binds sockets without listening on Node, through the function that node:net uses. */
import net from "node:net";
import { canShareAddresses } from "../core/serving.js";

/** A descriptor that is bound but not listening. */
export interface BoundSocket {
  fd: number;
  /** The actual port of a TCP socket. */
  port: number;
  /** Stops accepting connections in every process that shares the descriptor. Does nothing if the runtime cannot do this. */
  shutDown(): void;
  close(): void;
}

/** Flags of libuv (uv.h). */
const UV_TCP_IPV6ONLY = 1;
const UV_TCP_REUSEPORT = 2;

interface Handle {
  fd: number;
  close(): void;
  getsockname?(out: { port?: number }): number;
}

/** Undocumented, but stable since Node 0.12; Node's cluster module uses it for its shared sockets. */
type CreateServerHandle = (
  address: string,
  port: number,
  addressType: 4 | 6 | -1,
  fd: undefined,
  flags: number,
) => Handle | number;

const createServerHandle = (net as unknown as { _createServerHandle: CreateServerHandle })._createServerHandle;

/**
 * Returns a TCP socket, or the negative errno of the call that failed.
 * @param isShared whether other sockets of this user may have the same address
 */
export function bindTcp(
  host: string,
  port: number,
  family: 4 | 6,
  ipv6Only: boolean,
  isShared = false,
): BoundSocket | number {
  const flags = (ipv6Only ? UV_TCP_IPV6ONLY : 0) | (isShared ? UV_TCP_REUSEPORT : 0);
  const handle = createServerHandle(host, port, family, undefined, flags);
  if (typeof handle === "number") return handle;
  // libuv reports EADDRINUSE only on the next call of the handle. This call also returns the port that the system chose for 0.
  const name: { port?: number } = {};
  const error = handle.getsockname?.(name) ?? 0;
  if (error !== 0) {
    handle.close();
    return error;
  }
  return { fd: handle.fd, port: name.port ?? port, shutDown: () => shutDown(handle.fd), close: () => handle.close() };
}

/** Whether several sockets can share an address: older versions of libuv ignore the flag. */
export const canShare = canShareAddresses(process.versions);

/** Returns a unix socket, or the negative errno of the call that failed. */
export function bindUnix(path: string): BoundSocket | number {
  const handle = createServerHandle(path, -1, -1, undefined, 0);
  if (typeof handle === "number") return handle;
  return { fd: handle.fd, port: 0, shutDown: () => shutDown(handle.fd), close: () => handle.close() };
}

/** Not possible on Node. */
export function copyDescriptor(_pid: number, _fd: number): number | undefined {
  return undefined;
}

/** Not possible on Node: the socket stays open until the last process has closed it. */
export function shutDown(_fd: number): void {}
