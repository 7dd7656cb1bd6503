/** The common parts of requests and responses: fields, chunked bodies, and cuts of a stream. */
import fc from "fast-check";
import type { Field } from "../message.js";

/** A text of byte characters, mostly those allowed in field values. */
export const latin1Text = fc.string({
  unit: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(..."abcXYZ019 -_/=;,\"'()<>@%\t") },
    { weight: 1, arbitrary: fc.integer({ min: 0x80, max: 0xff }).map((byte) => String.fromCharCode(byte)) },
  ),
  maxLength: 16,
});

const name = fc.constantFrom(
  "X",
  "x-secret",
  "Accept",
  "Cookie",
  "User-Agent",
  "!#$%&'*+-.^_`|~",
  "Keep-Alive",
  "Proxy-Connection",
  "TE",
  "Trailer",
  "Upgrade-Insecure-Requests",
  "Content-Lengt",
  "Content-Length-X",
  "Transfer_Encoding",
  "X-Forwarded-For",
  "Forwarded",
  "Date",
);

export const ordinaryField: fc.Arbitrary<Field> = fc.oneof(
  { weight: 80, arbitrary: fc.tuple(name, latin1Text) },
  // Heads beyond their limits: many bytes, or many fields from a repeated line.
  { weight: 1, arbitrary: fc.tuple(fc.constant("Long"), fc.constantFrom("l".repeat(700), "l".repeat(2500))) },
);

export const connectionField: fc.Arbitrary<Field> = fc.tuple(
  fc.constantFrom("Connection", "connection", "CONNECTION"),
  fc.constantFrom(
    "close",
    "keep-alive",
    "Keep-Alive",
    "close, x",
    "x-secret",
    "keep-alive, close",
    "content-length",
    "transfer-encoding, host",
    ", ,",
    "",
    "closed",
    " close\t",
    "keep-alive,upgrade",
    "close;q=1",
    '"close"',
  ),
);

export const lengthValue = (length: number): fc.Arbitrary<string> =>
  fc.constantFrom(
    `+${length}`,
    `-${length}`,
    `0${length}`,
    `${length}, ${length}`,
    `${length} ${length}`,
    `0x${length.toString(16)}`,
    "",
    `${length}\t`,
    `${length}.0`,
    `${length}e0`,
    `${length + 1}`,
    `${Math.max(0, length - 1)}`,
    "0",
    "99999999999999999999",
    "9007199254740992",
    "0000000000000000000005",
  );

export const codingValue: fc.Arbitrary<string> = fc.constantFrom(
  "Chunked",
  "chunked ",
  "\tchunked",
  "gzip, chunked",
  "gzip,chunked",
  "chunked, chunked",
  "chunked, gzip",
  "identity",
  "\vchunked",
  "chunked\v",
  "chunked;q=1",
  '"chunked"',
  "xchunked",
  "chunkedx",
  "chunke",
  "",
  "chunked,",
  ", chunked",
  "\xa0chunked",
);

export const bodyText = fc.oneof(
  { weight: 4, arbitrary: fc.string({ unit: fc.nat(255).map((byte) => String.fromCharCode(byte)), maxLength: 40 }) },
  // Bodies that look like the next message.
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      "GET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n",
      "0\r\n\r\n",
      "\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
      "5\r\nhello\r\n0\r\n\r\n",
    ),
  },
  { weight: 1, arbitrary: fc.integer({ min: 500, max: 2100 }).map((length) => "b".repeat(length)) },
);

const extension = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom("", "", "", "", ";a", ";a=b") },
  { weight: 1, arbitrary: fc.constantFrom(';a="b c"', "; a", ";", ";a=", " ;a", ";a\t", ";\xe9") },
);
const chunkSize = (length: number): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 80, arbitrary: fc.constantFrom(length.toString(16), length.toString(16).toUpperCase()) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        `0${length.toString(16)}`,
        `0x${length.toString(16)}`,
        `+${length.toString(16)}`,
        `${length.toString(16)} `,
        ` ${length.toString(16)}`,
        `-${length.toString(16)}`,
        "",
        "fffffffffffffffff",
        "10000000000000000",
        `00000000000000${length.toString(16)}`,
      ),
    },
  );

/** A line end, sometimes wrong. */
export const lineEnd = fc.oneof(
  { weight: 60, arbitrary: fc.constant("\r\n") },
  { weight: 1, arbitrary: fc.constantFrom("\n", "\r", "\r\r\n", "\n\r", " \r\n", "\0\r\n", "", "\r\n\r\n") },
);

const trailers = fc.oneof(
  { weight: 20, arbitrary: fc.constantFrom("", "", "", "X: y\r\n") },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "X: y\r\n",
      "X: y\r\nZ:\r\n",
      "Content-Length: 5\r\n",
      "Transfer-Encoding: chunked\r\n",
      "Host: b\r\n",
      "X\r\n",
      "X : y\r\n",
      ": y\r\n",
      "X: a\0b\r\n",
      "X: y\n",
      " X: y\r\n",
      "X: y\r\n z\r\n",
    ),
  },
);

/** A chunked body, mostly valid. */
export const chunkedBody: fc.Arbitrary<string> = fc
  .tuple(
    fc.array(fc.string({ unit: fc.nat(255).map((byte) => String.fromCharCode(byte)), minLength: 1, maxLength: 20 }), {
      maxLength: 4,
    }),
    trailers,
  )
  .chain(([pieces, trailer]) =>
    fc
      .tuple(
        ...pieces.map((piece) =>
          fc
            .tuple(chunkSize(piece.length), extension, lineEnd, lineEnd)
            .map(([size, ext, sizeEnd, dataEnd]) => `${size}${ext}${sizeEnd}${piece}${dataEnd}`),
        ),
        fc.tuple(fc.constantFrom("0", "0", "0", "00", "000000"), extension, lineEnd).map((parts) => parts.join("")),
        lineEnd,
      )
      .map((parts) => [...parts.slice(0, -1), trailer, ...parts.slice(-1)].join("")),
  );

export const cuts = fc.array(fc.nat(1 << 20), { maxLength: 8 });
