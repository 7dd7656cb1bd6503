/** The seam between the data path and the runtime's sockets: two implementations, `bun` and `node`, one behaviour. */

import type { SocketAddress } from "@paceline/wire";

/** What a connection tells whoever owns it. None of these may throw. */
export interface ConnectionOwner {
  /**
   * Bytes arrived; the owner may keep them. True: it keeps nothing of them, and their memory may be freed at once. May
   * still come once or twice after `pause()`.
   */
  onData(bytes: Buffer): boolean;
  /** All that was written has been taken by the kernel, after a `write` that answered false or when more than DRAIN_ABOVE_BYTES waited. */
  onDrain(): void;
  /** The peer sent FIN: no more bytes come, but it may still read. */
  onEnd(): void;
  /** The connection is gone by the peer's doing or an error; nothing follows. */
  onClose(): void;
}

/** One stream socket. Every method is safe on a connection that is already gone. */
export interface Connection {
  owner: ConnectionOwner;
  /** The peer's IP address; empty for a unix socket. */
  readonly remoteAddress: string;
  /** Bytes written that the kernel has not taken; Node counts a piece until all of it is. */
  readonly waitingBytes: number;
  /**
   * How many of the bytes written so far the peer's kernel has acknowledged, as of that instant of `performance.now` or later;
   * -1 while that is not known, which on Node takes a moment.
   */
  acknowledgedBytes(since: number): number;
  /** Whether that is known; else it is what our own kernel has taken. */
  readonly seesAcknowledgements: boolean;
  /**
   * Whether the peer of a connection that is paused has left, of which no event tells then. On Node it is known a moment late, and
   * one that is reset closes instead.
   */
  readonly hasPeerLeft: boolean;
  /** Closes if the peer of a connection that is paused has reset it, and `onClose` follows; a FIN does not count. */
  lookIfReset(): void;
  /**
   * Sends bytes that the caller will not change any more. False: some of them wait, and `onDrain` will come; until
   * then the caller should write no more, as the rest is kept in memory.
   */
  write(bytes: Uint8Array): boolean;
  /** As `write`, for bytes in a buffer that is used again: what the kernel does not take at once is copied. */
  writeTransient(bytes: Uint8Array): boolean;
  pause(): void;
  resume(): void;
  /** Sends what is still waiting, then FIN; the peer's bytes go on being read. */
  end(): void;
  /**
   * Closes as soon as what still waits is sent, and with a reset after CLOSE_GRACE_SECONDS. The owner hears nothing more, but
   * where it `awaitsClose`: then how long is its own to say, data may still come, and `onClose` when the descriptor is closed.
   */
  close(awaitsClose?: boolean): void;
  /** Closes at once with a reset, so that no peer can take what it got for the whole. The owner hears nothing more. */
  reset(): void;
}

/** What is told of an attempt to connect: exactly one of the two. */
export interface Connector {
  /** Returns the owner of the new connection. */
  onConnected(connection: Connection): ConnectionOwner;
  onConnectFailed(error: Error): void;
}

export interface Listener {
  /** Accepts no more; the inherited descriptor is closed, the socket itself lives on in the supervisor. */
  close(): void;
}

export interface Transport {
  readonly name: "bun" | "node";
  /** Sockets that are open, accepted and connected ones; what closes counts until its descriptor is free. */
  readonly openSockets: number;
  /** Accepts on an inherited socket that is bound; throws when that cannot be done. */
  listen(fd: number, onConnection: (connection: Connection) => ConnectionOwner): Listener;
  connect(address: SocketAddress, connector: Connector): void;
}

/** How long the peer of a closed connection may take to read what still waits, in seconds. */
export const CLOSE_GRACE_SECONDS = 30;

/** When more than this waits, `onDrain` comes whatever `write` answered. */
export const DRAIN_ABOVE_BYTES = 65_536;

/** The accept queue asked for; the kernel caps it at net.core.somaxconn. */
export const LISTEN_BACKLOG = 4096;

/** An owner for a connection that nobody cares for any more. */
export const NO_OWNER: ConnectionOwner = {
  onData() {
    return true;
  },
  onDrain() {},
  onEnd() {},
  onClose() {},
};
