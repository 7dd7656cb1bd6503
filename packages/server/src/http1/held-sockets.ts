/** Keeps sockets of node:http from being read for as long as anyone has a reason, whatever node:http itself would do meanwhile. */
import type { Socket } from "node:net";

interface Hold {
  reasons: number;
  /** What node:http wants. */
  isRead: boolean;
}

const holds = new WeakMap<Socket, Hold>();

export function holdSocket(socket: Socket): void {
  const known = holds.get(socket);
  if (known !== undefined) {
    known.reasons++;
    return;
  }
  const hold = { reasons: 1, isRead: !socket.isPaused() };
  holds.set(socket, hold);
  socket.pause();
  socket.pause = () => {
    hold.isRead = false;
    return socket;
  };
  socket.resume = () => {
    hold.isRead = true;
    return socket;
  };
}

export function releaseSocket(socket: Socket): void {
  const hold = holds.get(socket);
  if (hold === undefined || --hold.reasons > 0) return;
  holds.delete(socket);
  const own = socket as Partial<Socket>;
  delete own.pause;
  delete own.resume;
  if (hold.isRead) socket.resume();
}
