/** Heads of HTTP/2 as those of HTTP/1.1: how each field is translated, and which requests are malformed (RFC 9113, section 8.3). */
import { describe, expect, it } from "vitest";
import { block, type Fields, GET, POST } from "../../test/support/http2-frames.js";
import { HpackDecoder } from "./hpack-decoder.js";
import { RequestText } from "./request-text.js";

const text = new RequestText(1000, () => Buffer.from("key"));

function textOf(fields: Fields, isWhole = true, isTrailer = false): string {
  text.begin(isTrailer);
  const bytes = block(fields);
  expect(new HpackDecoder(Buffer.alloc(4000)).decode(bytes, 0, bytes.length, text)).toBe(true);
  text.finish(isWhole);
  return text.state === "whole" ? Buffer.from(text.bytes.subarray(0, text.length)).toString("latin1") : text.state;
}

const without = (name: string) => GET.filter(([other]) => other !== name);
const withValue = (name: string, value: string) =>
  GET.map(([other, old]) => [other, other === name ? value : old] as const);
const CONNECT: Fields = [[":method", "CONNECT"], [":protocol", "websocket"], ...GET.slice(1)];

describe("a request", () => {
  it.each<[string, Fields, boolean, string]>([
    ["plain", GET, true, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"],
    ["without an authority", without(":authority"), true, "GET / HTTP/1.1\r\n\r\n"],
    ["with Host instead", [...without(":authority"), ["host", "b"]], true, "GET / HTTP/1.1\r\nhost: b\r\n\r\n"],
    ["with Host as well", [...GET, ["host", "A"]], true, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"],
    ["with a body", POST, false, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"],
    [
      "with a body of known length",
      [...POST, ["content-length", "3"]],
      false,
      "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n",
    ],
    [
      "with cookies in pieces",
      [...GET, ["cookie", "a=1"], ["x", "y"], ["cookie", "b=2"]],
      true,
      "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\ncookie: a=1; b=2\r\n\r\n",
    ],
    ["with TE", [...GET, ["te", "trailers"]], true, "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n"],
    [
      "OPTIONS *",
      [
        [":method", "OPTIONS"],
        [":scheme", "http"],
        [":path", "*"],
        [":authority", "a"],
      ],
      true,
      "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
    ],
    ["bytes above ASCII in its path", withValue(":path", "/\xe9"), true, "GET /\xe9 HTTP/1.1\r\nhost: a\r\n\r\n"],
    [
      "CONNECT, which the parser refuses",
      [
        [":method", "CONNECT"],
        [":authority", "a:1"],
      ],
      false,
      "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
    [
      "a WebSocket's",
      [...CONNECT, ["sec-websocket-version", "13"], ["sec-websocket-key", "theirs"]],
      false,
      "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: key\r\nsec-websocket-version: 13\r\n\r\n",
    ],
  ])("%s", (_, fields, isWhole, expected) => {
    expect(textOf(fields, isWhole)).toBe(expected);
  });

  it.each<[string, Fields]>([
    ["no method", without(":method")],
    ["no scheme", without(":scheme")],
    ["no path", without(":path")],
    ["an empty path", withValue(":path", "")],
    ["an empty method", withValue(":method", "")],
    ["an empty authority", withValue(":authority", "")],
    ["a method with a space", withValue(":method", "GET /x")],
    ["a path that is none", withValue(":path", "http://b/")],
    ["a path with a space", withValue(":path", "/ HTTP/1.1")],
    ["a path with a fragment", withValue(":path", "/#b")],
    ["a path with a line end", withValue(":path", "/\r\nx: y")],
    ["* for GET", withValue(":path", "*")],
    ["another scheme", withValue(":scheme", "ftp")],
    ["two methods", [[":method", "GET"], ...GET]],
    ["two schemes", [[":scheme", "http"], ...GET]],
    ["two paths", [[":path", "/"], ...GET]],
    ["two authorities", [[":authority", "a"], ...GET]],
    ["an unknown pseudo-header field", [[":x", "y"], ...GET]],
    ["one of responses", [[":status", "200"], ...GET]],
    ["a pseudo-header field after others", [["x", "y"], ...GET]],
    ["another Host than the authority", [...GET, ["host", "b"]]],
    ["a name in upper case", [...GET, ["X", "y"]]],
    ["an empty name", [...GET, ["", "y"]]],
    ["a name with a space", [...GET, ["x y", "z"]]],
    ["a name with a colon", [...GET, ["x:", "z"]]],
    ["a name with a line end", [...GET, ["x\r\ny", "z"]]],
    ["a value with LF", [...GET, ["x", "y\nz"]]],
    ["a value with CR", [...GET, ["x", "y\rz"]]],
    ["a value with NUL", [...GET, ["x", "y\0"]]],
    ["a value that begins with a space", [...GET, ["x", " y"]]],
    ["a value that ends with a tab", [...GET, ["x", "y\t"]]],
    ["Connection", [...GET, ["connection", "close"]]],
    ["Keep-Alive", [...GET, ["keep-alive", "x"]]],
    ["Proxy-Connection", [...GET, ["proxy-connection", "close"]]],
    ["Transfer-Encoding", [...GET, ["transfer-encoding", "chunked"]]],
    ["Upgrade", [...GET, ["upgrade", "h2c"]]],
    ["another TE", [...GET, ["te", "trailers, deflate"]]],
    ["a tunnel with a length", [...CONNECT, ["content-length", "5"]]],
    ["a protocol without CONNECT", [[":protocol", "websocket"], ...GET]],
    ["CONNECT with a path", [[":method", "CONNECT"], ...GET.slice(1)]],
    ["CONNECT without an authority", [[":method", "CONNECT"]]],
  ])("with %s is malformed", (_, fields) => {
    expect(textOf(fields)).toBe("malformed");
  });

  it.each<[string, Fields, string]>([
    ["a target too long", withValue(":path", `/${"x".repeat(2100)}`), "long-target"],
    ["a field too long", [...GET, ["x", "y".repeat(2100)]], "long"],
    [
      "fields too long together",
      [...GET, ...Array.from({ length: 90 }, (_, i) => [`x${i}`, "y".repeat(20)] as const)],
      "long",
    ],
    [
      "cookies too long together",
      [...GET, ...Array.from({ length: 90 }, () => ["cookie", "y".repeat(30)] as const)],
      "long",
    ],
    ["a field longer than any, after what is malformed", [...GET, ["X", "y"], ["z", "y".repeat(5000)]], "malformed"],
    [
      "a protocol that is no WebSocket",
      CONNECT.map(([name, value]) => [name, name === ":protocol" ? "connect-udp" : value]),
      "unknown-protocol",
    ],
  ])("%s", (_, fields, state) => {
    expect(textOf(fields)).toBe(state);
  });
});

it.each<[Fields, string]>([
  [[["x-sum", "1"]], "x-sum: 1\r\n"],
  [[], ""],
  [
    [
      ["host", "a"],
      ["content-length", "3"],
      ["cookie", "a=1"],
    ],
    "host: a\r\ncontent-length: 3\r\ncookie: a=1\r\n",
  ],
  [[[":path", "/"]], "malformed"],
  [[["x", "y".repeat(3900)]], "long"],
  [Array(32).fill(["x", "y"]), "x: y\r\n".repeat(32)],
  [Array(33).fill(["x", "y"]), "long"],
])("trailers %#", (fields, expected) => {
  expect(textOf(fields, true, true)).toBe(expected);
});
