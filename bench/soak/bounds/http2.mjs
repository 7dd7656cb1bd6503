/** HTTP/2 clients: many streams on each connection, with windows that stay closed, or bodies within the open windows. */
import { connections } from "./peers.mjs";

const [DATA, HEADERS, SETTINGS, WINDOW] = [0, 1, 4, 8];
const [END_STREAM, END_HEADERS] = [1, 4];
const INITIAL_WINDOW_SIZE = 4;
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const MOST_WINDOW = 2 ** 30;

function frame(type, flags, stream, payload) {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function uint32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Returns a string, or its length, as HPACK writes it without Huffman coding (RFC 7541, section 5). */
function length(value) {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest >>= 7) bytes.push((rest & 127) | 128);
  return Buffer.from([...bytes, rest]);
}

const string = (text) => Buffer.concat([length(text.length), Buffer.from(text)]);
/** @param first 0: not added to the table; 64: added */
const field = (name, value, first = 0) => Buffer.concat([Buffer.from([first]), string(name), string(value)]);

export function fieldsOf(method, path) {
  const fields = [
    [":method", method],
    [":scheme", "http"],
    [":path", path],
    [":authority", "a"],
  ];
  return Buffer.concat(fields.map(([name, value]) => field(name, value)));
}

/**
 * Returns the beginning of a connection.
 * @param windowBytes the first window of each stream, and of the connection if the value is large
 */
function hello(windowBytes) {
  const setting = Buffer.concat([Buffer.from([0, INITIAL_WINDOW_SIZE]), uint32(windowBytes)]);
  const whole = [PREFACE, frame(SETTINGS, 0, 0, setting), frame(SETTINGS, 1, 0, Buffer.alloc(0))];
  return Buffer.concat(windowBytes < 65_536 ? whole : [...whole, frame(WINDOW, 0, 0, uint32(MOST_WINDOW))]);
}

const idOf = (at) => 2 * at + 1;
const each = (count, make) => Buffer.concat(Array.from({ length: count }, (_, at) => make(idOf(at), at)));
const request = (id, fields, isWhole = true) => frame(HEADERS, END_HEADERS | (isWhole ? END_STREAM : 0), id, fields);

/** Opens `count` connections with that many streams each, which read as much as `more` says. */
export const streams = (
  clients,
  count,
  fields,
  { windowBytes = 65_535, isWhole = true, body = () => Buffer.alloc(0), ...more } = {},
) => ({
  start: ({ port }) =>
    connections(
      port,
      clients,
      (socket) => {
        socket.write(hello(windowBytes));
        socket.write(each(count, (id, at) => Buffer.concat([request(id, fields, isWhole), body(id, at)])));
      },
      more,
    ),
});

/** A field of 3.9 KB that the first request adds to the table; each byte of the other requests refers to it. */
const BOMB_BYTES = 3900;
const TIMES = 4;
const bomb = (path) => ({
  start: ({ port }) =>
    connections(port, 80, (socket) => {
      const fields = fieldsOf("GET", path);
      const first = Buffer.concat([fields, field("x", "v".repeat(BOMB_BYTES), 64)]);
      // 62 is the index of the newest entry of the table.
      const others = Buffer.concat([fields, Buffer.alloc(TIMES, 128 | 62)]);
      socket.write(hello(65_535));
      socket.write(each(100, (id, at) => request(id, at === 0 ? first : others)));
    }),
});

/** An endless series of requests for whose responses the client does not wait. */
const withoutEnd = (path) => ({
  start: ({ port }) =>
    connections(
      port,
      50,
      (socket) => {
        const fields = fieldsOf("GET", path);
        let next = 0;
        socket.write(hello(65_535));
        const pump = () => {
          while (!socket.destroyed && next < 2 ** 30) {
            const requests = Buffer.concat(Array.from({ length: 200 }, () => request(idOf(next++), fields)));
            if (!socket.write(requests)) return;
          }
        };
        socket.on("drain", pump);
        pump();
      },
      { reads: true },
    ),
});

const CONNECT = Buffer.concat([
  ...[
    [":method", "CONNECT"],
    [":protocol", "websocket"],
    [":scheme", "http"],
    [":path", "/program/socket"],
    [":authority", "a"],
    ["sec-websocket-version", "13"],
  ].map(([name, value]) => field(name, value)),
]);

const UPLOAD = Buffer.alloc(16_000, "q");
/** As much of a body as the first window of a stream allows. */
const upload = (id) => Buffer.concat(Array.from({ length: 4 }, () => frame(DATA, 0, id, UPLOAD)));
const uploads = (path) => streams(200, 8, fieldsOf("POST", path), { isWhole: false, body: upload });

/** These clients cannot attack nginx, which serves no HTTP/2 here. */
export const HTTP2_CLIENTS = {
  "client over HTTP/2: 300 that leave 120 responses each unread": streams(300, 120, fieldsOf("GET", "/"), {
    windowBytes: 0,
  }),
  "client over HTTP/2: 150 that leave 120 large responses each unread": streams(150, 120, fieldsOf("GET", "/large"), {
    windowBytes: 0,
  }),
  "client over HTTP/2: 200 that read nothing, with open windows": streams(200, 50, fieldsOf("GET", "/large"), {
    windowBytes: MOST_WINDOW,
  }),
  "client over HTTP/2: 800 WebSockets of a program that are not read": streams(40, 20, CONNECT, {
    windowBytes: MOST_WINDOW,
    isWhole: false,
  }),
  "client over HTTP/2: 1,600 uploads within their windows that an app does not read": uploads("/unread"),
  "client over HTTP/2: 1,600 uploads within their windows that a program does not read": uploads("/program/unread"),
  "client over HTTP/2: heads that unpack to 16 KB": bomb("/"),
  "client over HTTP/2: heads that unpack to 16 KB, of requests that an app does not answer": bomb("/unread"),
  "client over HTTP/2: requests without end": withoutEnd("/"),
  "client over HTTP/2: requests without end that an app does not answer": withoutEnd("/unread"),
};
