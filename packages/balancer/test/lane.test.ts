/** The lane to an upstream as its peers see it: deliveries, retries, refusals, waits. */

import path from "node:path";
import { FrameType } from "@paceline/wire/lane/protocol";
import { RequestFlag } from "@paceline/wire/lane/request-head";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { frameBytes } from "../../wire/test/support/lane-frames.js";
import { BalancerProcess, pool, RUNTIMES } from "./support/balancer-process.js";
import { RawClient } from "./support/raw-client.js";
import { type LaneScript, respondAll, ScriptedLane, type ScriptedRequest } from "./support/scripted-lane.js";
import { HELLO, respondEach, ScriptedUpstream } from "./support/scripted-upstream.js";

/** Returns the content of a chunked body. */
function unchunked(body: string): string {
  let text = "";
  for (let at = 0; ; ) {
    const end = body.indexOf("\r\n", at);
    const size = Number.parseInt(body.slice(at, end), 16);
    if (!(size > 0)) return text;
    text += body.slice(end + 2, end + 2 + size);
    at = end + 2 + size + 2;
  }
}

afterAll(() => BalancerProcess.stopIdle());

const bodyOf = (received: string) => received.slice(received.indexOf("\r\n\r\n") + 4);

describe.each(RUNTIMES)("the lane on %s", (runtime) => {
  let balancer: BalancerProcess;
  const upstreams: ScriptedLane[] = [];
  const clients: RawClient[] = [];

  const start = async (limits = {}) => {
    balancer = await BalancerProcess.lease(runtime, limits);
  };

  /** Starts upstreams with these scripts, the first one as `web.1#1`, in one pool. */
  const serve = async (...scripts: LaneScript[]) => {
    const lanes: Record<string, string> = {};
    for (const script of scripts) {
      const id = `web.${upstreams.length + 1}#1`;
      const upstream = await ScriptedLane.listen(path.join(balancer.directory, `${id}.sock`), script);
      upstreams.push(upstream);
      lanes[id] = upstream.path;
    }
    const described = { ...pool(balancer.poolName, ["/", "/prefix/"], lanes), stripPrefix: true };
    for (const upstream of described.upstreams) upstream.protocol = "lane";
    await balancer.follow({}, [described]);
    return upstreams as [ScriptedLane, ScriptedLane, ...ScriptedLane[]];
  };

  /** A client that has sent this request; the response closes its connection. */
  const ask = async (line: string, fields = "", body = "") => {
    const client = await RawClient.connect(balancer.port);
    clients.push(client);
    await client.send(`${line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields}\r\n${body}`);
    return client;
  };
  const get = (target: string) => ask(`GET ${target}`);
  const post = (target: string, body = "abc") => ask(`POST ${target}`, `Content-Length: ${body.length}\r\n`, body);
  const responseOf = async (client: RawClient) => bodyOf(await client.ended());
  const statusOf = async (client: RawClient) => Number((await client.ended()).slice(9, 12));

  /** Returns the upstreams that got the request with that target. */
  const askedAt = (target: string) => upstreams.filter((upstream) => upstream.asked(target) !== undefined);
  /** Waits until any upstream gets the request with that target. */
  const anywhere = async (target: string): Promise<ScriptedRequest> => {
    await Promise.any(upstreams.map((upstream) => upstream.until(() => upstream.asked(target) !== undefined, target)));
    return askedAt(target)[0]?.asked(target) as ScriptedRequest;
  };
  const other = (request: ScriptedRequest) =>
    upstreams.find(({ lanes }) => !lanes.includes(request.lane)) as ScriptedLane;
  /** Returns lines about lanes on the balancer's stderr. */
  const problems = () => balancer.output.split("\n").filter((line) => line.includes("lane"));

  beforeEach(() => {
    upstreams.length = 0;
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy();
    await Promise.all(upstreams.map((upstream) => upstream.close()));
    await balancer.giveBack();
  });

  describe("requests and answers", () => {
    it("carries many requests over one connection, and forwards each response to its client, in any order", async () => {
      await start();
      const [upstream] = await serve({});
      const targets = Array.from({ length: 20 }, (_, i) => `/${i}`);
      const asking = await Promise.all(targets.map(get));
      await upstream.until(({ requests }) => requests.length === targets.length, "all requests");
      expect(upstream.lanes).toHaveLength(1);
      for (const request of upstream.requests.toReversed()) request.head({}).say(FrameType.DATA, "this is ");
      for (const request of upstream.requests) request.say(FrameType.END, request.target);
      const responses = (await Promise.all(asking.map(responseOf))).map(unchunked);
      expect(responses).toEqual(targets.map((target) => `this is ${target}`));
    });

    it("carries a request's body, whatever its framing, and the response", async () => {
      await start();
      const [upstream] = await serve({});
      const client = await ask("POST /c", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n");
      const request = await upstream.request("/c");
      await upstream.until(() => request.hasEnded, "the body's end");
      expect(request.body).toBe("abcde");
      request.begun().respond("fine");
      expect(await client.ended()).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 4\r\n[\s\S]*\r\n\r\nfine$/i);
    });

    it.each([
      ["GET", { status: 204, flags: 1 }, /^HTTP\/1\.1 204 No Content\r\n(?![\s\S]*Content-Length)[\s\S]*\r\n\r\n$/i],
      ["GET", { status: 304, flags: 3, length: 9 }, /^HTTP\/1\.1 304 Not Modified\r\n[\s\S]*\r\n\r\n$/],
      ["HEAD", { flags: 3, length: 9 }, /^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 9\r\n[\s\S]*\r\n\r\n$/i],
      ["HEAD", { flags: 1 }, /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\n$/],
      ["GET", { flags: 3 }, /^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 0\r\n[\s\S]*\r\n\r\n$/i],
      ["GET", { status: 299, flags: 3, reason: "Rather fine" }, /^HTTP\/1\.1 299 Rather fine\r\n/],
    ])("forwards the response to %s with %j without a body", async (method, response, expected) => {
      await start();
      const [upstream] = await serve({});
      const client = await ask(`${method} /x`);
      (await upstream.request("/x")).head(response);
      expect(await client.ended()).toMatch(expected);
      const again = await get("/again");
      (await upstream.request("/again")).respond("fine");
      expect(await responseOf(again)).toBe("fine");
      expect(upstream.lanes).toHaveLength(1);
    });

    it("reads lines as fields, and ignores their framing", async () => {
      await start();
      const [upstream] = await serve({});
      const client = await get("/x");
      const lines = "X-A: 1\r\nContent-Length: 500\r\nTransfer-Encoding: chunked\r\nConnection: X-B\r\nX-B: 2\r\n\r\n";
      (await upstream.request("/x")).head({ flags: 2, length: 5, lines }).say(FrameType.END, "hello");
      const received = await client.ended();
      expect(received).toMatch(/\r\nX-A: 1\r\n/);
      expect(received).not.toMatch(/500|chunked|X-B/);
      expect(bodyOf(received)).toBe("hello");
    });

    it("forwards a 100 to a client that waits for it, and the body after it", async () => {
      await start();
      const [upstream] = await serve({});
      const client = await ask("POST /x", "Content-Length: 3\r\nExpect: 100-continue\r\n");
      const request = await upstream.request("/x");
      expect(request.flags & 8).toBe(8);
      request.begun().head({ status: 100 });
      await client.until(({ received }) => received.startsWith("HTTP/1.1 100 Continue\r\n"), "100");
      await client.send("abc");
      await upstream.until(() => request.hasEnded, "the body");
      request.respond("fine");
      expect(await client.ended()).toMatch(/100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nfine$/);
    });

    it("makes an upgrade a tunnel in both directions, until it ends", async () => {
      await start();
      const [upstream] = await serve({});
      const client = await RawClient.connect(balancer.port);
      clients.push(client);
      await client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
      const request = await upstream.request("/ws");
      request
        .head({ status: 101, lines: "Upgrade: echo\r\nConnection: Upgrade\r\n\r\n" })
        .say(FrameType.DATA, "welcome");
      await client.until(({ received }) => received.endsWith("\r\n\r\nwelcome"), "the first bytes");
      expect(client.received).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/);
      await client.send("ping");
      await upstream.until(() => request.body === "ping", "the client's bytes");
      client.socket.end("last");
      await upstream.until(() => request.hasEnded, "the client's end");
      expect(request.body).toBe("pinglast");
      request.say(FrameType.DATA, "more").say(FrameType.END, "bye");
      expect(await client.ended()).toMatch(/welcomemorebye$/);
    });

    it("cuts off a client whose response fails, so that the response does not look complete", async () => {
      await start();
      const [upstream] = await serve({});
      const client = await get("/x");
      const request = await upstream.request("/x");
      request.head({}).say(FrameType.DATA, "some");
      await client.until(({ received }) => received.includes("some"), "the begin");
      request.say(FrameType.FAIL);
      expect(await client.ended()).not.toMatch(/0\r\n\r\n$/);
      const again = await get("/again");
      (await upstream.request("/again")).respond("fine");
      expect(await responseOf(again)).toBe("fine");
      expect(upstream.lanes).toHaveLength(1);
    });

    it("sends CANCEL when its client disconnects, and forwards the late response to nobody", async () => {
      await start();
      const [upstream] = await serve({});
      const gone = await get("/gone");
      const late = await upstream.request("/gone");
      gone.destroy();
      await upstream.until(() => late.isCancelled, "the cancel");
      const next = await get("/next");
      const request = await upstream.request("/next");
      expect(request.id & 0xffff).toBe(late.id & 0xffff);
      late.lane.together(() => {
        late.cancelled(true).head({}).say(FrameType.DATA, "late").say(FrameType.END, "later");
        request.respond("mine");
      });
      expect(await responseOf(next)).toBe("mine");
      expect(problems()).toEqual([]);
    });
  });

  describe("a lane that ends", () => {
    it("sends a request without STARTED to another instance, although it must not be repeated", async () => {
      await start();
      await serve({}, {});
      const client = await post("/x");
      const request = await anywhere("/x");
      request.lane.socket.destroy();
      const again = await other(request).request("/x");
      await other(request).until(() => again.hasEnded, "the body");
      expect(again.body).toBe("abc");
      again.begun().respond("fine");
      expect(await responseOf(client)).toBe("fine");
    });

    it("does so however often: the limit is for requests that may have started", async () => {
      await start();
      let left = 5;
      const script: LaneScript = {
        onRequest: (request) => (left-- > 0 ? request.lane.socket.destroy() : respondAll(request)),
      };
      await serve(script, script);
      const client = await post("/x");
      expect(await responseOf(client)).toBe("/x");
    });

    it("does not repeat a request that must not be repeated when it had begun", async () => {
      await start();
      await serve({}, {});
      const client = await post("/x");
      const request = await anywhere("/x");
      request.begun();
      request.lane.socket.end();
      expect(await statusOf(client)).toBe(502);
      expect(askedAt("/x")).toHaveLength(1);
    });

    it("repeats a GET that had started once, but not after similar requests have crashed two processes; never a POST", async () => {
      await start();
      const dying: LaneScript = {
        onRequest: (request) => {
          if (request.target === "/fine") return respondAll(request);
          request.begun();
          request.lane.socket.end();
        },
      };
      await serve(dying, dying, dying, dying, dying);
      const sends = () =>
        upstreams.flatMap(({ requests }) => requests).filter(({ target }) => target !== "/fine").length;
      for (const [ask, path, more] of [
        [post, "/post/1", 1],
        [get, "/x/1", 2],
        [get, "/x/2", 1],
        [get, "/y", 2],
      ] as const) {
        const before = sends();
        expect(await statusOf(await ask(path))).toBe(502);
        expect([path, sends() - before]).toEqual([path, more]);
        expect(await responseOf(await get("/fine"))).toBe("/fine");
      }
    });

    it("repeats a GET that had begun, and forwards the other response", async () => {
      await start();
      await serve({}, {});
      const client = await get("/x");
      const request = await anywhere("/x");
      request.begun();
      request.lane.socket.end();
      (await other(request).request("/x")).respond("fine");
      expect(await responseOf(client)).toBe("fine");
    });

    it("cuts off a client that has got the beginning of a response", async () => {
      await start();
      await serve({}, {});
      const client = await get("/x");
      const request = await anywhere("/x");
      request.head({}).say(FrameType.DATA, "some");
      await client.until(({ received }) => received.includes("some"), "the begin");
      request.lane.socket.end();
      expect(await client.ended()).not.toMatch(/0\r\n\r\n$/);
      expect(askedAt("/x")).toHaveLength(1);
    });

    it("is opened again for its requests if there is no other instance", async () => {
      await start();
      const [upstream] = await serve({});
      const targets = ["/1", "/2", "/3"];
      const asking = await Promise.all(targets.map((target) => get(target)));
      for (const target of targets) await upstream.request(target);
      upstream.lanes[0]?.socket.destroy();
      for (const target of targets) {
        await upstream.until(({ requests }) => requests.filter((it) => it.target === target).length === 2, target);
        upstream.requests.filter((it) => it.target === target)[1]?.respond(target);
      }
      expect(await Promise.all(asking.map(responseOf))).toEqual(targets);
    });

    it.each([
      ["a GET is repeated", "GET", "fine"],
      ["what must not be repeated gets 502", "POST", undefined],
    ])("in the middle of a head has the same effect as before it: %s", async (_, method, response) => {
      await start();
      await serve({}, {});
      const client = await (method === "GET" ? get("/x") : post("/x"));
      const request = await anywhere("/x");
      request.begun();
      const head = frameBytes({ type: FrameType.RESPONSE, id: request.id, payload: Buffer.alloc(100) });
      request.lane.write(head.subarray(0, 40));
      request.lane.socket.end();
      if (response === undefined) {
        expect(await statusOf(client)).toBe(502);
        expect(askedAt("/x")).toHaveLength(1);
      } else {
        (await other(request).request("/x")).respond(response);
        expect(await responseOf(client)).toBe(response);
      }
      expect(problems()).toEqual([]);
    });

    it("is opened again for the next request", async () => {
      await start();
      const [upstream] = await serve({ onRequest: respondAll });
      expect(await responseOf(await get("/1"))).toBe("/1");
      upstream.lanes[0]?.socket.end();
      await upstream.until(({ lanes }) => lanes[0]?.isClosed === true, "the balancer's end");
      expect(await responseOf(await get("/2"))).toBe("/2");
      expect(upstream.lanes).toHaveLength(2);
    });
  });

  it("is kept while it is idle, although an HTTP/1.1 connection that was idle for less time is closed", async () => {
    await start({ upstreamIdleTimeoutMs: 100 });
    const lane = await ScriptedLane.listen(path.join(balancer.directory, "lane.sock"), { onRequest: respondAll });
    upstreams.push(lane);
    const http1 = await ScriptedUpstream.listen(path.join(balancer.directory, "http1.sock"), respondEach(HELLO));
    const described = pool(balancer.poolName, ["/"], { "web.1#1": lane.path, "web.2#1": http1.path });
    for (const upstream of described.upstreams) upstream.protocol = upstream.socket === lane.path ? "lane" : "http1";
    await balancer.follow({}, [described]);
    for (const response of ["/x", "hello", "/x", "hello"]) expect(await responseOf(await get("/x"))).toBe(response);
    await http1.until(({ connections }) => connections.every(({ socket }) => socket.readableEnded), "the close");
    expect(await responseOf(await get("/x"))).toBe("/x");
    expect(lane.lanes).toHaveLength(1);
    await http1.close();
  });

  describe("requests that must not be repeated", () => {
    it("wait on a lane, as many as allowed; the next is sent when one has begun", async () => {
      await start({ notStartedUnsafeMax: 2 });
      const [upstream] = await serve({});
      const targets = ["/1", "/2", "/3", "/4"];
      const asking = await Promise.all(targets.map((target) => post(target)));
      await balancer.reports(({ inFlight }) => inFlight === 4);
      // A GET overtakes the waiting requests, although it was sent after them.
      const overtaking = await get("/5");
      (await upstream.request("/5")).respond("/5");
      expect(await responseOf(overtaking)).toBe("/5");
      const posts = () => upstream.requests.filter(({ method }) => method === "POST");
      expect(posts()).toHaveLength(2);
      posts()[1]?.begun();
      await upstream.until(() => posts().length === 3, "the third");
      posts()[0]?.respond(posts()[0]?.target as string);
      await upstream.until(() => posts().length === 4, "the fourth");
      for (const request of posts().slice(1)) request.respond(request.target);
      expect(await Promise.all(asking.map(responseOf))).toEqual(targets);
    });
  });

  describe("an instance that leaves", () => {
    it("gets a reply to its GOAWAY and no new requests, and its requests get responses", async () => {
      await start();
      await serve({}, {});
      const client = await get("/x");
      const request = await anywhere("/x");
      request.lane.say(FrameType.GOAWAY);
      const outgoing = upstreams.find(({ lanes }) => lanes.includes(request.lane)) as ScriptedLane;
      await outgoing.until(
        ({ frames }) => frames.some(({ type }) => type === FrameType.GOAWAY),
        "the answer to GOAWAY",
      );
      for (const target of ["/1", "/2", "/3"]) {
        const next = await get(target);
        (await other(request).request(target)).respond(target);
        expect(await responseOf(next)).toBe(target);
      }
      expect(outgoing.requests).toHaveLength(1);
      request.respond("fine");
      expect(await responseOf(client)).toBe("fine");
    });

    it("is closed after its last response when the pool no longer contains it", async () => {
      await start();
      const [upstream] = await serve({});
      const client = await get("/x");
      const request = await upstream.request("/x");
      const { version, leaving } = await balancer.follow({}, [pool(balancer.poolName, ["/"], {})]);
      expect(leaving).toEqual(["web.1#1"]);
      expect(request.lane.isClosed).toBe(false);
      request.respond("fine");
      expect(await responseOf(client)).toBe("fine");
      await upstream.until(() => request.lane.isClosed, "the close");
      await balancer.hears(
        (message) => message.type === "applied" && message.version === version && message.leaving.length === 0,
      );
    });
  });

  describe("faults of an instance", () => {
    const cases: [string, (request: ScriptedRequest) => void, string][] = [
      ["garbage", ({ lane }) => lane.write(Buffer.from("HTTP/1.1 200 OK\r\n\r\n")), "unknown type"],
      ["an unknown type", ({ lane }) => lane.say(19), "unknown type 19"],
      ["a frame that is too long", (request) => request.say(FrameType.STARTED, "x"), "type 11 with 1 bytes"],
      ["a frame that only a balancer sends", ({ lane }) => lane.say(FrameType.PING, 0, "1234"), "type 14"],
      ["a second HELLO", ({ lane }) => lane.hello(), "type 1"],
      ["a body before its head", (request) => request.say(FrameType.DATA, "x"), "body"],
      ["an end that is not due", (request) => request.head({ flags: 3, length: 5 }), "head"],
    ];

    it.each(cases)("%s closes the lane, with the reason; the request gets 502", async (_, misbehave, problem) => {
      await start();
      const [upstream] = await serve({});
      const client = await post("/x");
      const request = await upstream.request("/x");
      misbehave(request);
      expect(await statusOf(client)).toBe(502);
      await upstream.until(() => request.lane.isClosed, "the close");
      expect(request.lane.closeText).toContain(problem);
      expect(upstream.requests).toHaveLength(1);
      expect(problems()).toEqual([expect.stringContaining(problem)]);
      const next = await get("/next");
      (await upstream.request("/next")).respond("fine");
      expect(await responseOf(next)).toBe("fine");
    });

    const unfit: [string, (request: ScriptedRequest) => void][] = [
      ["a status that is none", (request) => request.head({ status: 600, flags: 3 })],
      ["101 for no upgrade", (request) => request.head({ status: 101 })],
      ["a NUL in a field", (request) => request.head({ flags: 3, lines: "X: a\0b\r\n\r\n" })],
      ["a broken line", (request) => request.head({ flags: 3, lines: "X: a\nY: b\r\n\r\n" })],
      ["a head inside the lines", (request) => request.head({ flags: 3, lines: "\r\nHTTP/1.1 200 OK\r\n\r\n" })],
      ["a reason that ends its line", (request) => request.head({ flags: 3, reason: "OK\r\nX: y" })],
      ["more fields than pass", (request) => request.head({ flags: 3, lines: `${"x: y\r\n".repeat(300)}\r\n` })],
      ["a head too long to pass", (request) => request.head({ flags: 3, lines: `x: ${"y".repeat(70_000)}\r\n\r\n` })],
    ];

    it.each(unfit)("%s fails only its own request, which gets 502", async (_, misbehave) => {
      await start();
      const [upstream] = await serve({});
      const bystander = await get("/other");
      const other = await upstream.request("/other");
      const client = await get("/x");
      const request = await upstream.request("/x");
      misbehave(request);
      expect(await statusOf(client)).toBe(502);
      other.respond("fine");
      expect(await responseOf(bystander)).toBe("fine");
      expect(request.lane.isClosed).toBe(false);
      await expect.poll(() => balancer.output).toMatch(/responded with (?:a head that is not valid|the status )/);
      expect(problems()).toEqual([]);
    });

    it.each([
      ["longer", "hello!"],
      ["shorter", "hell"],
    ])("a body that is %s than its length closes the lane, and cuts off its client", async (_, text) => {
      await start();
      const [upstream] = await serve({});
      const [client, bystander] = [await get("/x"), await post("/other")];
      const request = await upstream.request("/x");
      (await upstream.request("/other")).begun();
      request.head({ flags: 2, length: 5 }).say(FrameType.END, text);
      expect(bodyOf(await client.ended())).not.toBe("hello");
      expect(await statusOf(bystander)).toBe(502);
      await upstream.until(() => request.lane.isClosed, "the close");
      expect(request.lane.closeText).toContain("body");
      expect(problems()).toHaveLength(1);
    });

    it("repeats a GET of a faulty instance at another one", async () => {
      await start();
      await serve({}, {});
      const client = await get("/x");
      const request = await anywhere("/x");
      request.lane.say(0);
      (await other(request).request("/x")).respond("fine");
      expect(await responseOf(client)).toBe("fine");
    });

    it("ignores frames of a faulty instance about requests that had not begun", async () => {
      await start();
      await serve({}, {});
      const client = await post("/x");
      const request = await anywhere("/x");
      request.lane.say(0);
      expect(await statusOf(client)).toBe(502);
      expect(askedAt("/x")).toHaveLength(1);
    });

    it.each<[string, LaneScript["greet"], string]>([
      ["a version that is not a neighbour", (lane) => lane.hello(5), "version 5"],
      ["no HELLO", (lane) => lane.say(FrameType.GOAWAY), "no HELLO"],
      ["a HELLO of something else", (lane) => lane.hello(1, 0x50545448), "no HELLO"],
    ])(
      "with %s at its beginning it is closed with a reason, and other instances respond",
      async (_, greet, problem) => {
        await start();
        const [faulty] = await serve({ ...(greet === undefined ? {} : { greet }) }, { onRequest: respondAll });
        for (const target of ["/1", "/2"]) expect(await responseOf(await post(target))).toBe(target);
        await faulty.until(({ lanes }) => lanes[0]?.isClosed === true, "the close");
        expect(faulty.lanes[0]?.closeText).toContain(problem);
        expect(faulty.requests).toHaveLength(0);
        expect(problems()).toEqual(faulty.lanes.map(() => expect.stringContaining(problem)));
      },
    );

    it("reports the text of an instance's CLOSE", async () => {
      await start();
      await serve({}, {});
      const client = await get("/x");
      const request = await anywhere("/x");
      request.lane.say(FrameType.CLOSE, 0, "no such frame");
      request.lane.socket.end();
      (await other(request).request("/x")).respond("fine");
      expect(await responseOf(client)).toBe("fine");
      expect(problems()).toEqual([expect.stringContaining("no such frame")]);
    });
  });

  describe("windows", () => {
    it("sends no more of an upload than the instance allows, and continues as the instance grants more", async () => {
      await start();
      const [upstream] = await serve({ window: 1000 });
      const body = "0123456789".repeat(30_000);
      const client = await post("/x", body);
      const request = await upstream.request("/x");
      await upstream.until(() => request.body.length === 1000, "a window's worth");
      // Any earlier frame would have arrived before the next request.
      const next = await get("/next");
      (await upstream.request("/next")).respond("fine");
      expect(await responseOf(next)).toBe("fine");
      expect(request.body).toHaveLength(1000);
      for (let granted = 1000; !request.hasEnded; granted += 50_000) {
        request.grant(50_000);
        await upstream.until(() => request.hasEnded || request.body.length >= granted + 50_000, "what was granted");
        expect(request.body.length).toBeLessThanOrEqual(granted + 50_000);
      }
      expect(request.body === body).toBe(true);
      request.begun().respond("fine");
      expect(await responseOf(client)).toBe("fine");
    });

    it("carries many uploads at once over one lane, all of each", async () => {
      await start({ notStartedUnsafeMax: 100 });
      const [upstream] = await serve({ onRequest: (request) => void request.begun() });
      const bodies = Array.from({ length: 12 }, (_, i) => String.fromCharCode(97 + i).repeat(400_000 + i));
      const asking = await Promise.all(bodies.map((body, i) => post(`/${i}`, body)));
      await upstream.until(({ requests }) => requests.length === bodies.length, "all requests");
      // In the meantime the kernel's buffer is full, and the balancer must wait.
      for (const request of upstream.requests) request.grant(1_000_000);
      await upstream.until(({ requests }) => requests.every(({ hasEnded }) => hasEnded), "all bodies");
      for (const request of upstream.requests) {
        expect(request.body === bodies[Number(request.target.slice(1))]).toBe(true);
        request.respond(request.target);
      }
      expect(await Promise.all(asking.map(responseOf))).toEqual(bodies.map((_, i) => `/${i}`));
    });

    it("grants a response no more while its client reads nothing, and other requests on the lane continue", async () => {
      await start();
      const piece = "x".repeat(16_384);
      const [upstream] = await serve({});
      const client = await get("/slow");
      const slow = await upstream.request("/slow");
      client.socket.pause();
      slow.head({});
      const granted = () =>
        upstream.frames
          .filter(({ type, id }) => type === FrameType.WINDOW && id === slow.id)
          .reduce((sum, { payload }) => sum + payload.readUInt32LE(), 0);
      // Like an instance: as much as the window allows, on every grant.
      let sent = 0;
      const sendAll = () => {
        for (; sent + piece.length <= 65_536 + granted(); sent += piece.length) slow.say(FrameType.DATA, piece);
      };
      for (let rounds = 0; ; rounds++) {
        sendAll();
        const before = granted();
        // A response to a later request proves that the balancer has read all of that.
        const bystander = await get(`/other${rounds}`);
        (await upstream.request(`/other${rounds}`)).respond("fine");
        expect(await responseOf(bystander)).toBe("fine");
        expect(rounds).toBeLessThan(400);
        if (granted() === before && sent + piece.length > 65_536 + before && rounds > 0) break;
      }
      client.socket.resume();
      await upstream.until(() => granted() + 65_536 >= sent + piece.length, "more to be granted");
      slow.say(FrameType.END);
      const received = await client.ended();
      expect(received.endsWith("\r\n0\r\n\r\n")).toBe(true);
      expect(received.match(/x/g)?.length).toBeGreaterThanOrEqual(sent);
    });
  });

  describe("silence", () => {
    /** Sends while the balancer is stopped: everything reaches the instances in one turn, and nothing reaches a stalled instance. */
    const together = async <T>(send: () => Promise<T>): Promise<T> => {
      for (const upstream of upstreams) await upstream.until(({ frames }) => frames.length > 0, "its HELLO");
      process.kill(balancer.pid, "SIGSTOP");
      try {
        return await send();
      } finally {
        process.kill(balancer.pid, "SIGCONT");
      }
    };

    /** Sends requests until one reaches this upstream, which does not respond by itself. */
    const getsTurnAgain = async (upstream: ScriptedLane): Promise<void> => {
      const before = upstream.requests.length;
      for (let i = 0; upstream.requests.length === before; i++) {
        expect(i).toBeLessThan(1000);
        const client = await get(`/again${i}`);
        const request = await anywhere(`/again${i}`);
        if (upstream.requests.includes(request)) request.respond("fine");
        await client.ended();
      }
    };

    /** How a handler that does not yield looks from outside. */
    const silent: LaneScript = {};

    it("reassigns the GETs of a silent instance that have not begun, but not the running one", async () => {
      await start({ stallAfterMs: 300 });
      const [first, second] = await serve(silent, { onRequest: respondAll });
      const targets = ["/1", "/2", "/3", "/4", "/5", "/6"];
      const asking: RawClient[] = [];
      await together(async () => {
        for (const target of targets) asking.push(await get(`/x/../prefix${target}`));
      });
      for (const target of targets) await anywhere(target);
      expect(first.requests.length).toBeGreaterThan(1);
      const [atWork, ...moved] = first.requests as [ScriptedRequest, ...ScriptedRequest[]];
      for (const { target } of moved) await second.request(target);
      for (const request of moved) await first.until(() => request.isCancelled, "the cancel");
      expect(atWork.isCancelled).toBe(false);
      expect(second.asked(atWork.target)).toBeUndefined();
      // Reassigned requests must be announced before they start.
      for (const { target, flags } of second.requests) {
        expect((flags & RequestFlag.IDEMPOTENT) === 0).toBe(moved.some((request) => request.target === target));
      }
      for (const [i, target] of targets.entries()) {
        if (target !== atWork.target) expect(await responseOf(asking[i] as RawClient)).toBe(target);
      }
      atWork.respond("at last");
      expect(await responseOf(asking[targets.indexOf(atWork.target)] as RawClient)).toBe("at last");
    });

    it("sends a GET that stalls one instance after the other to no more than two", async () => {
      await start({ stallAfterMs: 300 });
      const burning: ScriptedRequest[] = [];
      const burnsAt = (request: ScriptedRequest) => burning.some(({ lane }) => lane === request.lane);
      // Like an instance that flushes at the end of a turn, which does not come while it computes.
      const script: LaneScript = {
        onRequest(request) {
          if (burnsAt(request)) return;
          if (request.target !== "/burns") return void setImmediate(() => burnsAt(request) || respondAll(request));
          burning.push(request);
          if ((request.flags & RequestFlag.IDEMPOTENT) === 0) request.begun();
        },
      };
      await serve(script, script, script);
      // Connections and lanes exist, and requests during the stop are sent in one write per instance.
      const early = ["/1", "/2", "/3", "/4", "/5", "/6"];
      const open = await Promise.all([...early, "/burns"].map(() => RawClient.connect(balancer.port)));
      clients.push(...open);
      expect(await responseOf(await get("/"))).toBe("/");
      process.kill(balancer.pid, "SIGSTOP");
      const say = (client: RawClient, target: string) =>
        client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
      const client = open.pop() as RawClient;
      for (const [i, target] of early.entries()) await say(open[i] as RawClient, target);
      // Sent after other requests, so that this one does not count as the running one.
      await say(client, "/burns");
      process.kill(balancer.pid, "SIGCONT");
      await Promise.any(upstreams.map((upstream) => upstream.until(() => burning.length > 1, "its second instance")));
      const late = ["/7", "/8", "/9", "/10", "/11", "/12"];
      const after = await Promise.all(late.map(get));
      expect(await Promise.all(after.map(responseOf))).toEqual(late);
      // Requests behind it on the second instance were reassigned, but it was not.
      const [first, second] = burning as [ScriptedRequest, ScriptedRequest];
      expect(burning).toHaveLength(2);
      expect([first.isCancelled, second.isCancelled]).toEqual([true, false]);
      second.respond("at last");
      expect(await responseOf(client)).toBe("at last");
      for (const request of first.lane.requests) if (!request.isCancelled) request.respond(request.target);
      expect(await Promise.all(open.map(responseOf))).toEqual(early);
    });

    it.each([
      ["a lane", "lane"],
      ["a lane for control", "http1+control"],
    ] as const)("passes an instance over that does not say HELLO on %s", async (_, protocol) => {
      await start({ stallAfterMs: 300 });
      const cold = await ScriptedLane.listen(path.join(balancer.directory, "a.lane"), { greet() {} });
      const open = await ScriptedLane.listen(path.join(balancer.directory, "b.sock"), { onRequest: respondAll });
      upstreams.push(cold, open);
      // An HTTP/1.1 upstream that does not respond either.
      const http1 = await ScriptedUpstream.listen(path.join(balancer.directory, "a.sock"), () => {});
      const described = pool(balancer.poolName, ["/"], {
        "web.1#1": protocol === "lane" ? cold.path : http1.path,
        "web.2#1": open.path,
      });
      const [first, second] = described.upstreams;
      Object.assign(first as object, { protocol });
      Object.assign(second as object, { protocol: "lane" });
      await balancer.follow({}, [described]);
      await cold.until(({ frames }) => frames.length > 0, "HELLO");
      const early = [await get("/1")];
      // Alone: nothing else wakes the watch. One of the two goes to the first instance.
      if (protocol === "lane") expect(await responseOf(early[0] as RawClient)).toBe("/1");
      early.push(await post("/2", ""));
      if (protocol === "lane") expect(await responseOf(early[1] as RawClient)).toBe("/2");
      // HTTP/1.1 does not show what has started: sent requests stay, and no more follow.
      else await balancer.reports(({ upstreams: all }) => all.some(({ running }) => running !== undefined));
      for (const target of ["/3", "/4", "/5", "/6"]) expect(await responseOf(await get(target))).toBe(target);
      expect(cold.requests).toEqual([]);
      expect(http1.connections.length).toBe(protocol === "lane" ? 0 : 1);
      if (protocol === "lane") {
        // It gets its turn again when it sends something.
        cold.lanes[0]?.hello();
        await getsTurnAgain(cold);
      }
      await http1.close();
    });

    it("skips a silent instance, although its clients have gone, until it sends a byte", async () => {
      await start({ stallAfterMs: 300 });
      const [first] = await serve(silent, { onRequest: respondAll });
      const asking = await together(() => Promise.all(["/1", "/2", "/3", "/4"].map(get)));
      await first.until(({ requests }) => requests.some(({ isCancelled }) => isCancelled), "a stall");
      const before = first.requests.length;
      for (const client of asking) client.destroy();
      await first.until(({ requests }) => requests.every(({ isCancelled }) => isCancelled), "the cancel");
      // Longer than another check needs, without requests: after two reports, an idle balancer sends the next one half a second later.
      for (let n = 0; n < 3; n++) await balancer.reports(({ inFlight }) => inFlight === 0);
      for (const target of ["/5", "/6", "/7", "/8"]) expect(await responseOf(await get(target))).toBe(target);
      expect(first.requests).toHaveLength(before);
      first.requests[0]?.cancelled(false);
      await getsTurnAgain(first);
    });

    it("skips a silent instance until it sends a byte", async () => {
      await start({ stallAfterMs: 300 });
      const [first, second] = await serve(silent, { onRequest: respondAll });
      await together(() => Promise.all(["/1", "/2", "/3", "/4"].map(get)));
      await first.until(({ requests }) => requests.some(({ isCancelled }) => isCancelled), "a stall");
      const before = first.requests.length;
      for (const target of ["/5", "/6", "/7", "/8"]) expect(await responseOf(await get(target))).toBe(target);
      expect(first.requests).toHaveLength(before);
      for (const request of first.requests) request.respond("late");
      await getsTurnAgain(first);
      expect(second.requests.length).toBeGreaterThan(4);
    });

    it("moves a request that must not be repeated when the silent instance reports that it has not begun", async () => {
      await start({ stallAfterMs: 300, notStartedUnsafeMax: 8 });
      const [first, second] = await serve(silent, { onRequest: respondAll });
      const asking = await together(() => Promise.all([1, 2, 3, 4].map((n) => post(`/x/../prefix/${n}`))));
      await first.until(
        ({ requests }) => requests.length > 1 && requests.every(({ isWithdrawn }) => isWithdrawn),
        "WITHDRAW",
      );
      const [kept, ...moved] = first.requests as [ScriptedRequest, ...ScriptedRequest[]];
      for (const { target } of first.requests) expect(second.asked(target)).toBeUndefined();
      kept.cancelled(true);
      for (const request of moved) request.cancelled(false);
      for (const { target } of moved) {
        expect(target).toMatch(/^\/[1-4]$/);
        await second.request(target);
      }
      kept.begun().respond("at last");
      const responses = await Promise.all(asking.map(responseOf));
      expect(responses.filter((response) => response === "at last")).toHaveLength(1);
      expect(second.asked(kept.target)).toBeUndefined();
    });

    it("keeps the request that was last reported to have begun, and moves all others", async () => {
      await start({ stallAfterMs: 2000 });
      let atWork: ScriptedRequest | undefined;
      const script: LaneScript = {
        onRequest(request) {
          if (request.method === "POST") atWork = request.begun();
          else if (request.lane !== atWork?.lane) respondAll(request);
        },
      };
      const [first, second] = await serve(script, script);
      const client = await post("/post");
      const begun = await anywhere("/post");
      const [at, away] = first.requests.includes(begun) ? [first, second] : [second, first];
      const targets = ["/1", "/2", "/3", "/4"];
      const asking = await together(() => Promise.all(targets.map(get)));
      expect(await Promise.all(asking.map(responseOf))).toEqual(targets);
      const moved = at.requests.filter((request) => request !== begun);
      expect(moved.length).toBeGreaterThan(0);
      for (const request of moved) await at.until(() => request.isCancelled, "the cancel");
      expect(away.requests.map(({ target }) => target).toSorted()).toEqual(targets);
      expect(begun.isCancelled || begun.isWithdrawn).toBe(false);
      begun.respond("at last");
      expect(await responseOf(client)).toBe("at last");
    });

    it("moves nothing when all are silent", async () => {
      await start({ stallAfterMs: 300 });
      let isStalled = true;
      const script: LaneScript = { onRequest: (request) => (isStalled ? undefined : respondAll(request)) };
      const [first, second] = await serve(script, script);
      const asking = await Promise.all(["/1", "/2", "/3", "/4"].map(get));
      await Promise.all(["/1", "/2", "/3", "/4"].map(anywhere));
      // Every 50 ms: both were silent for much longer than the stall timeout.
      for (let n = 0; n < 15; n++) await balancer.reports(({ inFlight }) => inFlight === 4);
      const requests = [...first.requests, ...second.requests];
      expect(requests).toHaveLength(4);
      expect(requests.some(({ isCancelled, isWithdrawn }) => isCancelled || isWithdrawn)).toBe(false);
      // When one responds, the other's requests may be reassigned to it.
      isStalled = false;
      for (const request of requests) request.respond(request.target);
      expect(await Promise.all(asking.map(responseOf))).toEqual(["/1", "/2", "/3", "/4"]);
    });

    it("pings a quiet instance with work, and does not move its requests if it replies", async () => {
      // The balancer pings long before this time.
      await start({ stallAfterMs: 10_000 });
      const [first, second] = await serve(silent, { onRequest: respondAll });
      const asking = await together(() => Promise.all(["/1", "/2", "/3", "/4"].map(get)));
      await first.until(({ requests }) => requests.length > 1, "requests");
      for (const request of first.requests) request.begun();
      let pings = 0;
      while (pings < 4) {
        const heard = first.frames.filter(({ type }) => type === FrameType.PING);
        for (const { payload } of heard.slice(pings)) first.lanes[0]?.say(FrameType.PONG, 0, payload);
        pings = heard.length;
        await first.until(
          ({ frames }) => frames.filter(({ type }) => type === FrameType.PING).length > pings,
          "a ping",
        );
      }
      expect(first.requests.some(({ isCancelled }) => isCancelled)).toBe(false);
      for (const request of first.requests) request.respond(request.target);
      expect(await Promise.all(asking.map(responseOf))).toEqual(["/1", "/2", "/3", "/4"]);
      expect(second.requests.length + first.requests.length).toBe(4);
    });
  });
});
