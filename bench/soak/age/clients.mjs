/** Clients with long-lived connections; each reports its own problem, if any. */
import net from "node:net";
import tls from "node:tls";

export const EVERY_MS = 5000;
/** Above `minBodyBytesPerSecond`. */
export const UPLOAD_PIECE = "0123456789".repeat(250);
const TAIL_BYTES = 3_000_000;
const UPGRADE = "Connection: Upgrade\r\nUpgrade: age\r\n\r\n";

export class Client {
  bytes = 0;
  text = "";
  end;
  timer;
  finished = false;

  constructor(name, place, target, onread) {
    this.name = name;
    this.target = target;
    this.startedAt = performance.now();
    this.socket = this.connect(place, onread);
    this.socket.on("data", (piece) => this.take(piece));
    this.socket.on("end", () => this.over("FIN"));
    this.socket.on("error", (error) => this.over(error.code));
    this.socket.on("close", () => this.over("close"));
  }

  connect({ isSecure = false, ...place }, onread) {
    const options = { ...place, allowHalfOpen: true, ...(onread === undefined ? {} : { onread }) };
    return isSecure ? tls.connect({ ...options, rejectUnauthorized: false }) : net.connect(options);
  }

  take(piece) {
    this.bytes += piece.length;
    // Only heads and short responses are checked.
    if (this.text.length < 100_000) this.text += piece.toString("latin1");
  }

  over(how) {
    this.end ??= `${how} after ${((performance.now() - this.startedAt) / 1000).toFixed(1)} s`;
  }

  every(milliseconds, action) {
    this.timer = setInterval(() => {
      if (this.end === undefined) action();
    }, milliseconds);
  }

  /** Finishes the client when the soak is over. */
  async finish() {}

  /** Returns the client's problem during the soak. */
  problem() {
    return this.end === undefined ? this.lack() : `ended by ${this.end}: ${this.text.slice(0, 60)}`;
  }

  /** Returns what should have arrived by now but has not. */
  lack() {}

  get rounds() {
    return Math.floor((performance.now() - this.startedAt) / EVERY_MS);
  }

  async until(holds) {
    for (const deadline = performance.now() + 10_000; !holds() && performance.now() < deadline; )
      await new Promise((resolve) => setTimeout(resolve, 20));
    return holds();
  }

  destroy() {
    clearInterval(this.timer);
    this.socket.destroy();
  }

  /** Allows one round fewer than the elapsed time, because the last round may be in progress. */
  lackOf(what, per = 1) {
    const count = this.text.split(what).length - 1;
    return count >= (this.rounds - 2) * per ? undefined : `${count} × ${JSON.stringify(what)} in ${this.rounds} rounds`;
  }
}

class Events extends Client {
  constructor(place, path) {
    super("events", place);
    this.socket.write(`GET ${path}/events?everyMs=${EVERY_MS} HTTP/1.1\r\nHost: a\r\n\r\n`);
  }
  lack() {
    return this.lackOf("data: tick");
  }
}

class Kept extends Client {
  constructor(place, path) {
    super("kept connection", place);
    const ask = () => this.socket.write(`GET ${path}/ HTTP/1.1\r\nHost: a\r\n\r\n`);
    ask();
    this.every(EVERY_MS, ask);
  }
  lack() {
    return this.lackOf("hello");
  }
}

class Tunnel extends Client {
  constructor(place, path) {
    super("tunnel", place);
    this.socket.write(`GET ${path}/echo HTTP/1.1\r\nHost: a\r\n${UPGRADE}`);
    this.every(EVERY_MS, () => this.socket.write("<message>"));
  }
  lack() {
    return this.lackOf("<message>");
  }
}

class Upload extends Client {
  sent = 0;
  constructor(place, path, seconds) {
    super("slow upload", place);
    this.length = UPLOAD_PIECE.length * Math.ceil((seconds * 1000) / EVERY_MS + 10);
    this.socket.write(`POST ${path}/upload HTTP/1.1\r\nHost: a\r\nContent-Length: ${this.length}\r\n\r\n`);
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
    this.send("x".repeat(this.length - this.sent));
    if (!(await this.until(() => this.text.endsWith(`${this.length} bytes`))))
      return `was answered: ${this.text.slice(0, 200)}`;
  }
}

/** More than the client reads. */
const LONG = "bytes=30000000 HTTP/1.1\r\nHost: a\r\n\r\n";
/** The kernel holds most of the response: the app finishes immediately, the connection is closing, and the balancer holds the rest. */
const CLOSING = "bytes=5000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/** Reads a fixed number of bytes at a time. */
class Reader extends Client {
  constructor(place, path, request, bytes, everyMs) {
    const buffer = Buffer.alloc(bytes);
    const onread = {
      buffer,
      callback: (size) => {
        this.take(buffer.subarray(0, size));
        setTimeout(() => this.socket.resume(), everyMs);
        return false;
      },
    };
    const name = `reader of ${bytes} bytes every ${everyMs} ms of ${request.split(" ")[0]}`;
    // A TLS socket passes everything that it has decrypted to such a buffer.
    super(name, place, path, place.isSecure ? undefined : onread);
    if (place.isSecure) {
      this.socket.pause();
      this.every(everyMs, () => this.socket.read(bytes));
    }
    this.rate = (bytes / everyMs) * 1000;
    this.socket.write(`GET ${path}/body?${request}`);
  }
  /** A loaded machine makes it slower, but not ten times. */
  lack() {
    const least = ((performance.now() - this.startedAt) / 1000) * this.rate * 0.1;
    return this.bytes > least ? undefined : `read ${this.bytes} bytes only`;
  }
}

/** Sends everything and a FIN; its tunnel then sends a little at a time, and much at the end. */
class HalfClosed extends Client {
  constructor(place, path, seconds) {
    super("half-closed tunnel", place);
    this.socket.write(`GET ${path}/tail?everyMs=${EVERY_MS}&forMs=${seconds * 1000} HTTP/1.1\r\nHost: a\r\n${UPGRADE}`);
    this.socket.once("data", () => this.socket.end("a".repeat(100_000)));
  }
  lack() {
    return this.lackOf("tick");
  }
  async finish() {
    const isWhole = () => this.end !== undefined && this.bytes > TAIL_BYTES;
    if (!(await this.until(isWhole)) || !this.end.startsWith("FIN"))
      return `its tail was ${this.bytes} bytes, ended by ${this.end}`;
  }
}

const UPGRADING = [Tunnel, HalfClosed];

/** Returns one client of each kind for a pool. */
export function clientsOf(place, pool, seconds) {
  const { path } = pool;
  const kinds = [Events, Kept, Upload, ...(pool.upgrades ? UPGRADING : [])];
  return [
    ...kinds.map((Kind) => new Kind(place, path, seconds)),
    new Reader(place, path, LONG, 1000, 50),
    new Reader(place, path, CLOSING, 500, 50),
    ...(pool.readsSlowest ? [new Reader(place, path, LONG, 1000, 1000)] : []),
  ];
}
