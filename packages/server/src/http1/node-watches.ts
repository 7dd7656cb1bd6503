/** Watches node:http clients for two cases: they stop reading, or they leave while nobody reads their body. */

import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { RunningTime, SlowReader, SocketAcknowledgements } from "@paceline/wire";
import { UnreadBodies, type UnreadBody } from "./body-watch.js";
import { endConnection } from "./node-responses.js";

const MAX_LOOK_MS = 1000;

/** A client with queued bytes. */
interface Blocked {
  reader: SlowReader;
  lookAtMs: number;
}

export class SendWatch {
  /** All connections; undefined if nothing is queued. */
  private readonly sockets = new Map<Socket, Blocked | undefined>();
  private timer: NodeJS.Timeout | undefined;
  private readonly time = new RunningTime();
  private readonly everyMs: number;

  constructor(private readonly timeoutMs: number) {
    this.everyMs = Math.min(MAX_LOOK_MS, timeoutMs / 4);
  }

  add(socket: Socket): void {
    this.sockets.set(socket, undefined);
    socket.once("close", () => this.sockets.delete(socket));
    if (this.timer !== undefined) return;
    this.time.restart();
    this.timer = setInterval(() => this.look(), this.everyMs);
    this.timer.unref();
  }

  private look(): void {
    if (!this.time.count(performance.now(), this.everyMs)) return;
    const { now } = this.time;
    for (const [socket, blocked] of this.sockets) {
      if (socket.writableLength === 0) {
        if (blocked !== undefined) this.sockets.set(socket, undefined);
      } else if (blocked === undefined) {
        const reader = new SlowReader(new SocketAcknowledgements(socket), this.timeoutMs);
        this.sockets.set(socket, { reader, lookAtMs: reader.begin(now) });
      } else if (blocked.lookAtMs <= now) {
        blocked.lookAtMs = blocked.reader.look(now);
        if (blocked.lookAtMs === 0) endConnection(socket);
      }
    }
    if (this.sockets.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }
}

/** The maximum number of connections that are identified in one check. */
const MAX_SOUGHT = 256;

const NOTHING = new Uint8Array(0);

interface UnreadRequest extends UnreadBody {
  readonly socket: Socket;
  acknowledgements?: SocketAcknowledgements;
  /** On Bun, once known. */
  descriptor: number | undefined;
}

/** Watches unread bodies of node:http, so that a leaving client ends its request. */
export class UnreadRequests {
  private readonly bodies = new UnreadBodies<UnreadRequest>(
    process.versions.bun === undefined ? closeLeftOnNode : closeLeftOnBun,
  );

  /** Node notices that a client leaves only while it reads the connection, and it stops reading when the stream pauses. */
  watch(request: IncomingMessage): void {
    const { socket, _read: read, push } = request;
    const body: UnreadRequest = { unreadSince: Number.POSITIVE_INFINITY, socket, descriptor: undefined };
    const held = this.bodies.add(body);
    request._read = function readUnwatched(size: number): void {
      body.unreadSince = Number.POSITIVE_INFINITY;
      read.call(request, size);
    };
    request.push = (chunk: Buffer | null): boolean => {
      const takesMore = push.call(request, chunk);
      body.unreadSince = takesMore ? Number.POSITIVE_INFINITY : performance.now();
      if (chunk === null) this.bodies.delete(held);
      return takesMore;
    };
    request.once("close", () => this.bodies.delete(held));
  }
}

function closeLeftOnNode(unread: UnreadRequest[]): void {
  for (const body of unread) {
    const { socket } = body;
    // An empty write fails if the client has left.
    socket.write(NOTHING, (error) => {
      if (error) socket.destroy();
    });
    body.acknowledgements ??= new SocketAcknowledgements(socket);
    if (body.acknowledgements.hasPeerEnded) endConnection(socket);
  }
}

async function closeLeftOnBun(unread: UnreadRequest[], isUnread: (body: UnreadRequest) => boolean): Promise<void> {
  const { whoLeft } = await import("./bun-descriptors.js");
  const left = new Set(whoLeft());
  if (left.size === 0) return;
  const { descriptorsOfPaused } = await import("./bun-descriptors.js");
  const sought = unread.filter((body) => body.descriptor === undefined && isUnread(body)).slice(0, MAX_SOUGHT);
  const sockets = sought.map(({ socket }) => socket);
  for (const [at, descriptor] of descriptorsOfPaused(sockets).entries())
    (sought[at] as UnreadRequest).descriptor = descriptor;
  // A resumed socket continues in the next tick.
  setImmediate(() => {
    for (const body of sought) if (isUnread(body)) body.socket.pause();
  });
  for (const body of unread)
    if (body.descriptor !== undefined && left.has(body.descriptor) && isUnread(body)) endConnection(body.socket);
}
