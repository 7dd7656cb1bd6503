/** Internals of Node's sockets, and what only they make possible. */

/** The internals of node:net sockets that its types omit. */
export interface Handle {
  readonly fd?: number;
  /** Whether the handle reads, as far as node:net knows. */
  readonly reading?: boolean;
  readStart?(): number;
  readStop?(): number;
}

/**
 * The kernel's send buffer for a client; Linux doubles it. By default it grows to megabytes: a thousand clients that read nothing would use
 * up the memory of all TCP connections of the machine (net.ipv4.tcp_mem), and others would wait for retransmissions.
 */
const SEND_BYTES = 262_144;

/** The internals of node:dgram sockets that its types omit. */
interface UdpState {
  handle?: { open(fd: number): number };
}

/**
 * Limits the send buffers of connections that a socket accepts, which inherit its options. Node has this call only for UDP, where it works
 * for any descriptor that is not polled yet. The UDP socket must stay open, because it would close the descriptor.
 */
export function limitSendBuffers(fd: number): void {
  try {
    const udp = process.getBuiltinModule("node:dgram").createSocket("udp4");
    const state = Object.getOwnPropertySymbols(udp).find(({ description }) => description === "state symbol");
    const { handle } = (udp as unknown as Record<symbol, UdpState>)[state as symbol] as UdpState;
    if (handle?.open(fd) === 0) udp.setSendBufferSize(SEND_BYTES);
  } catch {
    // A version of Node without these internals: the kernel's default stays.
  }
}
