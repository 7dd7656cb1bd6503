/** Frames answers for an HTTP/1 client: which framing its version takes, and whether the connection can be kept after it. */
import type { HeadWriter } from "../http1/head-writer.js";
import type { Framing } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import type { Connection } from "../transport/transport.js";

const CONTINUE = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");

export class Http1Answer {
  /** Of the request that is answered. */
  minorVersion: 0 | 1 = 1;
  private framing: Framing = "none";

  constructor(
    private readonly writer: HeadWriter,
    private readonly connection: Connection,
  ) {}

  /** A 1xx; HTTP/1.0 knows none (RFC 9110 §15.2). False as with `body`. */
  interim(head: ResponseHead): boolean {
    if (this.minorVersion === 0) return true;
    this.writer.response(this.connection, head, "none", true, this.minorVersion);
    return this.writer.flush(this.connection);
  }

  continue(): void {
    if (this.minorVersion === 1) this.connection.write(CONTINUE);
  }

  /** Builds the head; answers with whether the connection outlives this answer, which needs `mayKeep` too. */
  head(head: ResponseHead, mayKeep: boolean): boolean {
    this.framing = this.framingOf(head);
    const keepAlive = mayKeep && this.framing !== "close";
    this.writer.response(this.connection, head, this.framing, keepAlive, this.minorVersion);
    return keepAlive;
  }

  private framingOf(head: ResponseHead): Framing {
    if (head.status === 101) return "close";
    switch (head.framing) {
      case "none":
      case "length":
        return head.framing;
      case "chunked":
      case "close":
        return this.minorVersion === 1 ? "chunked" : "close";
    }
  }

  /** False: some of it waits for the connection's drain. */
  body(bytes: Uint8Array, start: number, end: number): boolean {
    return this.framing === "chunked"
      ? this.writer.chunk(this.connection, bytes, start, end)
      : this.writer.body(this.connection, bytes, start, end);
  }

  /** Sends what one turn brought; false as with `body`. */
  flush(): boolean {
    return this.writer.flush(this.connection);
  }

  /** Whether the response that was begun could be dropped, since nothing of it has left. */
  takeBack(): boolean {
    return this.writer.takeBack(this.connection);
  }

  end(): void {
    if (this.framing === "chunked") this.writer.lastChunk(this.connection);
    this.writer.flush(this.connection);
  }
}
