/** Clients that request much, or in many pieces, and do not read. */
import { p99OfOthers } from "../support.mjs";
import { connections, get, overAndOver, post, UPGRADE } from "./peers.mjs";

const ONE_BYTE_CHUNKS = Buffer.from("1\r\nx\r\n".repeat(60_000));
/** Below the limit for heads. */
const TOKENS = `Connection: ${Array.from({ length: 2000 }, (_, i) => `a${i}`).join(",")}\r\n`;
const FIELDS = Array.from({ length: 90 }, (_, i) => `a${i}: 1\r\n`).join("");

/** Warms up the pool, so that compilation does not count against the peer. */
const prepareAt = (target) => ({ prepare: ({ port }) => p99OfOthers(port, 3, target) });

const unread = (target, count = 1) => ({
  ...prepareAt(target.startsWith("/..") ? "/" : target),
  start: ({ port }) => connections(port, count, overAndOver(get(target).repeat(1000))),
});

/** A large or endless response for each of many clients. */
const silent = (target, count) => ({
  ...prepareAt("/"),
  start: ({ port }) => connections(port, count, (socket) => socket.write(get(target))),
});

/** Posts many pieces and keeps the connection. */
const chunks = (target) => ({
  start: ({ port }) =>
    connections(port, 40, (socket) => {
      socket.write(post(target));
      socket.write(ONE_BYTE_CHUNKS);
    }),
});

/** The same without end. */
const chunksWithoutEnd = (target) => ({
  start: ({ port }) =>
    connections(port, 60, (socket) => {
      socket.write(post(target));
      overAndOver(ONE_BYTE_CHUNKS)(socket);
    }),
});

/** An endless body. */
const uploads = (target, ordinary = "/", isSecure = false) => ({
  ...prepareAt(ordinary),
  isSecure,
  start: ({ port, tlsPort }) =>
    connections(
      isSecure ? tlsPort : port,
      100,
      (socket) => {
        socket.write(post(target));
        overAndOver(Buffer.from(`10000\r\n${"x".repeat(65_536)}\r\n`))(socket);
      },
      { isSecure },
    ),
});

