/** The faults of http-proxy alone, with raw bytes on both sides; our instances have none of them. */
import { afterAll, describe, expect, it } from "vitest";
import {
  answered,
  type Both,
  endShared,
  exchange,
  GET,
  OK,
  RawUpstream,
  startAlone,
  upstreamGets,
  withBare,
  within,
  withOurs,
} from "./proxy-harness.js";

afterAll(endShared);

describe.each(["DELETE", "OPTIONS"])("a chunked %s on node", (method) => {
  const body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".padEnd(38, "\n");
  const chunked = `${method} /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n26\r\n${body}\r\n0\r\n\r\n`;

  it("the bare library: is forwarded as empty, and its body becomes a request", async () => {
    const both = await withBare();
    both.front.client().send(chunked);
    const received = await upstreamGets(both, /smuggled/);
    expect(received).toMatch(/content-length: 0\r\n/i);
    expect(received).toMatch(/\r\n\r\nGET \/smuggled HTTP\/1\.1\r\n/);
  });

  it("is sent in chunks, and the connection can be used for the next request", async () => {
    const both = await withOurs();
    const client = both.front.client();
    client.send(chunked);
    const received = await upstreamGets(both, /\r\n0\r\n\r\n$/);
    expect(received).toMatch(/transfer-encoding: chunked\r\n/i);
    expect(received).not.toMatch(/content-length/i);
    expect(received).toMatch(/\r\n\r\n26\r\nGET \/smuggled/);
    (await both.upstream.connection(0)).send(OK);
    await client.gets(/ok$/);
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    await upstreamGets(both, /GET \/next HTTP\/1\.1\r\n/);
    expect(both.upstream.connections).toHaveLength(1);
  });
});

describe("chunks of one byte from an upstream on node", () => {
  const body = "0123456789".repeat(2000);
  const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  const response = `${head}${[...body].map((byte) => `1\r\n${byte}\r\n`).join("")}0\r\n\r\n`;

  it("the bare library: stay as many for the client", async () => {
    const both = await withBare();
    const client = both.front.client();
    client.send(GET);
    (await both.upstream.connection(0)).send(response);
    expect(await client.gets(/\r\n0\r\n\r\n$/)).toContain("\r\n1\r\n5\r\n1\r\n6\r\n");
  });

  it("are joined, read by read, and arrive in order", async () => {
    const both = await withOurs();
    const client = both.front.client();
    client.send(GET);
    (await both.upstream.connection(0)).send(response);
    const received = await client.gets(/\r\n0\r\n\r\n$/);
    const chunks = received.slice(received.indexOf("\r\n\r\n") + 4).split("\r\n");
    expect(chunks.filter((_, index) => index % 2 === 1).join("")).toBe(body);
    expect(chunks.length).toBeLessThan(200);
  });
});

