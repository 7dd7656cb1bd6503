/** Heads and bodies that must not be forwarded: the right status, a closed connection, and no byte reaches an instance. */
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BalancerProcess, SECURE_SETUPS } from "./support/balancer-process.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";
import { HELLO, respondEach, ScriptedUpstream } from "./support/scripted-upstream.js";

const GET = "GET / HTTP/1.1\r\n";
const POST = "POST / HTTP/1.1\r\nHost: a\r\n";

const HEADS: readonly (readonly [string, string, number])[] = [
  ["both Content-Length and Transfer-Encoding", `${POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
  ["the same, the other way round", `${POST}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n`, 400],
  ["two different lengths", `${POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\n`, 400],
  ["two equal lengths", `${POST}Content-Length: 3\r\nContent-Length: 3\r\n\r\n`, 400],
  ["a list of lengths", `${POST}Content-Length: 3, 3\r\n\r\n`, 400],
  ["a signed length", `${POST}Content-Length: +3\r\n\r\n`, 400],
  ["a negative length", `${POST}Content-Length: -3\r\n\r\n`, 400],
  ["a hexadecimal length", `${POST}Content-Length: 0x3\r\n\r\n`, 400],
  ["an empty length", `${POST}Content-Length:\r\n\r\n`, 400],
  ["a length past 2^53", `${POST}Content-Length: 99999999999999999999\r\n\r\n`, 400],
  ["a length over the limit", `${POST}Content-Length: 10000001\r\n\r\n`, 413],
  ["chunked twice", `${POST}Transfer-Encoding: chunked, chunked\r\n\r\n`, 400],
  ["two Transfer-Encoding fields", `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
  ["chunked not last", `${POST}Transfer-Encoding: chunked, gzip\r\n\r\n`, 400],
  ["a coding that is not chunked", `${POST}Transfer-Encoding: identity\r\n\r\n`, 400],
  ["a vertical tab before chunked", `${POST}Transfer-Encoding: \vchunked\r\n\r\n`, 400],
  ["an unknown coding before chunked", `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n`, 501],
  ["Transfer-Encoding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400],
  ["33 options in a Connection field", `${GET}Host: a\r\nConnection: ${"x,".repeat(33)}\r\n\r\n`, 400],
  ["33 Connection fields", `${GET}Host: a\r\n${"Connection: x\r\n".repeat(33)}\r\n`, 400],
  ["bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400],
  ["bare LF after a field", `${GET}Host: a\n\r\n`, 400],
  ["bare LF at the end", `${GET}Host: a\r\n\n`, 400],
  ["bare CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["bare CR in a value", `${GET}Host: a\r\nX: a\rb\r\n\r\n`, 400],
  ["bare CR at the end", `${GET}Host: a\r\n\rX`, 400],
  ["a folded field", `${GET}Host: a\r\nX: a\r\n b\r\n\r\n`, 400],
  ["a fold before the first field", `${GET} X: a\r\nHost: a\r\n\r\n`, 400],
  ["a space before the colon", `${GET}Host : a\r\n\r\n`, 400],
  ["a tab before the colon", `${GET}Host\t: a\r\n\r\n`, 400],
  ["a field without a colon", `${GET}Host: a\r\nnonsense\r\n\r\n`, 400],
  ["an empty field name", `${GET}Host: a\r\n: x\r\n\r\n`, 400],
  ["a field name with a parenthesis", `${GET}Host: a\r\nX(y): x\r\n\r\n`, 400],
  ["NUL in a value", `${GET}Host: a\r\nX: a\0b\r\n\r\n`, 400],
  ["NUL in a name", `${GET}Host: a\r\nX\0: b\r\n\r\n`, 400],
  ["DEL in a value", `${GET}Host: a\r\nX: a\x7fb\r\n\r\n`, 400],
  ["a bad method", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["no method", " / HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501],
  ["TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501],
  ["a method without end", `${"A".repeat(25)} / HTTP/1.1\r\nHost: a\r\n\r\n`, 501],
  ["a target without a slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["a tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["a fragment in the target", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["a byte above ASCII in the host of a target", "GET http://\xe9/ HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["a control byte in the target", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["an asterisk for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["a Host that a URL would have as another", "GET / HTTP/1.1\r\nHost: %61\r\n\r\n", 400],
  ["a Host that is an address in another form", "GET / HTTP/1.1\r\nHost: 0x7f.1\r\n\r\n", 400],
  ["a target's host that a URL would have as another", "GET http://%61dmin/ HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["an absolute target with user info", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["an absolute target of another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["a target too long", `GET /${"a".repeat(17_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414],
  ["a head too large", `${GET}Host: a\r\nX: ${"a".repeat(17_000)}\r\n\r\n`, 431],
  ["too many fields", `${GET}Host: a\r\n${"X: y\r\n".repeat(100)}\r\n`, 431],
  ["no Host in HTTP/1.1", `${GET}\r\n`, 400],
  ["two Hosts", `${GET}Host: a\r\nHost: b\r\n\r\n`, 400],
  ["two Hosts that agree", `${GET}Host: a\r\nHost: a\r\n\r\n`, 400],
  ["two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400],
  ["a Host with a path", `${GET}Host: a/b\r\n\r\n`, 400],
  ["a list in Host", `${GET}Host: a, b\r\n\r\n`, 400],
  ["HTTP/0.9", "GET /\r\n", 400],
  ["HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505],
  ["HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505],
  ["HTTP/3.1", "GET / HTTP/3.1\r\nHost: a\r\n\r\n", 505],
  ["the preface of HTTP/2 after a request line of its own", "PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n", 505],
  ["a version in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", 400],
  ["a version with a space behind it", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400],
  ["a version with two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400],
  ["two empty lines first", `\r\n\r\n${GET}Host: a\r\n\r\n`, 400],
  ["the first bytes of TLS", "\x16\x03\x01\x02\x00\x01\x00", 400],
  ["an expectation nobody knows", `${POST}Expect: 200-ok\r\nContent-Length: 1\r\n\r\n`, 417],
];

/** Bodies whose framing breaks after the head was forwarded; the upstream waits for the rest, so there is no response. */
const BODIES: readonly (readonly [string, string, number])[] = [
  ["a chunk size that is no number", "xyz\r\n", 400],
  ["a signed chunk size", "+5\r\nhello\r\n", 400],
  ["0x before a chunk size", "0x5\r\nhello\r\n", 400],
  ["a chunk size past 2^52", "10000000000000\r\n", 400],
  ["an empty chunk size", "\r\n", 400],
  ["bare LF after a chunk size", "5\nhello\r\n", 400],
  ["a space after a chunk size", "5 \r\nhello\r\n", 400],
  ["a chunk longer than its size", "5\r\nhello!\r\n", 400],
  ["bare LF after a chunk", "5\r\nhello\n0\r\n\r\n", 400],
  ["a bare CR in an extension", "5;a\rb\r\nhello\r\n", 400],
  ["an extension without end", `5;${"a".repeat(300)}\r\nhello\r\n`, 400],
  ["a folded trailer", "0\r\nX: a\r\n b\r\n\r\n", 400],
  ["a trailer without a colon", "0\r\nnonsense\r\n\r\n", 400],
  ["bare LF after the last chunk", "0\r\n\n", 400],
  ["trailers without end", `0\r\nX: ${"a".repeat(9000)}\r\n`, 400],
  ["a chunk over the body's limit", "fffffff\r\n", 413],
];

describe.each(SECURE_SETUPS)("refusals on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;

  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime);
    balancer.protocol = protocol;
    const socket = path.join(balancer.directory, "web.1#1.sock");
    upstream = await ScriptedUpstream.listen(socket, () => {}, protocol);
    await balancer.follow({ "web.1#1": socket });
  });

  afterAll(async () => {
    await upstream?.close();
    await balancer?.stop();
  });

  // They arrive on a client's connection and reach no upstream, so they are tested once for each kind of connection, and the first ones
  // with TLS.
  const isOnce = (runtime.startsWith("bun") ? "lane" : "http1") === protocol;
  const heads = runtime.includes(" with ") ? HEADS.slice(0, 5) : isOnce ? HEADS : [];
  it.each(heads)("refuses %s", async (_, bytes, status) => {
    const { received } = await exchangeRaw(balancer.port, bytes);
    expect(received).toMatch(new RegExp(`^HTTP/1\\.1 ${status} .*\\r\\n(.*\\r\\n)*Connection: close\\r\\n`));
    expect(received.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(upstream.received).toBe("");
  });

  it("rejects a head that arrives byte by byte like one that arrives in one piece", async () => {
    const client = await RawClient.connect(balancer.port);
    for (const byte of "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n") await client.send(byte);
    expect(await client.ended()).toMatch(/^HTTP\/1\.1 400 /);
    expect(upstream.received).toBe("");
    client.destroy();
  });

  it("responds to the requests before a rejected head, and to nothing after it", async () => {
    const own = path.join(balancer.directory, "own.sock");
    const answering = await ScriptedUpstream.listen(own, respondEach(HELLO), protocol);
    await balancer.follow({ "web.1#2": own });
    const { received } = await exchangeRaw(
      balancer.port,
      `${GET}Host: a\r\n\r\nGET / HTTP/1.1\r\nHost : b\r\n\r\n${GET}Host: c\r\n\r\n`,
    );
    expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*helloHTTP\/1\.1 400 Bad Request\r\n/);
    expect(received.match(/HTTP\/1\.1 /g)).toHaveLength(2);
    expect(answering.received.match(/Host: /g)).toHaveLength(2);
    await answering.close();
    await balancer.follow({ "web.1#1": path.join(balancer.directory, "web.1#1.sock") });
  });

  it.each(BODIES)(
    "refuses a body with %s, and cuts off the upstream before the body looks complete",
    async (_, bytes, status) => {
      const { received } = await exchangeRaw(balancer.port, `${POST}Transfer-Encoding: chunked\r\n\r\n${bytes}`);
      expect(received).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
      expect(received).toContain("Connection: close\r\n");
      await upstream.until(
        ({ connections }) =>
          connections.every(({ socket, received: sent }) => sent === "" || socket.readableEnded || socket.destroyed),
        "the end of the cut request",
      );
      expect(upstream.received).not.toContain("0\r\n\r\n");
    },
  );
});
