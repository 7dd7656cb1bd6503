/** How an instance handles every form of a message, and its timeouts, in raw bytes. */
import { afterAll, describe, expect, it } from "vitest";
import { inTime } from "../../../test/support/wait.js";
import { eventually } from "./harness.js";
import {
  answered,
  endShared,
  exchange,
  GET,
  OK,
  RawUpstream,
  startAlone,
  startInstance,
  upstreamGets,
  withOurs,
} from "./proxy-harness.js";

afterAll(endShared);

/** The sockets of both hops hold 10 at most. */
const MEGABYTES = 24;
const MEGABYTE = "x".repeat(1 << 20);

describe("a response through the proxy on node", () => {
  it("that ends when the upstream closes is sent in chunks, completely", async () => {
    const both = await withOurs();
    const client = await answered(both, GET, "HTTP/1.0 200 OK\r\n\r\nhello");
    (await both.upstream.connection(0)).end();
    expect(await client.gets(/\r\n0\r\n\r\n$/)).toMatch(/^transfer-encoding: chunked\r$/im);
    expect(client.ended).toBe("open");
  });

  it("to HEAD has its length and no body, and its connection is not used again", async () => {
    const both = await withOurs();
    const client = await answered(
      both,
      "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    );
    expect(await client.gets(/\r\n\r\n$/)).toMatch(/^content-length: 9\r$/im);
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    const wire = await both.upstream.connection(1);
    await wire.gets(/GET \/next/);
    wire.send(OK);
    await client.gets(/ok$/);
  });

  it.each([
    ["304 Not Modified", 'Content-Length: 9\r\nETag: "a"\r\n'],
    ["204 No Content", "Content-Length: 9\r\n"],
  ])("of %s has no body", async (status, fields) => {
    const both = await withOurs();
    const client = await answered(both, GET, `HTTP/1.1 ${status}\r\n${fields}\r\n`);
    await client.gets(/\r\n\r\n/);
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    await (await both.upstream.connection(1)).gets(/next/);
    expect(client.received).toMatch(new RegExp(`^HTTP/1\\.1 ${status}\r\n[\\s\\S]*\r\n\r\n$`));
  });

  it("has a head of 60 KB", async () => {
    const head = `HTTP/1.1 200 OK\r\nX: ${"x".repeat(60_000)}\r\nContent-Length: 2\r\n\r\n`;
    const client = await answered(await withOurs(), GET, `${head}ok`);
    await client.gets(/x{60000}[\s\S]*ok$/);
  });

  it("has one cookie per line, in order", async () => {
    const client = await answered(
      await withOurs(),
      GET,
      "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
    );
    expect(await client.gets(/ok$/)).toMatch(/^set-cookie: a=1\r\nset-cookie: b=2\r$/im);
  });

  it("is sent after a 103 is forwarded; a 100 does not count as a response", async () => {
    const client = await answered(
      await withOurs(),
      GET,
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n${OK}`,
    );
    expect(await client.gets(/ok$/)).toMatch(
      /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200 OK\r\n/i,
    );
  });

  it("is forwarded even if a 103 has an invalid Link", async () => {
    const client = await answered(await withOurs(), GET, `HTTP/1.1 103 Early Hints\r\nLink: <<<\r\n\r\n${OK}`);
    expect(await client.gets(/ok$/)).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  });

  it.each([
    ["with a head that is too large", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(66_000)}\r\nContent-Length: 2\r\n\r\nok`],
    ["with two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"],
    ["with a length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    [
      "with a length among the trailers of its chunks",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 2\r\n\r\n",
    ],
    ["in another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx"],
    ["with a control character in a field", "HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 2\r\n\r\nok"],
    ["with a line feed alone in a field", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok"],
    ["that is none", "SSH-2.0-OpenSSH_9.2\r\n\r\n"],
  ])("%s becomes a 502, with a log line that says why", async (_, response) => {
    const both = await withOurs();
    const { output } = both.front;
    const before = output.length;
    const client = await answered(both, GET, response);
    expect(await client.gets(/Bad Gateway\n$/)).toMatch(/^HTTP\/1\.1 502 /);
    // The same fault has one line per second.
    const line = /^proxy http.*: .+ \(GET \/\)$|more within 1000 ms/;
    await eventually("the line", () => output.slice(before).find((it) => line.test(it)));
    await exchange(both);
  });

  it("that follows another one without a request is dropped", async () => {
    const both = await withOurs();
    const client = await answered(both, GET, `${OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`);
    await client.gets(/ok$/);
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    const wire = await eventually("the next request", () =>
      both.upstream.connections.find((it) => it.received.includes("/next")),
    );
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
    expect(await client.gets(/good$/)).not.toMatch(/evil/);
  });

  it.each([
    ["one too many", `HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n`.repeat(17), 16],
    ["without end", `HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n`.repeat(5000), 16],
    ["of more than 64 KB", `HTTP/1.1 103 Early Hints\r\nX: ${"x".repeat(15_000)}\r\n\r\n`.repeat(5), 0],
    ["that are not passed on", "HTTP/1.1 100 Continue\r\n\r\n".repeat(17), 0],
  ])("with interim responses before it, %s, becomes a 502", async (_, interims, passed) => {
    const both = await withOurs();
    const client = await answered(both, GET, interims + OK);
    expect((await client.gets(/Bad Gateway\n$/)).split("103 Early Hints").length - 1).toBe(passed);
    await exchange(both);
  });

  it("has the reason of its own status if it replaces another response", async () => {
    const client = await answered(await withOurs(), GET, "HTTP/1.1 200 Fine\r\nTransfer-Encoding: gzip\r\n\r\nxx");
    expect(await client.gets(/Bad Gateway\n$/)).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
  });

  it("whose first chunk is malformed becomes a 502, without any part of it", async () => {
    const response = "HTTP/1.1 200 Fine\r\nX-Own: 1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    const client = await answered(await withOurs(), GET, response);
    const received = await client.gets(/Bad Gateway\n$/);
    expect(received).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
    expect(received).not.toMatch(/x-own|transfer-encoding/i);
  });

  it.each([
    ["in small pieces, before its first chunk", "0".repeat(9), 40],
    ["in large ones", "0".repeat(70_000), 1],
  ])("whose chunk size begins with endless zeros, %s, ends immediately", async (_, zeros, times) => {
    const both = await withOurs({ responseTimeoutMs: 600_000 });
    const client = await answered(both, GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    const wire = await both.upstream.connection(0);
    await client.gets(/\r\n\r\n$/);
    for (let n = 0; n < times; n++) {
      wire.send(zeros);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually("the end of the response", () => client.ended !== "open");
    expect(client.received).not.toMatch(/\r\n0\r\n\r\n$/);
    await eventually("the line", () => both.front.output.find((it) => it.includes("too many zeros")));
    await exchange(both);
  });

  it("whose chunks have far more extensions than data ends immediately", async () => {
    const both = await withOurs({ responseTimeoutMs: 600_000 });
    const client = await answered(both, GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    const wire = await both.upstream.connection(0);
    await client.gets(/\r\n\r\n$/);
    wire.send(`1;${"a".repeat(200)}\r\nx\r\n`.repeat(2000));
    await eventually("the end of the response", () => client.ended !== "open");
    expect(client.received).not.toMatch(/\r\n0\r\n\r\n$/);
    await eventually("the line", () => both.front.output.find((it) => it.includes("too much framing")));
    await exchange(both);
  });

  it("in ten thousand chunks of one byte arrives completely", async () => {
    const body = `${"00001\r\nx\r\n".repeat(10_000)}0\r\n\r\n`;
    const both = await withOurs();
    const client = await answered(both, GET, `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body}`);
    expect((await client.gets(/\r\n0\r\n\r\n$/)).match(/x/g)).toHaveLength(10_000);
  });

  it("with only empty lines becomes a 502", async () => {
    const both = await withOurs({ responseTimeoutMs: 600_000 });
    const client = await answered(both, GET, "\r\n".repeat(100_000));
    expect(await client.gets(/Bad Gateway\n$/)).toMatch(/^HTTP\/1\.1 502 /);
    await exchange(both);
  });

  it("has its redirects and cookies adapted", async () => {
    const upstream = await RawUpstream.listen();
    const options = { cookieDomainRewrite: { "old.example": "new.example" }, cookiePathRewrite: { "/base": "/" } };
    const front = await startInstance(`${upstream.url}/base/`, options);
    const client = await answered(
      { upstream, front },
      "GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-Prefix: /shop\r\n\r\n",
      `HTTP/1.1 303 See Other\r\nLocation: ${upstream.url}/base/b?c\r\n` +
        "Set-Cookie: d=1; Domain=.old.example; Path=/base\r\nSet-Cookie: e=1; Domain=constructor\r\nContent-Length: 0\r\n\r\n",
    );
    const head = await client.gets(/\r\n\r\n/);
    expect(head).toMatch(/^location: \/shop\/b\?c\r$/im);
    expect(head).toMatch(/^set-cookie: d=1; Domain=new\.example; Path=\/\r$/im);
    expect(head).toMatch(/^set-cookie: e=1; Domain=constructor\r$/im);
    expect(await upstreamGets({ upstream }, /\r\n\r\n/)).toMatch(/^GET \/base\/a HTTP/);
  });
});

describe("a request through the proxy on node", () => {
  it("with Expect gets its 100 when the upstream sends it, and then the upstream gets the body", async () => {
    const both = await withOurs();
    const client = both.front.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    expect(await upstreamGets(both, /\r\n\r\n$/)).toMatch(/^POST \/ HTTP\/1\.1\r\n[\s\S]*^expect: 100-continue\r$/im);
    expect(client.received).toBe("");
    const wire = await both.upstream.connection(0);
    wire.send("HTTP/1.1 100 Continue\r\n\r\n");
    await client.gets(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    client.send("hi");
    await wire.gets(/\r\n\r\nhi$/);
    wire.send(OK);
    await client.gets(/ok$/);
  });

  it("with Expect that the upstream rejects gets that response, and no 100", async () => {
    const both = await withOurs();
    const client = await answered(
      both,
      "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
      "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno",
    );
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 401 Unauthorized\r\n[\s\S]*\r\n\r\nno$/);
    await (await both.upstream.connection(0)).closed();
  });

  it("with Expect that the upstream ignores gets its 100 in time", async () => {
    const both = await withOurs();
    const client = both.front.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    await client.gets(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    client.send("hi");
    await upstreamGets(both, /\r\n\r\nhi$/);
    (await both.upstream.connection(0)).send(OK);
    await client.gets(/ok$/);
  });

  it("keeps the client's Host if changeOrigin is off", async () => {
    const both = await withOurs({ changeOrigin: false });
    both.front.client().send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    expect(await upstreamGets(both, /\r\n\r\n/)).toMatch(/^host: shop\.example\r$/im);
  });

  it.each(["/../x", "/a/%2e%2E/x", "/a/..%2fx"])(
    "for %s gets 400, because it would leave the base path",
    async (path) => {
      const upstream = await RawUpstream.listen();
      const front = await startAlone(`${upstream.url}/base`);
      const client = front.client();
      client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await client.gets(/^HTTP\/1\.1 400 /);
      expect(upstream.connections).toHaveLength(0);
    },
  );

  it("with a response before its body has arrived gets it, and the rest of the body affects no other request", async () => {
    const both = await withOurs();
    const client = await answered(
      both,
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc",
      "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
    );
    await client.gets(/^HTTP\/1\.1 413 [\s\S]*no$/);
    (await both.upstream.connection(0)).destroy();
    client.send("def");
    await exchange(both);
  });
});

describe("waits of the proxy on node", () => {
  it("an upstream that does not accept the connection in time: 504", async () => {
    // It accepts TCP connections, but never a TLS handshake.
    const upstream = await RawUpstream.listen();
    const front = await startInstance(upstream.url.replace("http:", "https:"), { connectTimeoutMs: 100 });
    const client = front.client();
    client.send(GET);
    expect(await client.gets(/Gateway Timeout\n$/)).toMatch(/^HTTP\/1\.1 504 /);
    await (await upstream.connection(0)).closed();
    await eventually("the line", () => front.output.find((it) => /no connection within 100 ms/.test(it)));
  });

  it("a missing upstream: 502", async () => {
    const upstream = await RawUpstream.listen();
    const { url } = upstream;
    upstream.close();
    const front = await startInstance(url);
    const client = front.client();
    client.send(GET);
    await client.gets(/^HTTP\/1\.1 502 /);
    await eventually("the line", () => front.output.find((it) => /^proxy http:.*ECONNREFUSED.*\(GET \/\)$/.test(it)));
  });

  it("an upstream that does not respond in time: 504, and its connection is closed", async () => {
    const both = await withOurs({ responseTimeoutMs: 100 });
    const client = both.front.client();
    client.send(GET);
    expect(await client.gets(/Gateway Timeout\n$/)).toMatch(/^HTTP\/1\.1 504 /);
    await (await both.upstream.connection(0)).closed();
  });

  it("an upstream that sends its head byte by byte is late, too: 504", async () => {
    const both = await withOurs({ responseTimeoutMs: 100 });
    const client = await answered(both, GET, "HTTP/1.1 200 OK\r\nX: ");
    const wire = await both.upstream.connection(0);
    await eventually("the response", async () => {
      wire.send("x");
      await new Promise((resolve) => setTimeout(resolve, 5));
      return client.received !== "" || undefined;
    });
    expect(client.received).toMatch(/^HTTP\/1\.1 504 /);
  });

  it("an upstream that falls silent in the middle of a response: the client is cut off", async () => {
    const both = await withOurs({ responseTimeoutMs: 500 });
    const ask = async () => {
      const another = both.upstream.connections.length;
      const client = both.front.client();
      client.send(GET);
      const wire = await both.upstream.connection(another);
      wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart");
      const received = await client.gets(/part$|Gateway Timeout\n$/);
      return received.endsWith("part") ? await client.closed() : received;
    };
    expect(await inTime(ask, (received) => received.endsWith("Gateway Timeout\n"))).toMatch(/part$/);
  });

  it("all connections busy: 503 with Retry-After", async () => {
    const both = await withOurs({ maxConnections: 1, connectTimeoutMs: 500 });
    both.front.client().send(GET);
    await upstreamGets(both, /\r\n\r\n/);
    const second = both.front.client();
    second.send(GET);
    expect(await second.gets(/Service Unavailable\n$/)).toMatch(/^HTTP\/1\.1 503 [\s\S]*retry-after: 1\r\n/i);
    expect(both.upstream.connections).toHaveLength(1);
  });

  it("an idle connection is closed after its time", async () => {
    const both = await withOurs({ idleTimeoutMs: 100 });
    const client = await answered(both, GET, OK);
    await client.gets(/ok$/);
    await (await both.upstream.connection(0)).closed();
  });

  it("a client that does not read slows the upstream down, beyond every deadline, and then gets everything", async () => {
    const both = await withOurs({ responseTimeoutMs: 2000 });
    const client = await answered(both, GET, `HTTP/1.1 200 OK\r\nContent-Length: ${MEGABYTES << 20}\r\n\r\n`);
    await client.gets(/\r\n\r\n/);
    client.pause();
    const wire = await both.upstream.connection(0);
    for (let i = 0; i < MEGABYTES; i++) wire.send(MEGABYTE);
    const stood = { at: -1, looks: 0 };
    await eventually("the upstream to be held back past the deadline", async () => {
      stood.looks = stood.at === wire.waitingBytes ? stood.looks + 1 : 0;
      stood.at = wire.waitingBytes;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return stood.looks > 30 || undefined;
    });
    expect(stood.at).toBeGreaterThan(14 << 20);
    client.resume();
    await eventually("all to arrive", () => client.received.length > MEGABYTES << 20 || undefined);
    expect(client.ended).toBe("open");
  });

  it("an upstream that does not read slows the client down", async () => {
    const both = await withOurs();
    const client = both.front.client();
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${MEGABYTES << 20}\r\n\r\nx`);
    const wire = await both.upstream.connection(0);
    await wire.gets(/\r\n\r\n/);
    wire.pause();
    for (let i = 1; i < MEGABYTES; i++) client.send(MEGABYTE);
    let last = -1;
    await eventually("the client to be held back", async () => {
      const before = last;
      last = client.waitingBytes;
      await exchange(both);
      return before === client.waitingBytes || undefined;
    });
    expect(last).toBeGreaterThan(14 << 20);
  });
});

describe("the output of a proxy on node", () => {
  it("has no deprecation warnings, and one line per second about the same fault", async () => {
    const both = await withOurs({});
    const client = await answered(both, GET, OK);
    await client.gets(/ok$/);
    both.upstream.close();
    for (let i = 0; i < 20; i++) {
      const another = both.front.client();
      another.send(GET);
      await another.gets(/ 502 /);
    }
    await eventually("the line of the rest", () => both.front.output.find((it) => /more within 1000 ms/.test(it)));
    expect(both.front.output.join("\n")).not.toMatch(/deprecat/i);
    expect(both.front.output.filter((it) => /ECONNREFUSED/.test(it)).length).toBeLessThan(10);
  });
});
