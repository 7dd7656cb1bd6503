/** The interface between the data path and the runtime's sockets, with the same behaviour on `bun` and `node`. */

import type { SocketAddress } from "@paceline/wire";

/** The owner of a connection, notified of its events. Its methods must not throw. */
export interface ConnectionOwner {
  /**
   * Receives bytes, which the owner may keep. Returns true if it keeps none, so that their memory can be freed at once. May still be called
   * once or twice after `pause()`.
   */
  onData(bytes: Buffer): boolean;
  /** Called after a `write` that returned false, once the kernel has taken everything. */
  onDrain(): void;
  /** Called when the peer has sent FIN: no more bytes follow, but it may still read. */
  onEnd(): void;
  /** Called when the connection was closed by the peer or an error. No further event follows. */
  onClose(): void;
}

/** Both addresses of a client's TCP connection: its own, and the one that it has connected to. */
export interface Ends {
  address: string;
  port: number;
  localAddress: string;
  localPort: number;
}

/** A stream socket. Every method is safe on a closed connection. */
export interface Connection {
  owner: ConnectionOwner;
  /** The peer's IP address; empty for a unix socket. */
  readonly remoteAddress: string;
  /** Undefined for a unix socket, and once it is closed. */
  readonly ends: Ends | undefined;
  /** The number of written bytes that the kernel has not taken. Node counts a piece until it is taken completely. */
  readonly waitingBytes: number;
  /** The memory that these bytes take, as far as it is known. */
  readonly heldBytes: number;
  /**
   * Grows while the peer reads. On Node, and for peers on this machine, it is updated by `Transport.lookAtPeers`. It may be corrected
   * downwards.
   */
  readonly progressBytes: number;
  /**
   * The number of bytes that the peer's kernel has certainly acknowledged; undefined where `progressBytes` shows the same, because bytes
   * wait only once the kernel's buffer is full.
   */
  readonly surelyReadBytes?: number | undefined;
  /** The number of bytes that a peer on this machine has certainly read, one or two readings late; undefined for other peers. */
  readonly locallyReadBytes?: number | undefined;
  /** The steps in which `progressBytes` grows for a peer of a unix socket; undefined for TCP, where they depend on the peer. */
  readonly stepBytes?: number | undefined;
  /**
   * Returns how many bytes the peer's kernel had acknowledged at `since` (`performance.now`) or later; -1 as long as this is unknown, which
   * takes a moment on Node.
   * @param timeoutMs how long the peer may read nothing
   */
  acknowledgedBytes(since: number, timeoutMs: number): number;
  /** Whether acknowledgements are known. If not, bytes count as acknowledged once the local kernel has taken them. */
  readonly seesAcknowledgements: boolean;
  /**
   * Whether the peer of a paused connection has disconnected, which causes no event. On Node this is noticed a moment later, and a reset
   * closes the connection instead.
   */
  readonly hasPeerLeft: boolean;
  /** Closes a paused connection that the peer has reset, with `onClose`; a FIN does not count. */
  lookIfReset(): void;
  /**
   * For a peer that has sent FIN and may still read: the kernel probes each minute whether it is still connected. If it is not, the
   * connection is reset, which `lookIfReset` detects.
   */
  keepAsking(): void;
  /** Sends bytes that the caller will not change. Returns false if some are queued; the caller should not write more until `onDrain`. */
  write(bytes: Uint8Array): boolean;
  /**
   * Like `write`, for the first `length` bytes of a reused buffer: copies the bytes that the kernel does not accept immediately.
   * @param isLast whether `end` or `close` follows immediately, so that these bytes and the FIN may be one packet
   */
  writeTransient(bytes: Uint8Array, length: number, isLast?: boolean): boolean;
  /** Lets the kernel collect the written bytes until `uncork`, which must follow within the turn. */
  cork?(): void;
  uncork?(): void;
  /** Requests an `onDrain` after a `write` that returned true. Over TLS, bytes may wait in that case, too. */
  asksDrain?(): void;
  /** @param isFirm whether Node must not read ahead either, which takes a system call */
  pause(isFirm?: boolean): void;
  resume(): void;
  /**
   * Reads up to this many bytes of a firmly paused connection now, with `onData`. Returns their number; 0 if the runtime has to continue,
   * because the peer has sent FIN or the connection is closed; -1 if no bytes are available yet.
   */
  readPiece?(mostBytes: number): number;
  /**
   * Sets or removes a limit on how many bytes the kernel receives for this process, and so on the size of one read. Absent if reads are
   * small anyway.
   */
  limitReads?(isLimited: boolean): void;
  /** Sends queued bytes, then FIN. The peer's bytes are still read. */
  end(): void;
  /**
   * Closes after queued bytes are sent, with a reset after CLOSE_GRACE_SECONDS. The owner gets no more events, unless it `awaitsClose`.
   * Such an owner enforces its own time limit, may still receive data, and gets `onClose` when the descriptor is closed.
   */
  close(awaitsClose?: boolean): void;
  /** Closes at once with a reset, so that the peer can see that bytes are missing. The owner gets no more events. */
  reset(): void;
}

/** Receives the result of an attempt to connect: exactly one of the two. */
export interface Connector {
  /** Whether the kernel should accept nearly a whole read of a client's body at once. The rest waits in this process. */
  readonly sendsMuch?: boolean;
  /** Returns the owner of the new connection. */
  onConnected(connection: Connection): ConnectionOwner;
  onConnectFailed(error: Error): void;
}

export interface Listener {
  /**
   * Sets whether the kernel keeps each client until its first bytes arrive, for at most a second, or hands it over at once. Absent if that
   * is not possible.
   */
  deferClients?(isOn: boolean): void;
  /** Stops accepting. Closes the inherited descriptor; the supervisor keeps the socket. */
  close(): void;
}

export interface Transport {
  readonly name: "bun" | "node";
  /** The number of open sockets; a closing one counts until its descriptor is free. */
  readonly openSockets: number;
  /** Updates the progress of peers, if reading it takes a system call. Returns the time of that progress (`performance.now`). */
  lookAtPeers(): number;
  /** Accepts on an inherited, bound socket. Throws if that fails. */
  listen(fd: number, onConnection: (connection: Connection) => ConnectionOwner): Listener;
  connect(address: SocketAddress, connector: Connector): void;
}

/** The number of open sockets of this process, for all protocols. */
export const openSockets = { count: 0 };

/** How long the peer of a closed connection may take to read queued bytes, in seconds. */
export const CLOSE_GRACE_SECONDS = 30;

/** How often the kernel probes a peer that has sent FIN, in milliseconds. */
export const ASK_EVERY_MS = 60_000;

/** If more bytes than this wait for a client, it gets no further response. */
export const MUCH_UNREAD_BYTES = 65_536;

/** If more bytes than this wait for a client while memory is scarce, it gets no more of its response. */
export const SCARCE_WAITING_BYTES = 8192;

/**
 * The size of the kernel's buffer for a unix socket. Without a call for the kernel's queue, the peer may have to read all of the buffer
 * before progress is noticed.
 */
export const UNIX_BUFFER_BYTES = 212_992;

/** The requested length of the accept queue; the kernel limits it to net.core.somaxconn. */
export const LISTEN_BACKLOG = 4096;

/** The owner of a connection that is no longer used. */
export const NO_OWNER: ConnectionOwner = {
  onData() {
    return true;
  },
  onDrain() {},
  onEnd() {},
  onClose() {},
};
