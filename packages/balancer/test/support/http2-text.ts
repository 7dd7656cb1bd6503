/**
 * Lets a test's client use HTTP/2. To the test it looks like an HTTP/1.1 connection, so that a rule is tested over both protocols with the
 * same text. It sends one request at a time. As over HTTP/1.1, the connection ends after an error response, or after the response to a
 * request with `Connection: close`.
 */

import { STATUS_CODES } from "node:http";
import http2 from "node:http2";
import type net from "node:net";
import { Duplex } from "node:stream";

/** Status codes after which HTTP/1.1 closes the connection, because the rest of the request may follow. */
const ENDING: ReadonlySet<number> = new Set([400, 408, 413, 414, 417, 431, 501]);
/** Hop-by-hop fields, and fields that HTTP/2 itself expresses. */
const LEFT_OUT = /^(?:host|connection|upgrade|transfer-encoding|keep-alive|proxy-connection|sec-websocket-key)$/;

type Body = { kind: "none" } | { kind: "length"; left: number } | { kind: "chunks" } | { kind: "tunnel" };

export class Http2Text extends Duplex {
  private readonly session: http2.ClientHttp2Session;
  private stream: http2.ClientHttp2Stream | undefined;
  private input = "";
  private body: Body = { kind: "none" };
  private isBodySent = true;
  private hasEnded = false;

  constructor(
    private readonly below: net.Socket,
    isSecure: boolean,
  ) {
    super({ allowHalfOpen: true });
    this.session = http2.connect(isSecure ? "https://a.test" : "http://a.test", { createConnection: () => below });
    this.session.on("connect", () => this.emit("connect"));
    this.session.on("error", (error) => this.destroy(error));
    this.session.on("close", () => this.over());
    below.on("error", () => {});
  }

  get localPort(): number | undefined {
    return this.below.localPort;
  }

  setNoDelay(): this {
    return this;
  }

  override _write(bytes: Buffer, _: string, done: () => void): void {
    this.input += bytes.toString("latin1");
    this.sendOn();
    done();
  }

  override _read(): void {
    this.stream?.resume();
  }

  override _final(done: () => void): void {
    this.stream?.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.session.destroy();
    this.below.destroy();
    done(error);
  }

  private over(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.push(null);
  }

  private sendOn(): void {
    while (!this.hasEnded) {
      if (this.isBodySent) {
        const end = this.input.indexOf("\r\n\r\n");
        if (end < 0 || this.stream !== undefined) return;
        const head = this.input.slice(0, end);
        this.input = this.input.slice(end + 4);
        this.request(head);
      } else if (!this.sendBody()) return;
    }
  }

  /** Returns whether anything was sent. */
  private sendBody(): boolean {
    const { stream, body, input } = this;
    if (stream === undefined || input === "") return false;
    switch (body.kind) {
      case "none":
        return false;
      case "tunnel":
        stream.write(input, "latin1");
        this.input = "";
        return true;
      case "length": {
        const piece = input.slice(0, body.left);
        this.input = input.slice(piece.length);
        body.left -= piece.length;
        stream.write(piece, "latin1");
        if (body.left === 0) this.endBody(stream);
        return true;
      }
      case "chunks": {
        const [line = "", size = ""] = /^([0-9a-f]+)\r\n/i.exec(input) ?? [];
        const bytes = Number.parseInt(size, 16);
        if (line === "" || input.length < line.length + bytes + 2) return false;
        if (bytes > 0) stream.write(input.slice(line.length, line.length + bytes), "latin1");
        else this.endBody(stream);
        this.input = input.slice(line.length + bytes + 2);
        return true;
      }
    }
  }

  private endBody(stream: http2.ClientHttp2Stream): void {
    this.isBodySent = true;
    stream.end();
  }

  private request(head: string): void {
    const [first = "", ...lines] = head.split("\r\n");
    const [method = "", target = "", version = ""] = first.split(" ");
    const fields: Record<string, string> = {};
    for (const line of lines) {
      const at = line.indexOf(":");
      fields[line.slice(0, at).toLowerCase()] = line.slice(at + 1).trim();
    }
    const upgrade = fields.upgrade;
    const length = fields["content-length"];
    this.body =
      upgrade !== undefined
        ? { kind: "tunnel" }
        : fields["transfer-encoding"] !== undefined
          ? { kind: "chunks" }
          : length === undefined || length === "0"
            ? { kind: "none" }
            : { kind: "length", left: Number(length) };
    this.isBodySent = this.body.kind === "none";
    const kept = Object.entries(fields).filter(([name]) => !LEFT_OUT.test(name));
    const isLast = version === "HTTP/1.0" || /close/i.test(fields.connection ?? "");
    const stream = this.session.request(
      {
        ":method": upgrade === undefined ? method : "CONNECT",
        ...(upgrade !== undefined && { ":protocol": upgrade }),
        ":path": target,
        ":authority": fields.host ?? "a",
        ...Object.fromEntries(kept),
      },
      { endStream: this.isBodySent },
    );
    this.stream = stream;
    this.respond(stream, { isLast, isUpgrade: upgrade !== undefined, isHead: method === "HEAD" });
  }

  private respond(
    stream: http2.ClientHttp2Stream,
    { isLast, isUpgrade, isHead }: { isLast: boolean; isUpgrade: boolean; isHead: boolean },
  ): void {
    let status = 0;
    let isWhole = false;
    let isChunked = false;
    const say = (headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader) => {
      const said = headers[":status"] ?? 0;
      if (said >= 200) status = said;
      const shown = isUpgrade && said === 200 ? 101 : said;
      const lines = Object.entries(headers).filter(([name]) => !name.startsWith(":"));
      if (ENDING.has(said)) lines.push(["connection", "close"]);
      isChunked =
        said >= 200 && !isUpgrade && !isHead && headers["content-length"] === undefined && !/[23]04/.test(`${said}`);
      if (isChunked) lines.push(["transfer-encoding", "chunked"]);
      this.push(
        [`HTTP/1.1 ${shown} ${STATUS_CODES[shown] ?? ""}`, ...lines.map(([name, value]) => `${titled(name)}: ${value}`)]
          .join("\r\n")
          .concat("\r\n\r\n"),
        "latin1",
      );
    };
    stream.on("headers", say);
    stream.on("response", say);
    stream.on("data", (bytes: Buffer) => {
      const size = Buffer.from(isChunked ? `${bytes.length.toString(16)}\r\n` : "");
      if (!this.push(Buffer.concat([size, bytes, Buffer.from(isChunked ? "\r\n" : "")]))) stream.pause();
    });
    stream.on("end", () => {
      isWhole = status > 0;
      if (isChunked) this.push("0\r\n\r\n");
    });
    stream.on("error", () => {});
    stream.on("close", () => {
      this.stream = undefined;
      this.isBodySent = true;
      if (this.hasEnded) return;
      if (!isWhole || (stream.rstCode !== 0 && status === 0))
        return void this.destroy(new Error(`reset ${stream.rstCode}`));
      if (!isLast && !isUpgrade && !ENDING.has(status)) return this.sendOn();
      this.over();
      this.session.close();
    });
  }
}

function titled(name: string): string {
  return name.replace(/(?:^|-)[a-z]/g, (letter) => letter.toUpperCase());
}
