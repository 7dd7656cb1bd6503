/** The seam between a lane and the runtime's unix sockets, as the instance has them. */

import { listenOnBun } from "./lane-socket-bun.js";

export interface LaneSocketOwner {
  /** The bytes are the owner's to keep. */
  onData(bytes: Buffer): void;
  /** All that was written has been taken by the kernel, after a `write` that answered false. */
  onDrain(): void;
  onClose(): void;
}

export interface LaneSocket {
  /** Whether bytes wait that the kernel has not taken. */
  readonly isBlocked: boolean;
  /** True: the kernel has taken all of the bytes. False: some wait, and the caller must not change them any more. */
  write(bytes: Uint8Array): boolean;
  pause(): void;
  resume(): void;
  /** Closes once what waits is sent. */
  end(): void;
  /** Closes at once. */
  destroy(): void;
}

export interface LaneListener {
  /** Accepts no more. */
  close(): void;
}

export type OnLane = (socket: LaneSocket) => LaneSocketOwner;

/** Listens on a unix socket with mode 0600. @throws what the runtime has to say when it cannot */
export async function listenForLanes(path: string, onLane: OnLane): Promise<LaneListener> {
  if (process.versions.bun !== undefined) return listenOnBun(path, onLane);
  return (await import("./lane-socket-node.js")).listenOnNode(path, onLane);
}
