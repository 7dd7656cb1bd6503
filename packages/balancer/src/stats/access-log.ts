/** The access log of a balancer: lines gather in memory and go out in large writes, one at a time; what comes faster is lost and counted. */
import { write, writeSync } from "node:fs";
import type { SavedHead } from "../exchange/saved-head.js";
import type { Forwarded, Peer } from "../http1/forwarded.js";
import { RequestHead, type RequestHeadLimits } from "../http1/request-head.js";
import { MAX_LINE_BYTES, writeAccessLine } from "./access-line.js";

/** Of each of two buffers: one that is filled, one that is written. */
const BUFFER_BYTES = 1 << 20;
/** Lines wait for others for so long. */
const FLUSH_AFTER_MS = 100;
/** With so much they do not. */
const FLUSH_AT_BYTES = 256 << 10;

export class AccessLog {
  private readonly head: RequestHead;
  private filled: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  private spare: Buffer | undefined = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  private length = 0;
  private lost = 0;
  private timer: NodeJS.Timeout | undefined;

  /** @param fd a file to which every write is appended. */
  constructor(
    private readonly fd: number,
    private readonly forwarded: Forwarded,
    limits: RequestHeadLimits,
  ) {
    this.head = new RequestHead(limits);
  }

  /** A request has ended. `status` is what its client got, 499 where it left before. */
  request(
    kept: SavedHead,
    peer: Peer,
    status: number,
    bytes: number,
    durationMs: number,
    upstream: string | undefined,
  ): void {
    const { head } = this;
    const start = kept.parseOriginal(head);
    const known = start < 0 ? undefined : head;
    const client = known === undefined || !peer.isTrusted ? peer.node : this.forwarded.fields(known, peer).client;
    this.add({ timeMs: Date.now() - durationMs, client, head: known, start, status, bytes, durationMs, upstream });
  }

  /** Something that could not be read as a request, or one beyond what may be connected. */
  refused(peer: Peer, status: number, bytes: number): void {
    const timeMs = Date.now();
    const nothing = { head: undefined, start: 0, bytes, durationMs: 0, upstream: undefined };
    this.add({ ...nothing, timeMs, client: peer.node, status });
  }

  private add(entry: Parameters<typeof writeAccessLine>[0]): void {
    if (this.length + MAX_LINE_BYTES > this.filled.length) {
      this.lost++;
      return;
    }
    this.length = writeAccessLine(entry, this.filled, this.length);
    if (this.length >= FLUSH_AT_BYTES) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS);
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    // One write at a time; its end begins the next.
    if (this.spare === undefined || this.length === 0) return;
    const { filled, length } = this;
    this.filled = this.spare;
    this.spare = undefined;
    this.length = 0;
    if (this.lost > 0) this.tellLost();
    this.write(filled, 0, length);
  }

  private write(buffer: Buffer, from: number, to: number): void {
    write(this.fd, buffer, from, to - from, null, (error, written) => {
      // A full disk: what was to be written is gone.
      if (error !== null) this.lost += countLines(buffer, from, to);
      else if (from + written < to) return this.write(buffer, from + written, to);
      this.spare = buffer;
      if (this.length >= FLUSH_AT_BYTES) this.flush();
      else if (this.length > 0) this.timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS);
    });
  }

  private tellLost(): void {
    const text = `access log: ${this.lost} lines were lost, they could not be written in time\n`;
    this.length += this.filled.write(text, this.length, "latin1");
    this.lost = 0;
  }

  /** Writes what is left, before the process ends. */
  close(): void {
    clearTimeout(this.timer);
    if (this.lost > 0 && this.length + MAX_LINE_BYTES <= this.filled.length) this.tellLost();
    try {
      writeSync(this.fd, this.filled, 0, this.length);
    } catch {
      // A full disk; nobody is left to be told.
    }
    this.length = 0;
  }
}

function countLines(buffer: Buffer, from: number, to: number): number {
  let lines = 0;
  for (let at = buffer.indexOf(10, from); at >= 0 && at < to; at = buffer.indexOf(10, at + 1)) lines++;
  return lines;
}
