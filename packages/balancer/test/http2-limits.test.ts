/**
 * The limits, refusals and failures of HTTP/1.1 over HTTP/2: they apply to each stream, and the other streams of its connection continue.
 */
import { once } from "node:events";
import http2 from "node:http2";
import path from "node:path";
import { afterAll, afterEach, describe, expect, it as test } from "vitest";
import { inTime } from "../../../test/support/wait.js";
import { FrameType } from "../src/http2/protocol.js";
import { BalancerProcess } from "./support/balancer-process.js";
import { FrameClient } from "./support/frame-client.js";
import { GET, headers, HELLO as PREFACE_AND_SETTINGS, windowUpdate } from "./support/http2-frames.js";
import { ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;

afterAll(() => BalancerProcess.stopIdle());

const HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const LARGE = 1_000_000;
const LARGE_GET = GET.map(([name, value]) => [name, name === ":path" ? "/large" : value] as const);
/** Responds by path: a request for /silent gets no response, and the response for /cut ends too early. */
function respond({ received, socket }: UpstreamConnection): void {
  const at = received.lastIndexOf("\r\n\r\n");
  if (at + 4 !== received.length || !/^GET |\nGET /.test(received)) return;
  const target = /(?:^|\n)GET \/(\S*) [^\n]*\n(?:[^\n]+\n)*\r\n$/.exec(received)?.[1];
  if (target === "silent") return;
  if (target === "cut") {
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", () => socket.destroy());
    return;
  }
  if (target === "large") {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${LARGE}\r\n\r\n`);
    socket.write(Buffer.alloc(LARGE, "x"));
    return;
  }
  socket.write(HELLO);
}

/** Resolves with the status, or with the error code of the reset, when the stream has closed. */
async function outcome(request: http2.ClientHttp2Stream): Promise<string> {
  let status: number | undefined;
  request.on("response", (headers) => {
    status = headers[":status"];
  });
  request.on("error", () => {});
  request.resume();
  if (!request.closed) await once(request, "close").catch(() => {});
  return request.rstCode === 0 ? String(status) : `${status ?? "none"}, reset ${request.rstCode}`;
}

describe.concurrent.each([
  ["bun", "lane"],
  ["bun", "http1"],
  ["node", "http1"],
] as const)("on %s over %s", (runtime, protocol) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;
  let client: http2.ClientHttp2Session;

  async function start(limits: object, settings: http2.Settings = {}): Promise<void> {
    balancer = await BalancerProcess.lease(runtime, limits);
    balancer.protocol = protocol;
    upstream = await ScriptedUpstream.listen(path.join(balancer.directory, "web.sock"), respond, protocol);
    await balancer.follow({ "web.1#1": upstream.path });
    client = http2.connect(`http://127.0.0.1:${balancer.port}`, { settings });
    client.on("error", () => {});
  }

  const ask = (headers: http2.OutgoingHttpHeaders, endStream = true) =>
    client.request({ ":path": "/", ...headers }, { endStream });

  afterEach(async () => {
    client.destroy();
    await upstream.close();
    await balancer.giveBack();
  });

  it("refuses what HTTP/1.1 refuses, with the same statuses, and serves the rest of the connection", async () => {
    await start({ maxBodyBytes: 1_000_000 });
    const post = { ":method": "POST" };
    const tooLong = ask({ ...post }, false);
    const refused = [
      ask({ ":authority": "%61" }),
      ask({ ":path": "/../../x" }),
      ask({ ":path": "/%00" }),
      ask({ ...post, "content-length": "1000001" }, false),
      ask({ ":path": `/${"a".repeat(17_000)}` }),
      ask({ x: "a".repeat(17_000) }),
      ask({ expect: "200-ok" }),
      ask({ ":method": "TRACE" }),
      ask({ ":method": "A".repeat(25) }),
    ];
    tooLong.on("error", () => {});
    for (let sent = 0; sent <= 1_000_000; sent += 50_000) tooLong.write(Buffer.alloc(50_000));
    expect(await Promise.all(refused.map(outcome))).toEqual([
      "400",
      "400",
      "400",
      "413",
      "414",
      "431",
      "417",
      "501",
      "501",
    ]);
    expect(await outcome(tooLong)).toBe("413");
    expect(await outcome(ask({}))).toBe("200");
    expect(upstream.received).not.toMatch(/%61|TRACE|AAAA/);
  });

  it("408 for a body that stops, 504 for a silent instance, a reset for one that fails during the response", async () => {
    await start({ bodyTimeoutMs: 300, upstreamResponseTimeoutMs: 300 });
    const upload = ask({ ":method": "POST", "content-length": "6" }, false);
    upload.write("abc");
    expect(await Promise.all([upload, ask({ ":path": "/silent" })].map(outcome))).toEqual(["408", "504"]);
    // An upstream that responds late gets a 504.
    const inTimeAt = (path: string) =>
      inTime(
        () => outcome(ask({ ":path": path })),
        (late) => late === "504",
      );
    expect(await inTimeAt("/cut")).toBe("200, reset 2");
    expect(await inTimeAt("/")).toBe("200");
  });

  it("resets a stream whose client opens no window for sendTimeoutMs, and only that one", async () => {
    await start({ sendTimeoutMs: 200, minBodyBytesPerSecond: 0 }, { initialWindowSize: 10 });
    const slow = ask({ ":path": "/large" });
    slow.on("error", () => {});
    // The response and the reset may be read together.
    const closed = once(slow, "close").catch(() => {});
    await once(slow, "response");
    // The client reads nothing, so node:http2 opens no window.
    await closed;
    expect(slow.rstCode).toBe(http2.constants.NGHTTP2_INTERNAL_ERROR);
    expect(await outcome(ask({}))).toBe("200");
  });

  it("a response that waits for windows arrives complete, while others overtake it", async () => {
    await start({}, { initialWindowSize: 1000 });
    const large = ask({ ":path": "/large" });
    await once(large, "response");
    expect(await outcome(ask({}))).toBe("200");
    let bytes = 0;
    large.on("data", (piece: Buffer) => {
      bytes += piece.length;
    });
    await once(large, "end");
    expect(bytes).toBe(LARGE);
  });

  it("a client that acknowledges each frame of ten large responses gets them complete, and does not count as a flood", async () => {
    await start({});
    const requests = Array.from({ length: 10 }, (_, n) => headers(2 * n + 1, LARGE_GET));
    const naive = await FrameClient.connect(balancer.port, PREFACE_AND_SETTINGS, ...requests);
    const endings: string[] = [];
    let bytes = 0;
    const acknowledge = () => {
      endings.push(...naive.endings);
      const sent = naive.frames.filter(({ type, payload }) => type === FrameType.DATA && payload.length > 0);
      naive.frames = [];
      for (const { stream, payload } of sent) {
        bytes += payload.length;
        naive.socket.write(Buffer.concat([windowUpdate(0, payload.length), windowUpdate(stream, payload.length)]));
      }
      return bytes === 10 * LARGE || endings.length > 0;
    };
    await naive.until(acknowledge, "all of the responses", 60_000);
    expect([bytes, endings]).toEqual([10 * LARGE, []]);
    naive.socket.destroy();
  });
});
