/** Cuts the clients of node:http that take nothing of what they are sent: it has no deadline for that. */
import type { Socket } from "node:net";
import { SlowReader, SocketAcknowledgements } from "@paceline/wire";

const MAX_LOOK_MS = 1000;

/** A client for which bytes wait. */
interface Blocked {
  reader: SlowReader;
  lookAtMs: number;
}

export class SendWatch {
  /** All connections; undefined where nothing waits. */
  private readonly sockets = new Map<Socket, Blocked | undefined>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly timeoutMs: number) {}

  add(socket: Socket): void {
    this.sockets.set(socket, undefined);
    socket.once("close", () => this.sockets.delete(socket));
    if (this.timer !== undefined) return;
    this.timer = setInterval(() => this.look(performance.now()), Math.min(MAX_LOOK_MS, this.timeoutMs / 4));
    this.timer.unref();
  }

  private look(now: number): void {
    for (const [socket, blocked] of this.sockets) {
      if (socket.writableLength === 0) {
        if (blocked !== undefined) this.sockets.set(socket, undefined);
      } else if (blocked === undefined) {
        const reader = new SlowReader(new SocketAcknowledgements(socket), this.timeoutMs);
        this.sockets.set(socket, { reader, lookAtMs: reader.begin(now) });
      } else if (blocked.lookAtMs <= now) {
        blocked.lookAtMs = blocked.reader.look(now);
        if (blocked.lookAtMs === 0) socket.destroy();
      }
    }
    if (this.sockets.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }
}
