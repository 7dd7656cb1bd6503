/** A child's connection to channel.sock: a bounded send queue, and the child it belongs to. */
import type { Socket } from "node:net";
import type { SupervisorMessage } from "@paceline/wire";

/** A child that reads this slowly is disconnected; it reconnects and receives the current state. */
const MAX_WAITING_BYTES = 8 << 20;

export class ChannelConnection {
  constructor(private readonly socket: Socket) {}

  send(message: SupervisorMessage): void {
    if (this.socket.destroyed) return;
    this.socket.write(`${JSON.stringify(message)}\n`);
    if (this.socket.writableLength > MAX_WAITING_BYTES) this.socket.destroy();
  }

  /** Sends the reason, then closes the connection. */
  refuse(reason: string): void {
    this.send({ type: "refused", reason });
    this.close();
  }

  close(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }
}
