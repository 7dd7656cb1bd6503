/** Stream sockets to and from processes of this machine, as light as the runtime has them: two implementations, one behaviour. */

/** What a socket tells whoever owns it. */
export interface StreamSocketOwner {
  /** Of a socket that connects: it is open. */
  onOpen?(): void;
  /** The bytes are the owner's to keep. */
  onData(bytes: Buffer): void;
  /** All that was written has been taken by the kernel, after a `write` that returned false. */
  onDrain(): void;
  /** The connection is gone, or never came to be. Comes once, and not after `destroy()`. */
  onClose(): void;
}

export interface StreamSocket {
  /** Whether bytes wait that the kernel has not taken. */
  readonly isBlocked: boolean;
  /** How many. */
  readonly waitingBytes: number;
  /**
   * True: the kernel has taken all of the bytes. False: some wait, and the caller must not change them any more. Before `onOpen`
   * nothing may be written.
   */
  write(bytes: Uint8Array): boolean;
  pause(): void;
  resume(): void;
  /** Says whether the process stays alive for this socket; it does unless told otherwise. */
  keepAlive(isKept: boolean): void;
  /** Closes once what waits is sent. */
  end(): void;
  /** Closes at once. */
  destroy(): void;
}

export interface StreamListener {
  /** Accepts no more. */
  close(): void;
}

/** Returns the owner of a socket that was accepted. */
export type OnSocket = (socket: StreamSocket) => StreamSocketOwner;

/** Runs a function in which a unix socket is bound; the socket's file gets mode 0600. */
export function withPrivateUmask<T>(bind: () => T): T {
  const before = process.umask(0o177);
  try {
    return bind();
  } finally {
    process.umask(before);
  }
}
