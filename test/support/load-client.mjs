/** A load client in a separate process: raw sockets, every response checked, each kind of failure counted. */
import net from "node:net";
import process from "node:process";

/** See LoadOptions in load.ts. */
const options = JSON.parse(process.argv[2] ?? "{}");
const MAX_RESPONSE_BYTES = 1 << 20;
const MAX_NOTES = 20;
const PAUSE_AFTER_FAILURE_MS = 5;

const counts = {
  ok: 0,
  non2xx: 0,
  resets: 0,
  refused: 0,
  truncated: 0,
  malformed: 0,
  timeouts: 0,
  clientErrors: 0,
  connections: 0,
  statuses: {},
  byInstance: {},
  notes: [],
};
const keepAlive = options.mode === "keep-alive";
const request = Buffer.from(
  `GET ${options.path} HTTP/1.1\r\nHost: ${options.host}:${options.port}\r\n${keepAlive ? "" : "Connection: close\r\n"}\r\n`,
);

let stopping = false;
let running = options.clients;

function note(text) {
  if (counts.notes.length < MAX_NOTES) counts.notes.push(`${new Date().toISOString()} ${text}`);
}

/** Parses the response at the start of `text`: returns `undefined` while it is incomplete, and a string if it is invalid. */
function parseResponse(text) {
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd < 0) return text.length > MAX_RESPONSE_BYTES ? "an endless head" : undefined;
  const head = text.slice(0, headEnd);
  const status = /^HTTP\/1\.1 (\d{3})/.exec(head);
  if (!status) return `no status line: ${head.slice(0, 60)}`;
  const length = /\r\ncontent-length: *(\d+)/i.exec(head);
  const bodyStart = headEnd + 4;
  let bodyEnd = bodyStart + Number(length?.[1] ?? 0);
  let body;
  if (length) {
    if (text.length < bodyEnd) return undefined;
    body = text.slice(bodyStart, bodyEnd);
  } else {
    if (!/\r\ntransfer-encoding: *chunked/i.test(head)) return "an answer without a length";
    body = "";
    for (let at = bodyStart; ; ) {
      const lineEnd = text.indexOf("\r\n", at);
      if (lineEnd < 0) return undefined;
      const size = Number.parseInt(text.slice(at, lineEnd), 16);
      if (Number.isNaN(size)) return "a bad chunk";
      const next = lineEnd + 2 + size + 2;
      if (text.length < next) return undefined;
      body += text.slice(lineEnd + 2, next - 2);
      at = next;
      if (size === 0) {
        bodyEnd = next;
        break;
      }
    }
  }
  return {
    status: Number(status[1]),
    body,
    bytes: bodyEnd,
    close: /\r\nconnection: *close/i.test(head),
    instance: /\r\nx-instance: *([^\r]*)/i.exec(head)?.[1] ?? "",
  };
}

/** One client: sends a request, checks its response, and repeats, until it is stopped. */
class Client {
  socket = undefined;
  received = "";
  /** A request was written and its response is incomplete. */
  waiting = false;
  sentAt = 0;
  answersHere = 0;

  next() {
    if (stopping || counts.connections >= options.maxConnections) {
      this.socket?.end();
      running--;
      if (running === 0) finish();
      return;
    }
    this.waiting = true;
    this.received = "";
    this.sentAt = Date.now();
    if (this.socket) this.socket.write(request);
    else this.connect();
  }

  connect() {
    counts.connections++;
    this.answersHere = 0;
    const socket = net.connect({ host: options.host, port: options.port, noDelay: true });
    this.socket = socket;
    socket.setEncoding("latin1");
    socket.on("connect", () => socket.write(request));
    socket.on("data", (text) => this.read(socket, text));
    socket.on("end", () => this.ended(socket));
    socket.on("error", (error) => this.failed(socket, error));
  }

  read(socket, text) {
    if (socket !== this.socket) return;
    this.received += text;
    if (!this.waiting) {
      this.lost(socket, "malformed", `bytes that nobody asked for: ${this.received.slice(0, 60)}`);
      return;
    }
    const response = parseResponse(this.received);
    if (response === undefined) return;
    if (typeof response === "string") return this.lost(socket, "malformed", response);
    if (this.received.length > response.bytes) return this.lost(socket, "malformed", "more bytes than the answer has");
    if (keepAlive) this.answered(socket, response);
    // A client with new connections checks the response after the close, because nothing may follow it.
  }

  answered(socket, response) {
    this.waiting = false;
    this.answersHere++;
    counts.statuses[response.status] = (counts.statuses[response.status] ?? 0) + 1;
    if (response.status < 200 || response.status > 299) {
      counts.non2xx++;
      note(`status ${response.status}: ${response.body.slice(0, 80)}`);
    } else if (options.expectBody !== undefined && response.body !== options.expectBody) {
      counts.malformed++;
      note(`a wrong body: ${response.body.slice(0, 60)}`);
    } else {
      counts.ok++;
      counts.byInstance[response.instance] = (counts.byInstance[response.instance] ?? 0) + 1;
    }
    if (!keepAlive || response.close) {
      this.socket = undefined;
      socket.end();
    }
    if (options.delayMs > 0) setTimeout(() => this.next(), options.delayMs);
    else setImmediate(() => this.next());
  }

  ended(socket) {
    if (socket !== this.socket) return;
    if (!this.waiting) {
      // The server may close an idle connection. The next request would be lost, so this is counted separately.
      this.socket = undefined;
      return;
    }
    const response = parseResponse(this.received);
    if (!keepAlive && typeof response === "object") return this.answered(socket, response);
    this.lost(socket, this.received === "" ? "resets" : "truncated", `closed by the server after ${this.where()}`);
  }

  failed(socket, error) {
    if (socket !== this.socket) return;
    if (!this.waiting) {
      this.socket = undefined;
      return;
    }
    const kind =
      error.code === "ECONNREFUSED"
        ? "refused"
        : error.code === "ECONNRESET" || error.code === "EPIPE"
          ? this.received === ""
            ? "resets"
            : "truncated"
          : "clientErrors";
    this.lost(socket, kind, `${error.code} after ${this.where()}`);
  }

  where() {
    return `${this.received.length} bytes of answer ${this.answersHere + 1} on its connection`;
  }

  lost(socket, kind, why) {
    counts[kind]++;
    note(`${kind}: ${why}`);
    this.socket = undefined;
    this.waiting = false;
    socket.destroy();
    setTimeout(() => this.next(), PAUSE_AFTER_FAILURE_MS);
  }

  checkDeadline(now) {
    if (this.waiting && this.socket && now - this.sentAt > options.responseTimeoutMs) {
      this.lost(this.socket, "timeouts", `no whole answer in ${options.responseTimeoutMs} ms, ${this.where()}`);
    }
  }
}

function report(final) {
  process.send?.({ final, counts });
}

function finish() {
  clearInterval(sweep);
  clearInterval(progress);
  report(true);
  process.disconnect?.();
}

const clients = Array.from({ length: options.clients }, () => new Client());
const sweep = setInterval(() => {
  const now = Date.now();
  for (const client of clients) client.checkDeadline(now);
}, 250);
const progress = setInterval(() => report(false), 100);
process.on("message", () => {
  stopping = true;
});
process.on("disconnect", () => process.exit(0));
for (const client of clients) client.next();
