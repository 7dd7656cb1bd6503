/** The same kinds of clients over HTTP/2, each with a separate connection. */
import http2 from "node:http2";
import { Duplex, PassThrough } from "node:stream";
import { Client, EVERY_MS, UPLOAD_PIECE } from "./clients.mjs";

class Http2Client extends Client {
  constructor(name, place, fields, isWhole = true) {
    super(`${name} over HTTP/2`, { ...place, fields, isWhole });
  }

  connect({ port, fields, isWhole }) {
    this.session = http2.connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
    this.session.on("error", (error) => this.over(error.code));
    this.session.on("goaway", (code) => this.over(`GOAWAY ${code}`));
    this.session.on("close", () => this.over("close"));
    return this.ask(fields, isWhole);
  }

  ask(fields, isWhole) {
    return this.session.request(fields, { endStream: isWhole });
  }

  destroy() {
    super.destroy();
    this.session.destroy();
  }
}

class Events extends Http2Client {
  constructor(place, path) {
    super("events", place, { ":path": `${path}/events?everyMs=${EVERY_MS}` });
  }
  lack() {
    return this.lackOf("data: tick");
  }
}

class Kept extends Http2Client {
  constructor(place, path) {
    super("kept connection", place, { ":path": `${path}/` });
    this.every(EVERY_MS, () => this.ask({ ":path": `${path}/` }));
  }
  /** The text of all responses together. */
  ask(fields) {
    this.responses ??= new PassThrough();
    const stream = super.ask(fields, true);
    stream.on("error", (error) => this.over(error.code));
    stream.on("data", (piece) => this.responses.write(piece));
    return this.responses;
  }
  lack() {
    return this.lackOf("hello");
  }
}

class Tunnel extends Http2Client {
  constructor(place, path) {
    super("WebSocket", place, {});
    this.every(EVERY_MS, () => this.socket.write("<message>"));
    this.path = path;
  }
  /** An extended CONNECT (RFC 8441) may only be sent when the server's settings allow it. */
  ask() {
    let stream;
    const both = new Duplex({
      read() {},
      write(piece, _, done) {
        stream?.write(piece);
        done();
      },
    });
    this.session.once("remoteSettings", () => {
      const fields = { ":method": "CONNECT", ":protocol": "websocket", ":path": `${this.path}/echo` };
      stream = super.ask({ ...fields, "sec-websocket-version": "13" }, false);
      stream.on("error", (error) => this.over(error.code));
      stream.on("close", () => this.over("the end of the stream"));
      stream.on("data", (piece) => both.push(piece));
    });
    return both;
  }
  lack() {
    return this.lackOf("<message>");
  }
}

class Upload extends Http2Client {
  sent = 0;
  constructor(place, path, seconds) {
    const length = UPLOAD_PIECE.length * Math.ceil((seconds * 1000) / EVERY_MS + 10);
    super("slow upload", place, { ":method": "POST", ":path": `${path}/upload`, "content-length": length }, false);
    this.length = length;
    this.every(EVERY_MS, () => this.send(UPLOAD_PIECE));
  }
  send(text) {
    this.sent += text.length;
    this.socket.write(text);
  }
  lack() {
    return this.text === "" ? undefined : `answered early: ${this.text.slice(0, 60)}`;
  }
  async finish() {
    clearInterval(this.timer);
    this.socket.end("x".repeat(this.length - this.sent));
    if (!(await this.until(() => this.text.endsWith(`${this.length} bytes`))))
      return `was answered: ${this.text.slice(0, 200)}`;
  }
}

/** Reads a fixed number of bytes at a time, so that the window of its stream opens slowly. */
class Reader extends Http2Client {
  constructor(place, path, bytes, everyMs) {
    super(`reader of ${bytes} bytes every ${everyMs} ms`, place, { ":path": `${path}/body?bytes=30000000` });
    this.rate = (bytes / everyMs) * 1000;
    this.socket.pause();
    this.every(everyMs, () => this.socket.read(bytes));
  }
  /** A loaded machine makes it slower, but not ten times. */
  lack() {
    const least = ((performance.now() - this.startedAt) / 1000) * this.rate * 0.1;
    return this.bytes > least ? undefined : `read ${this.bytes} bytes only`;
  }
}

/** Returns one client of each kind for a pool. */
export function http2ClientsOf(place, { path, upgrades }, seconds) {
  const kinds = [Events, Kept, Upload, ...(upgrades ? [Tunnel] : [])];
  return [...kinds.map((Kind) => new Kind(place, path, seconds)), new Reader(place, path, 1000, 50)];
}
