/** Stream sockets to and from local processes, as light as the runtime allows: two implementations, one behaviour. */

/** The owner of a socket, notified of its events. */
export interface StreamSocketOwner {
  /** Called when a connecting socket is open. */
  onOpen?(): void;
  /** Receives bytes, which the owner may keep. */
  onData(bytes: Buffer): void;
  /** Called after a `write` that returned false, once the kernel has taken everything. */
  onDrain(): void;
  /** Called once when the connection has closed or failed, but not after `destroy()`. */
  onClose(): void;
}

export interface StreamSocket {
  /** Whether bytes are queued that the kernel has not taken. */
  readonly isBlocked: boolean;
  /** The number of queued bytes. */
  readonly waitingBytes: number;
  /**
   * Writes bytes; must not be called before `onOpen`. Returns false if some bytes are queued. Until they are sent, the caller must not
   * change them.
   */
  write(bytes: Uint8Array): boolean;
  pause(): void;
  resume(): void;
  /** Sets whether this socket keeps the process alive. Default: yes. */
  keepAlive(isKept: boolean): void;
  /** Closes after queued bytes are sent. */
  end(): void;
  /** Closes at once. */
  destroy(): void;
}

export interface StreamListener {
  /** Stops accepting. */
  close(): void;
}

/** Returns the owner of an accepted socket. */
export type OnSocket = (socket: StreamSocket) => StreamSocketOwner;

/** Runs a function that binds a unix socket; the socket's file gets mode 0600. */
export function withPrivateUmask<T>(bind: () => T): T {
  const before = process.umask(0o177);
  try {
    return bind();
  } finally {
    process.umask(before);
  }
}