export const CLIENTS = {
  "client: refusals that are not read": unread("/../x"),
  "client: responses of an app that are not read": unread("/"),
  "client: responses of a Node handler that are not read": unread("/handler/"),
  "client: files that are not read": unread("/files/small.txt", 4),
  "client: files that are not there, not read": unread("/files/none", 4),
  "client: responses of WSGI that are not read": unread("/wsgi/"),
  "client: 200 at once that do not read": unread("/", 200),
  "client: 1,500 that do not read what a program sends without end": silent("/program/chunks", 1500),
  "client: 1,500 that do not read a large response of an app": silent("/large", 1500),
  "client: 4,000 that do not read what a program sends without end": silent("/program/chunks", 4000),
  "client: 500 that read slowly what a program sends without end": {
    ...prepareAt("/"),
    start: ({ port }) =>
      connections(port, 500, (socket) => {
        socket.write(get("/program/chunks"));
        const timer = setInterval(() => socket.read(5000), 250);
        socket.on("close", () => clearInterval(timer));
      }),
  },
  "client: 300 WebSockets of a program that are not read": {
    ...prepareAt("/"),
    start: ({ port }) => connections(port, 300, (socket) => socket.write(get("/program/socket", UPGRADE))),
  },
  "client: chunks of a byte that an app does not read": chunks("/unread"),
  "client: chunks of a byte that a Node handler does not read": chunks("/handler/unread"),
  "client: chunks of a byte for WSGI": chunks("/wsgi/"),
  "client: chunks of a byte for a program": chunks("/program/unread"),
  "client: chunks of a byte to a folder": chunks("/files/small.txt"),
  "client: chunks of a byte without end for a program that takes few requests": chunksWithoutEnd("/few/unread"),
  "client: chunks of a byte without end for a proxy": chunksWithoutEnd("/elsewhere/"),
  "client: 100 that pipeline and do not read": unread("/../x", 100),
  "client: 100 uploads that an app does not read": uploads("/unread"),
  "client: 100 uploads that an app over HTTP/1.1 does not read": {
    ...uploads("/plain/unread", "/plain/"),
    known: { bun: { process: "plain.1", memory: "Bun.serve alone holds 1.7 MB of each" } },
  },
  "client: 100 uploads that a Node handler does not read": uploads("/handler/unread", "/handler/"),
  "client: 100 uploads that a program does not read": uploads("/program/unread"),
  "client: 100 uploads that the upstream of a proxy does not read": uploads("/elsewhere/unread"),
  "client over TLS: 100 uploads that a Node handler does not read": uploads("/handler/unread", "/handler/", true),
  "client over TLS: 400 that do not read what a program sends without end": {
    ...silent("/program/chunks", 400),
    isSecure: true,
    start: ({ tlsPort }) =>
      connections(tlsPort, 400, (socket) => socket.write(get("/program/chunks")), { isSecure: true }),
  },
  "client over TLS: 1,500 handshakes that do not end": {
    ...prepareAt("/"),
    isSecure: true,
    // The beginning of a ClientHello of 512 bytes.
    start: ({ tlsPort }) =>
      connections(tlsPort, 1500, (socket) => socket.write(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]))),
  },
  "client: last responses that are not read": {
    start: ({ port }) =>
      connections(port, 200, (socket) => socket.write(get("/wsgi/large", "Connection: close\r\n")), { afterEnd: 5 }),
  },
  "client: heads with two thousand Connection tokens": {
    start: ({ port }) => connections(port, 2, overAndOver(get("/", TOKENS)), { reads: true }),
  },
  "client: heads with 90 fields": {
    start: ({ port }) => connections(port, 2, overAndOver(get("/", FIELDS)), { reads: true }),
  },
  "client: paths of 5,000 escaped slashes": {
    start: ({ port }) => connections(port, 2, overAndOver(get(`/${"%2f".repeat(5000)}`)), { reads: true }),
  },
  "client: requests that are reset at once": {
    start: ({ port }) =>
      connections(
        port,
        100,
        (socket) => {
          socket.write(get("/later"));
          setTimeout(() => socket.resetAndDestroy(), 5);
        },
        { afterEnd: 1 },
      ),
  },
  "client: pipelined requests that are reset at once": {
    start: ({ port }) =>
      connections(
        port,
        50,
        (socket) => {
          socket.write(get("/").repeat(100));
          setTimeout(() => socket.resetAndDestroy(), 5);
        },
        { afterEnd: 1 },
      ),
  },
  "client: 500 heads that do not end": {
    start: ({ port }) =>
      connections(port, 500, (socket) => {
        socket.write("GET / HTTP/1.1\r\nHost: a\r\n");
        const timer = setInterval(() => socket.write(`a: ${"b".repeat(100)}\r\n`), 200);
        socket.on("close", () => clearInterval(timer));
      }),
  },
  "client: 1,800 heads of 14 KB that do not end": {
    ...prepareAt("/"),
    start: ({ port }) =>
      connections(port, 1800, (socket) => socket.write(`GET / HTTP/1.1\r\nHost: a\r\na: ${"b".repeat(14_000)}`)),
  },
  "client: chunk extensions and trailers": {
    start: ({ port }) =>
      connections(
        port,
        4,
        overAndOver(
          `${post("/read")}${`1;${"e".repeat(200)}\r\nx\r\n`.repeat(500)}0\r\n${"t: 1\r\n".repeat(1000)}\r\n`,
        ),
        { reads: true },
      ),
  },
  "client: WebSocket pings whose pongs are not read": {
    runtimes: ["bun", "node"],
    start: ({ port }) =>
      connections(port, 4, (socket) => {
        socket.write(get("/socket", UPGRADE));
        setTimeout(() => overAndOver(Buffer.alloc(60_000, Buffer.from([0x89, 0x80, 0, 0, 0, 0])))(socket), 200);
      }),
  },
  "client: WebSocket parts of no byte": {
    start: ({ port }) =>
      connections(port, 4, (socket) => {
        socket.write(get("/socket", UPGRADE));
        setTimeout(() => {
          socket.write(Buffer.from([0x01, 0x80, 0, 0, 0, 0]));
          overAndOver(Buffer.alloc(60_000, Buffer.from([0x00, 0x80, 0, 0, 0, 0])))(socket);
        }, 200);
      }),
  },
  "client of serve: responses that are not read": {
    alone: ["APP"],
    start: ({ port }) => connections(port, 1, overAndOver(get("/").repeat(1000))),
  },
  "client of serve: files that are not read": {
    alone: ["--static", "FOLDER"],
    ordinary: "/small.txt",
    start: ({ port }) => connections(port, 1, overAndOver(get("/small.txt").repeat(1000))),
  },
  "client of serve: chunks of a byte on new connections": {
    alone: ["APP"],
    known: {
      bun: { p99: "beside these clients Bun.serve alone responds in seconds" },
      node: { p99: "beside these clients node:http alone responds in seconds" },
    },
    start: ({ port }) =>
      connections(
        port,
        40,
        (socket) => {
          socket.write(Buffer.concat([Buffer.from(post("/read")), ONE_BYTE_CHUNKS]));
          setTimeout(() => socket.resetAndDestroy(), 100);
        },
        { afterEnd: 1 },
      ),
  },
  "client of serve: chunks of a byte": {
    alone: ["APP"],
    known: {
      node: {
        descriptors: "the clients' FIN lies behind bytes that the app does not read, and the kernel has not seen it",
      },
    },
    start: ({ port }) =>
      connections(port, 40, (socket) => {
        socket.write(post("/unread"));
        socket.write(ONE_BYTE_CHUNKS);
      }),
  },
};
