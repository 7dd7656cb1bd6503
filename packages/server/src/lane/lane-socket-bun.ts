/** Lane sockets on Bun, whose `write` takes part of the bytes and keeps none. */
import { leaveToCollector } from "@paceline/wire";
import { withPrivateUmask } from "../process/unix-socket.js";
import type { LaneListener, LaneSocket, LaneSocketOwner, OnLane } from "./lane-socket.js";

type State = "open" | "ending" | "closed";

class BunLaneSocket implements LaneSocket {
  owner: LaneSocketOwner | undefined;
  private waiting: Buffer | undefined;
  private state: State = "open";

  constructor(private readonly socket: Bun.Socket<BunLaneSocket>) {}

  get isBlocked(): boolean {
    return this.waiting !== undefined;
  }

  write(bytes: Uint8Array): boolean {
    if (this.state !== "open") return true;
    if (this.waiting !== undefined) {
      this.waiting = Buffer.concat([this.waiting, bytes]);
      return false;
    }
    // Negative when the peer is gone; `close` follows.
    const taken = Math.max(this.socket.write(bytes), 0);
    if (taken === bytes.length) return true;
    this.waiting = bytes.subarray(taken) as Buffer;
    return false;
  }

  flush(): void {
    const { waiting } = this;
    if (waiting === undefined) return;
    const taken = Math.max(this.socket.write(waiting), 0);
    this.waiting = taken === waiting.length ? undefined : waiting.subarray(taken);
    if (this.waiting !== undefined) return;
    if (this.state === "ending") this.socket.end();
    else if (this.state === "open") this.owner?.onDrain();
  }

  pause(): void {
    if (this.state === "open") this.socket.pause();
  }

  resume(): void {
    if (this.state === "open") this.socket.resume();
  }

  end(): void {
    if (this.state !== "open") return;
    this.state = "ending";
    if (this.waiting === undefined) this.socket.end();
  }

  destroy(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.waiting = undefined;
    this.socket.terminate();
  }

  closed(): void {
    this.state = "closed";
    this.waiting = undefined;
    this.owner?.onClose();
    this.owner = undefined;
  }
}

export function listenOnBun(path: string, onLane: OnLane): LaneListener {
  const listener = withPrivateUmask(() =>
    Bun.listen<BunLaneSocket>({
      unix: path,
      socket: {
        open(socket) {
          // Bun arms 120 s on every socket that it accepts.
          socket.timeout(0);
          const lane = new BunLaneSocket(socket);
          socket.data = lane;
          lane.owner = onLane(lane);
        },
        data(socket, bytes) {
          socket.data.owner?.onData(bytes);
          leaveToCollector(bytes.length);
        },
        drain: (socket) => socket.data.flush(),
        close: (socket) => socket.data.closed(),
        // `close` follows.
        error() {},
      },
    }),
  );
  return { close: () => listener.stop() };
}
