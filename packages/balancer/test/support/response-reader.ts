/** Parses the HTTP/1.1 response that a test writes for its upstream. Pure. */

export interface ResponseSink {
  /** A head, also of a 1xx response. `length` is absent without Content-Length; with `isWhole` no body follows. */
  head(status: number, reason: string, lines: string, length: number | undefined, isWhole: boolean): void;
  body(bytes: Buffer): void;
  /**
   * Called when the body is complete.
   * @param trailers as lines
   */
  last(trailers?: string): void;
  /** Called when the response ended too early. */
  fail(): void;
}

type State = "head" | "length" | "chunked" | "to the end" | "done";

export class ResponseReader {
  private state: State = "head";
  /** The received part of a head or chunk. */
  private rest: Buffer = Buffer.alloc(0);
  private owed = 0;

  constructor(
    private readonly isHeadRequest: boolean,
    private readonly sink: ResponseSink,
  ) {}

  /** Bytes after a response's end are ignored. */
  write(bytes: Buffer): void {
    switch (this.state) {
      case "head":
        return this.readHead(Buffer.concat([this.rest, bytes]));
      case "length":
        return this.readLength(bytes);
      case "chunked":
        return this.readChunks(Buffer.concat([this.rest, bytes]));
      case "to the end":
        return this.sink.body(bytes);
      case "done":
        return;
    }
  }

  end(): void {
    const { state } = this;
    this.state = "done";
    if (state === "to the end") this.sink.last();
    else if (state !== "done") this.sink.fail();
  }

  private readHead(bytes: Buffer): void {
    this.rest = bytes;
    const end = bytes.indexOf("\r\n\r\n");
    if (end < 0) return;
    const [first = "", ...fields] = bytes.toString("latin1", 0, end).split("\r\n");
    const [, status, reason] = /^HTTP\/1\.1 (\d{3}) (.*)$/.exec(first) ?? [];
    if (status === undefined) throw new Error(`a test's answer that cannot be told over a lane: ${first}`);
    const after = bytes.subarray(end + 4);
    this.rest = Buffer.alloc(0);
    this.begin(Number(status), reason as string, fields);
    if (after.length > 0) this.write(after);
  }

  private begin(status: number, reason: string, fields: string[]): void {
    const value = (name: string) =>
      fields
        .find((line) => line.toLowerCase().startsWith(`${name}:`))
        ?.slice(name.length + 1)
        .trim();
    const lines = [...fields, "", ""].join("\r\n");
    if (status < 200 && status !== 101) return this.sink.head(status, reason, lines, undefined, false);
    const told = value("content-length");
    const length = told === undefined ? undefined : Number(told);
    const isWhole = this.isHeadRequest || status === 204 || status === 304 || length === 0;
    this.owed = length ?? 0;
    if (isWhole) this.state = "done";
    else if (value("transfer-encoding") === "chunked") this.state = "chunked";
    else this.state = length === undefined || status === 101 ? "to the end" : "length";
    this.sink.head(status, reason, lines, length, isWhole);
  }

  private readLength(bytes: Buffer): void {
    const piece = bytes.subarray(0, this.owed);
    this.owed -= piece.length;
    this.sink.body(piece);
    if (this.owed > 0) return;
    this.state = "done";
    this.sink.last();
  }

  private readChunks(bytes: Buffer): void {
    for (this.rest = bytes; ; ) {
      const line = this.rest.indexOf("\r\n");
      if (line < 0) return;
      const size = Number.parseInt(this.rest.toString("latin1", 0, line), 16);
      if (size === 0) {
        const end = this.rest.indexOf("\r\n\r\n");
        if (end < 0) return;
        this.state = "done";
        return this.sink.last(this.rest.toString("latin1", line + 2, Math.max(end, line) + 2));
      }
      const end = line + 2 + size;
      if (this.rest.length < end + 2) return;
      this.sink.body(this.rest.subarray(line + 2, end));
      this.rest = this.rest.subarray(end + 2);
    }
  }
}