describe("a client that disconnects, on node", () => {
  it("the bare library: the upstream is never notified", async () => {
    const { upstream, front } = await withBare();
    const client = front.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    const wire = await upstream.connection(0);
    await wire.gets(/slow/);
    client.destroy();
    await exchange({ upstream, front });
    expect(wire.ended).toBe("open");
  });

  it.each([
    ["before an answer", ""],
    ["in the middle of one", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart"],
  ])("%s also ends its request to the upstream", async (_, response) => {
    const { upstream, front } = await withOurs();
    const client = front.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    const wire = await upstream.connection(0);
    await wire.gets(/slow/);
    wire.send(response);
    if (response !== "") await client.gets(/part$/);
    client.destroy();
    await wire.closed();
    await exchange({ upstream, front });
  });

  it("in the middle of an upload ends that, too", async () => {
    const { upstream, front } = await withOurs();
    const client = front.client();
    client.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\npart");
    const wire = await upstream.connection(0);
    await wire.gets(/part$/);
    client.destroy();
    await wire.closed();
  });
});

describe("an upstream that is lost in the middle of a response on node", () => {
  const heads = {
    "with a length": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart",
    "in chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
  };

  it.each(Object.entries(heads))("the bare library: leaves the client waiting, %s", async (_, head) => {
    const both = await withBare();
    const client = await answered(both, GET, head);
    await client.gets(/part/);
    (await both.upstream.connection(0)).reset();
    await exchange(both);
    expect(client.ended).toBe("open");
  });

  it.each([...Object.entries(heads), ["until it closes", "HTTP/1.1 200 OK\r\n\r\npart"]])(
    "cuts off the client's connection, %s",
    async (_, head) => {
      const both = await withOurs();
      const client = await answered(both, GET, head);
      await client.gets(/part/);
      (await both.upstream.connection(0)).reset();
      expect(await client.closed()).not.toMatch(/\r\n0\r\n\r\n$/);
      await exchange(both);
    },
  );

  it("also cuts it off if the connection closes normally before the end", async () => {
    const both = await withOurs();
    const client = await answered(both, GET, heads["in chunks"]);
    (await both.upstream.connection(0)).end();
    expect(await client.closed()).not.toMatch(/\r\n0\r\n\r\n$/);
  });
});

describe("hop-by-hop fields on node", () => {
  const request =
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine\r\nX-Mine: secret\r\nKeep-Alive: timeout=9\r\n" +
    "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\nUpgrade: h2c\r\nX-Passes: yes\r\n\r\n";
  const response =
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Theirs\r\nX-Theirs: secret\r\nKeep-Alive: timeout=9\r\n" +
    "Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Passes: yes\r\n\r\nok";
  const HOP = /^(?:x-mine|x-theirs|keep-alive|proxy-[a-z]+|te|trailer|upgrade):/im;

  async function passed({ upstream, front }: Both) {
    const client = front.client();
    client.send(request);
    const wire = await upstream.connection(0);
    const there = await wire.gets(/\r\n\r\n/);
    wire.send(response);
    return { there, back: await client.gets(/ok$/) };
  }

  it("the bare library: are forwarded in both directions", async () => {
    const { there, back } = await passed(await withBare());
    expect(there).toMatch(/^x-mine: secret/im);
    expect(there).toMatch(/^proxy-authorization:/im);
    expect(back).toMatch(/^x-theirs: secret/im);
  });

  it("are removed in both directions, and other fields are forwarded", async () => {
    const { there, back } = await passed(await withOurs());
    expect(there).not.toMatch(HOP);
    expect(back).not.toMatch(HOP);
    expect(there).toMatch(/^x-passes: yes/im);
    expect(back).toMatch(/^x-passes: yes/im);
    expect(there).toMatch(/^connection: keep-alive\r$/im);
    expect(back).toMatch(/^connection: keep-alive\r$/im);
  });

  it("cannot remove framing or Host by naming them in Connection", async () => {
    const both = await withOurs();
    both.front
      .client()
      .send("POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length, host\r\nContent-Length: 2\r\n\r\nhi");
    const received = await upstreamGets(both, /hi$/);
    expect(received).toMatch(/^content-length: 2\r$/im);
    expect(received).toMatch(/^host: 127\.0\.0\.1/im);
  });
});

describe("a Trailer field on a message without chunks, on node", () => {
  const request = "GET /trailer HTTP/1.1\r\nHost: a\r\nTrailer: x\r\n\r\n";
  const response = "HTTP/1.1 200 OK\r\nTrailer: x\r\nContent-Length: 2\r\n\r\nok";

  it("the bare library: crashes the process, in a request", async () => {
    const { front } = await withBare();
    front.client().send(request);
    await within(front.exited, "the end of the bare library");
    expect(front.output.join("\n")).toMatch(/ERR_HTTP_TRAILER_INVALID/);
  });

  it("the bare library: crashes the process, in a response", async () => {
    const both = await withBare();
    await answered(both, GET, response);
    await within(both.front.exited, "the end of the bare library");
    expect(both.front.output.join("\n")).toMatch(/ERR_HTTP_TRAILER_INVALID/);
  });

  it("is removed in both directions", async () => {
    const both = await withOurs();
    const client = await answered(both, request, response);
    expect(await client.gets(/ok$/)).not.toMatch(/^trailer:/im);
    expect(await upstreamGets(both, /GET \/trailer/)).not.toMatch(/^trailer:/im);
  });
});

describe("who the client is, on node", () => {
  const request =
    "GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 66\r\n" +
    "X-Forwarded-Host: evil.example\r\nX-Forwarded-Prefix: /evil\r\nX_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n" +
    "X-Real-IP: 6.6.6.6\r\nProxy: evil\r\nX_Real_IP: 6.6.6.6\r\n\r\n";
  const told = (head: string) =>
    head
      .split("\r\n")
      .filter((line) => /forwarded|real|^proxy/i.test(line))
      .sort();

  it("the bare library: is what the client claims", async () => {
    const both = await withBare();
    both.front.client().send(request);
    expect(await upstreamGets(both, /\r\n\r\n/)).toMatch(/^x-forwarded-for: 6\.6\.6\.6/im);
  });

  it("is what our server knows when it runs alone", async () => {
    const upstream = await RawUpstream.listen();
    const front = await startAlone(upstream.url);
    front.client().send(request);
    expect(told(await upstreamGets({ upstream }, /\r\n\r\n/))).toEqual([
      "forwarded: for=127.0.0.1;proto=http",
      "x-forwarded-for: 127.0.0.1",
      "x-forwarded-host: shop.example",
      "x-forwarded-proto: http",
    ]);
  });

  it("is what the balancer forwards", async () => {
    const both = await withOurs();
    both.front.client().send(request);
    expect(told(await upstreamGets(both, /\r\n\r\n/))).toEqual([
      "forwarded: for=6.6.6.6",
      "x-forwarded-for: 6.6.6.6",
      "x-forwarded-host: evil.example",
      "x-forwarded-port: 66",
      "x-forwarded-prefix: /evil",
      "x-forwarded-proto: https",
      "x-real-ip: 6.6.6.6",
    ]);
  });
});

describe("a target on node", () => {
  const ask = async (both: Both) => {
    both.front.client().send("GET //a//b?c=//d HTTP/1.1\r\nHost: a\r\n\r\n");
    return await upstreamGets(both, /\r\n\r\n/);
  };
  it("the bare library: loses slashes", async () => {
    expect(await ask(await withBare())).toMatch(/^GET \/a\/b\?c=/);
  });
  it("arrives unchanged", async () => {
    expect(await ask(await withOurs())).toMatch(/^GET \/\/a\/\/b\?c=\/\/d HTTP/);
  });
});

describe("a response whose body comes later, on node", () => {
  const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
  it("the bare library: keeps its head back", async () => {
    const both = await withBare();
    const client = await answered(both, GET, head);
    await exchange(both);
    expect(client.received).toBe("");
  });
  it("has its head sent", async () => {
    const client = await answered(await withOurs(), GET, head);
    await client.gets(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\n$/);
  });
});

describe("a request whose body comes later, on node", () => {
  const head = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
  it("the bare library: keeps its head back", async () => {
    const both = await withBare();
    both.front.client().send(head);
    await exchange(both);
    expect(both.upstream.connections.filter(({ received }) => received.includes("upload"))).toEqual([]);
  });
  it("has its head sent", async () => {
    const both = await withOurs();
    both.front.client().send(head);
    await upstreamGets(both, /^POST \/upload HTTP\/1\.1\r\n[\s\S]*\r\n\r\n$/);
  });
});

describe("a response that Node cannot write, on node", () => {
  const responses = {
    "a reason with a control character": "HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok",
    "a status below 100": "HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok",
  };

  it.each(Object.entries(responses))("the bare library: crashes the process, %s", async (_, response) => {
    const both = await withBare();
    await answered(both, GET, response);
    await within(both.front.exited, "the end of the bare library");
    expect(both.front.output.join("\n")).toMatch(/ERR_INVALID_CHAR|ERR_HTTP_INVALID_STATUS_CODE/);
  });

  it("a reason with a control character becomes the usual one", async () => {
    const both = await withOurs();
    const client = await answered(both, GET, responses["a reason with a control character"]);
    expect(await client.gets(/ok$/)).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    await exchange(both);
  });

  it("a status below 100 becomes a 502", async () => {
    const both = await withOurs();
    const client = await answered(both, GET, responses["a status below 100"]);
    expect(await client.gets(/Bad Gateway\n$/)).toMatch(/^HTTP\/1\.1 502 /);
    await exchange(both);
  });
});

describe("an upgrade that nobody requested, on node", () => {
  const upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
  const provoke = async (both: Both) => {
    const client = await answered(both, GET, upgraded);
    await (await both.upstream.connection(0)).closed();
    return client;
  };
  it("the bare library: leaves the client waiting", async () => {
    const both = await withBare();
    const client = await provoke(both);
    await exchange(both);
    expect(client).toMatchObject({ received: "", ended: "open" });
  });
  it("becomes a 502", async () => {
    const client = await provoke(await withOurs());
    expect(await client.gets(/Bad Gateway\n$/)).toMatch(/^HTTP\/1\.1 502 /);
  });
});

describe("a client that wants its connection closed, on node", () => {
  const ask = async (both: Both) => {
    const response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok";
    const client = await answered(both, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", response);
    await client.gets(/ok$/);
    return client;
  };
  it("the bare library: is told that it stays open", async () => {
    const client = await ask(await withBare());
    expect(client.received).toMatch(/^connection: keep-alive/im);
  });
  it("has it closed", async () => {
    const client = await ask(await withOurs());
    expect(await client.closed()).toMatch(/^connection: close\r$/im);
  });
});

describe("a kept connection that the upstream closes while it is used, on node", () => {
  /** One complete exchange, then a request that the upstream resets. */
  const ask = async (both: Both, method: string) => {
    const client = await answered(both, "GET /first HTTP/1.1\r\nHost: a\r\n\r\n", OK);
    await client.gets(/ok$/);
    client.send(`${method} /second HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`);
    const wire = await both.upstream.connection(0);
    await wire.gets(/second/);
    wire.reset();
    return client;
  };
  it("the bare library: is an error to the client", async () => {
    const client = await ask(await withBare(), "GET");
    await client.gets(/ 502 /);
  });
  it.each(["GET", "PUT"])("a %s without a body goes over another one", async (method) => {
    const both = await withOurs();
    const client = await ask(both, method);
    const wire = await both.upstream.connection(1);
    await wire.gets(new RegExp(`^${method} /second`));
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain");
    await client.gets(/again$/);
    expect(client.received).not.toMatch(/ 502 /);
  });
  it("a POST gets 502, and is sent once", async () => {
    const both = await withOurs();
    const client = await ask(both, "POST");
    await client.gets(/ 502 /);
    expect(both.upstream.connections).toHaveLength(1);
  });
});
