/** Binds without listening on Node, by the function that node:net itself uses for it. */
import net from "node:net";

/** A descriptor that is bound and not listening. */
export interface BoundSocket {
  fd: number;
  /** The real port, where it is a TCP one. */
  port: number;
  /** Nobody can connect any more, whichever processes have the descriptor; nothing happens where the runtime cannot do it. */
  shutDown(): void;
  close(): void;
}

/** A flag of libuv. */
const UV_TCP_IPV6ONLY = 1;

interface Handle {
  fd: number;
  close(): void;
  getsockname?(out: { port?: number }): number;
}

/** Undocumented, and stable since Node 0.12: cluster binds its shared sockets with it. */
type CreateServerHandle = (
  address: string,
  port: number,
  addressType: 4 | 6 | -1,
  fd: undefined,
  flags: number,
) => Handle | number;

const createServerHandle = (net as unknown as { _createServerHandle: CreateServerHandle })._createServerHandle;

/** A TCP socket, or the negative errno of what failed. */
export function bindTcp(host: string, port: number, family: 4 | 6, ipv6Only: boolean): BoundSocket | number {
  const handle = createServerHandle(host, port, family, undefined, ipv6Only ? UV_TCP_IPV6ONLY : 0);
  if (typeof handle === "number") return handle;
  // libuv keeps EADDRINUSE back until the next call on the handle; and this one tells the port that 0 became.
  const name: { port?: number } = {};
  const error = handle.getsockname?.(name) ?? 0;
  if (error !== 0) {
    handle.close();
    return error;
  }
  return { fd: handle.fd, port: name.port ?? port, shutDown, close: () => handle.close() };
}

/** A unix socket, or the negative errno of what failed. */
export function bindUnix(path: string): BoundSocket | number {
  const handle = createServerHandle(path, -1, -1, undefined, 0);
  if (typeof handle === "number") return handle;
  return { fd: handle.fd, port: 0, shutDown, close: () => handle.close() };
}

/** Node cannot: the socket is open until the last process that has it has closed it. */
function shutDown(): void {}
