/** One child's connection to channel.sock: lines out with a bound on what waits, and the child it was welcomed as. */
import type { Socket } from "node:net";
import type { SupervisorMessage } from "@paceline/wire";

/** A child that reads so slowly is of no use; it connects again and hears the present state. */
const MAX_WAITING_BYTES = 8 << 20;

export class ChannelConnection {
  constructor(private readonly socket: Socket) {}

  send(message: SupervisorMessage): void {
    if (this.socket.destroyed) return;
    this.socket.write(`${JSON.stringify(message)}\n`);
    if (this.socket.writableLength > MAX_WAITING_BYTES) this.socket.destroy();
  }

  /** Says why, and ends. */
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
