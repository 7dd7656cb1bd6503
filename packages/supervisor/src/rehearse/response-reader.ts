/** Reads one HTTP/1.1 response from the bytes of a connection as they arrive: its head, its framing and its end. Pure. */

const MAX_HEAD_BYTES = 64 << 10;
const MAX_CHUNK_LINE = 1024;
/** How many bytes of a body are kept for comparison. */
const KEPT_BODY_BYTES = 64 << 10;

type Framing =
  | { kind: "none" }
  | { kind: "length"; left: number }
  | { kind: "chunked"; step: "size" | "data" | "end" | "trailers"; left: number; line: string }
  | { kind: "close" };

/** `broken`: what arrived is not an HTTP/1.1 response. */
type Progress = "more" | "done" | "broken";

export class ResponseReader {
  /** 0 until the head is complete. */
  status = 0;
  bodyBytes = 0;
  /** Whether the server leaves the connection open. */
  keepsAlive = false;
  /** Whether the server has announced when it closes the connection. */
  announcesClose = false;
  /** Whether any byte has arrived. */
  hasHeard = false;
  /** `name=value` of each cookie that the response sets. */
  readonly cookies: string[] = [];
  private head = "";
  private kept: Buffer[] = [];
  private framing: Framing | undefined;

  constructor(private readonly method: string) {}

  /** The beginning of the body. */
  get body(): string {
    return Buffer.concat(this.kept).toString("utf8");
  }

  push(bytes: Buffer): Progress {
    if (bytes.length > 0) this.hasHeard = true;
    let rest = bytes;
    while (this.framing === undefined) {
      const before = this.head.length;
      this.head += rest.toString("latin1");
      // The blank line may be split over two pieces.
      const end = this.head.indexOf("\r\n\r\n", Math.max(0, before - 3));
      if (end < 0) return this.head.length > MAX_HEAD_BYTES ? "broken" : "more";
      rest = rest.subarray(end + 4 - before);
      const head = this.head.slice(0, end);
      this.head = "";
      const framing = this.readHead(head);
      if (framing === undefined) return "broken";
      // An interim response precedes the final one.
      if (framing !== "interim") this.framing = framing;
    }
    return this.readBody(this.framing, rest);
  }

  /** Called when the server has closed the connection. */
  end(): Progress {
    return this.framing?.kind === "close" ? "done" : "broken";
  }

  private readHead(head: string): Framing | "interim" | undefined {
    const [statusLine = "", ...lines] = head.split("\r\n");
    const [, minor, status] = /^HTTP\/1\.([01]) (\d{3})(?: |$)/.exec(statusLine) ?? [];
    if (status === undefined) return undefined;
    const code = Number(status);
    if (code < 200 && code !== 101) return "interim";
    let length: number | undefined;
    let isChunked = false;
    let connection = "";
    let isStream = false;
    for (const line of lines) {
      const colon = line.indexOf(":");
      const value = line.slice(colon + 1).trim();
      switch (line.slice(0, colon).toLowerCase()) {
        case "content-length":
          length = Number(value);
          break;
        case "transfer-encoding":
          isChunked = /\bchunked$/i.test(value);
          break;
        case "connection":
          connection = value.toLowerCase();
          break;
        case "keep-alive":
          // A server that closes connections after a fraction of a second announces a time of 0.
          this.announcesClose ||= /\btimeout=[1-9]/i.test(value);
          break;
        case "content-type":
          isStream = /^text\/event-stream\b/i.test(value);
          break;
        case "set-cookie":
          this.cookies.push(value.split(";", 1)[0] ?? "");
          break;
      }
    }
    this.status = code;
    this.keepsAlive = minor === "1" ? !connection.includes("close") : connection.includes("keep-alive");
    this.announcesClose ||= !this.keepsAlive;
    if (this.method === "HEAD" || code === 204 || code === 304) return { kind: "none" };
    // An event stream never ends, and after an upgrade the connection does not carry HTTP any more.
    if (isStream || code === 101) {
      this.keepsAlive = false;
      return { kind: "none" };
    }
    if (isChunked) return { kind: "chunked", step: "size", left: 0, line: "" };
    if (length !== undefined)
      return Number.isSafeInteger(length) && length >= 0 ? { kind: "length", left: length } : undefined;
    this.keepsAlive = false;
    return { kind: "close" };
  }

  private readBody(framing: Framing, bytes: Buffer): Progress {
    switch (framing.kind) {
      case "none":
        return "done";
      case "length": {
        const part = bytes.subarray(0, framing.left);
        this.keep(part);
        framing.left -= part.length;
        return framing.left === 0 ? "done" : "more";
      }
      case "chunked":
        return this.readChunks(framing, bytes);
      case "close":
        this.keep(bytes);
        return "more";
      default:
        return framing satisfies never;
    }
  }

  private readChunks(framing: Framing & { kind: "chunked" }, bytes: Buffer): Progress {
    let at = 0;
    while (at < bytes.length) {
      if (framing.step === "data") {
        const part = bytes.subarray(at, at + framing.left);
        this.keep(part);
        at += part.length;
        framing.left -= part.length;
        if (framing.left === 0) framing.step = "end";
        continue;
      }
      const feed = bytes.indexOf(10, at);
      framing.line += bytes.toString("latin1", at, feed < 0 ? bytes.length : feed + 1);
      if (framing.line.length > MAX_CHUNK_LINE) return "broken";
      if (feed < 0) return "more";
      at = feed + 1;
      const line = framing.line.trimEnd();
      framing.line = "";
      if (framing.step === "trailers") {
        if (line === "") return "done";
      } else if (framing.step === "end") {
        if (line !== "") return "broken";
        framing.step = "size";
      } else {
        const [, size] = /^([0-9a-f]{1,12})\s*(?:;.*)?$/i.exec(line) ?? [];
        if (size === undefined) return "broken";
        framing.left = Number.parseInt(size, 16);
        framing.step = framing.left === 0 ? "trailers" : "data";
      }
    }
    return "more";
  }

  private keep(part: Buffer): void {
    if (this.bodyBytes < KEPT_BODY_BYTES) this.kept.push(part.subarray(0, KEPT_BODY_BYTES - this.bodyBytes));
    this.bodyBytes += part.length;
  }
}
