/** Large bodies of slow clients, and instances that handle one request at a time: the bodies wait on disk, and nothing remains there. */
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { afterAll, afterEach, describe, expect, it as test } from "vitest";
import { punctually, waitFor } from "../../../test/support/wait.js";
import { BalancerProcess, RUNTIMES, type Runtime } from "./support/balancer-process.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";

/** The tests of a group run one after another, and the groups run concurrently: they mostly wait. */
const it = test.sequential;
const groups = describe.concurrent;

const GET = "GET /fast HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const BODY_BYTES = 3_000_000;
/** No two places of it are the same over a longer distance. */
const BODY = Array.from({ length: BODY_BYTES / 10 }, (_, i) => String(i).padStart(10, "-")).join("");

/** More than the sockets of both ends hold. */
const LARGE = Buffer.alloc(12_000_000, BODY);

/** Responds to complete requests; the next connection is served after the previous response. */
class Instance {
  readonly requests: string[] = [];
  /** The connection of the large request: the test writes its response there. */
  streaming: net.Socket | undefined;
  /** How often it fails before it responds: it reads some of a request and closes. */
  failures = 0;
  readonly server = net.createServer((socket) => this.serve(socket));

  private serve(socket: net.Socket): void {
    let received = "";
    socket.on("error", () => {});
    socket.setEncoding("latin1").on("data", (text: string) => {
      received += text;
      if (this.failures > 0 && received.length > 500_000) {
        this.failures--;
        return void socket.destroy();
      }
      const end = received.indexOf("\r\n\r\n");
      if (end < 0 || !isWhole(received, end)) return;
      this.requests.push(received);
      const [, path] = received.split(" ");
      received = "";
      if (path === "/large") {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${LARGE.length}\r\n\r\n`);
        socket.write(LARGE);
      } else if (path === "/stream") {
        this.streaming = socket;
        socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      } else socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
  }

  async listen(path: string): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(path, resolve));
    return this;
  }
}

function isWhole(received: string, headEnd: number): boolean {
  const length = /content-length: (\d+)/i.exec(received)?.[1];
  if (length !== undefined) return received.length - headEnd - 4 >= Number(length);
  return !/transfer-encoding/i.test(received) || /\r\n0\r\n(?:.+\r\n)*\r\n$/.test(received.slice(-100));
}

function bodyOf(request = ""): string {
  const body = request.slice(request.indexOf("\r\n\r\n") + 4);
  if (!/transfer-encoding/i.test(request)) return body;
  let joined = "";
  for (let at = 0; ; ) {
    const line = body.indexOf("\r\n", at);
    const size = Number.parseInt(body.slice(at, line), 16);
    if (!(size > 0)) return joined;
    joined += body.slice(line + 2, line + 2 + size);
    at = line + 4 + size;
  }
}

/** Returns the spool files that a process has open. */
function openFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/${pid}/fd/${fd}`);
      return path.includes("/spool/") ? [path] : [];
    } catch {
      return [];
    }
  });
}

/** Returns the received `size` bytes of a chunked response, without head and framing. */
function dechunked(received: string): string {
  const start = received.indexOf("\r\n\r\n") + 4;
  let joined = "";
  for (let at = start; ; ) {
    const line = received.indexOf("\r\n", at);
    const size = Number.parseInt(received.slice(at, line), 16);
    if (line < 0 || !(size > 0)) return joined;
    joined += received.slice(line + 2, line + 2 + size);
    at = line + 4 + size;
  }
}

afterAll(() => BalancerProcess.stopIdle());

groups.each(RUNTIMES)("large bodies for instances that take one request at a time, on %s", (runtime: Runtime) => {
  let balancer: BalancerProcess;
  let instances: Instance[] = [];

  async function start(
    limits: object = {},
    count = 1,
    before?: (spoolDir: string) => void,
    isForeign = false,
  ): Promise<void> {
    const all = { bufferBytes: 65_536, maxSpoolBytes: 4_000_000, ...limits };
    // A process whose folder is not as usual is used only once.
    balancer = await (before === undefined ? BalancerProcess.lease(runtime, all) : BalancerProcess.start(runtime, all));
    before?.(balancer.spoolDir);
    const upstreams = Array.from({ length: count }, (_, i) => ({
      id: `web.${i + 1}#1`,
      name: `web.${i + 1}`,
      socket: `${balancer.directory}/${i + 1}.sock`,
      maxInFlight: 1,
      foreign: isForeign,
    }));
    instances = await Promise.all(upstreams.map(({ socket }) => new Instance().listen(socket)));
    await balancer.follow({}, [{ name: "web", routes: ["/"], upstreams }]);
  }

  afterEach(async () => {
    for (const { server } of instances) server.close();
    await balancer.giveBack();
  });

  const asked = () => instances.flatMap(({ requests }) => requests.filter((text) => !text.startsWith("GET ")));
  const isFree = async () =>
    expect((await exchangeRaw(balancer.port, GET)).received).toMatch(/^HTTP\/1\.1 200 [\s\S]*ok$/);
  /** Resolves when the process has that many files of the spool open. */
  const holds = (count: number) => waitFor(`${count} files`, () => openFiles(balancer.pid).length === count);
  const nothingIsLeft = async () => {
    await holds(0);
    expect(readdirSync(balancer.spoolDir)).toEqual([]);
  };
  const post = async (fields: string) => {
    const client = await RawClient.connect(balancer.port);
    await client.send(`POST / HTTP/1.1\r\nHost: a\r\n${fields}\r\n`);
    return client;
  };
  const length = (bytes: number) => `Content-Length: ${bytes}\r\n`;

  it("are complete before an instance gets the request, even in chunks and after 100 Continue, and leave nothing", async () => {
    // Programs read trailers.
    await start({}, 1, undefined, true);
    const client = await post(length(BODY_BYTES));
    await client.send(BODY.slice(0, 2_000_000));
    await holds(1);
    // The file has no name.
    expect(readdirSync(balancer.spoolDir)).toEqual([]);
    await isFree();
    expect(asked()).toEqual([]);
    const held = [{ pool: "web", receiving: 1, sending: 0 }];
    expect(await balancer.reports(({ spoolBytes }) => spoolBytes === 2_000_000)).toMatchObject({ held });
    await client.send(BODY.slice(2_000_000));
    await client.until(({ received }) => received.endsWith("ok"), "the response");
    expect(bodyOf(asked()[0]) === BODY).toBe(true);

    // On the same, kept connection.
    await client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (let at = 0; at < BODY_BYTES; at += 50_000) await client.send(`c350\r\n${BODY.slice(at, at + 50_000)}\r\n`);
    await isFree();
    await client.send("0\r\nX-Sum: 1\r\n\r\n");
    await client.until(({ received }) => received.split("ok").length === 3, "the second response");
    expect(bodyOf(asked()[1]) === BODY).toBe(true);
    expect(asked()[1]?.endsWith("\r\n0\r\nX-Sum: 1\r\n\r\n")).toBe(true);
    client.destroy();

    const polite = await post(`Expect: 100-continue\r\n${length(100_000)}`);
    await polite.until(({ received }) => received === "HTTP/1.1 100 Continue\r\n\r\n", "the 100");
    await isFree();
    await polite.send(BODY.slice(0, 100_000));
    await polite.until(({ received }) => received.endsWith("ok"), "the third response");
    expect(bodyOf(asked()[2])).toBe(BODY.slice(0, 100_000));
    polite.destroy();
    await nothingIsLeft();
  });

  it("are sent completely to another instance if the first one exits before it responds", async () => {
    await start({}, 2);
    (instances[0] as Instance).failures = 1;
    const client = await RawClient.connect(balancer.port);
    await client.send(`PUT / HTTP/1.1\r\nHost: a\r\n${length(BODY_BYTES)}\r\n${BODY}`);
    await client.until(({ received }) => received.endsWith("ok"), "the response of the other");
    expect(instances.map(({ requests }) => requests.map((request) => bodyOf(request) === BODY))).toEqual([[], [true]]);
    client.destroy();
    await nothingIsLeft();
  });

  it("are refused when one is too large or the spool is full, and the room of disconnected clients is freed", async () => {
    await start({ maxSpoolBytes: 1_000_000 });
    const tooLarge = await post(`Expect: 100-continue\r\n${length(1_000_001)}`);
    await tooLarge.until(({ received }) => received.startsWith("HTTP/1.1 413 "), "the 413");
    const chunked = await post("Transfer-Encoding: chunked\r\n");
    for (let i = 0; i < 21 && chunked.received === ""; i++) await chunked.send(`c350\r\n${BODY.slice(0, 50_000)}\r\n`);
    await chunked.until(({ received }) => received.startsWith("HTTP/1.1 413 "), "the 413 of a chunked one");
    await nothingIsLeft();

    const holder = await post(length(900_000));
    await holder.send(BODY.slice(0, 800_000));
    await balancer.reports(({ spoolBytes }) => spoolBytes === 800_000);
    const unlucky = await post("Transfer-Encoding: chunked\r\n");
    for (let i = 0; i < 8 && unlucky.received === ""; i++) await unlucky.send(`c350\r\n${BODY.slice(0, 50_000)}\r\n`);
    await unlucky.until(({ received }) => /^HTTP\/1\.1 503 [\s\S]*Retry-After: 1\r\n/.test(received), "the 503");
    const late = await post(`Expect: 100-continue\r\n${length(300_000)}`);
    await late.until(({ received }) => /^HTTP\/1\.1 503 [\s\S]*Retry-After: 1\r\n/.test(received), "the 503");
    // Requests that need no room are served.
    await isFree();
    const small = await exchangeRaw(
      balancer.port,
      `POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${length(3)}\r\nabc`,
    );
    expect(small.received).toMatch(/^HTTP\/1\.1 200 /);

    holder.destroy();
    await nothingIsLeft();
    const next = await post(length(300_000));
    await next.send(BODY.slice(0, 300_000));
    await next.until(({ received }) => received.endsWith("ok"), "the response");
    for (const client of [tooLarge, chunked, unlucky, late, next]) client.destroy();
  });

  it("leave nothing when the balancer is killed, and leftovers of others are removed at its start", async () => {
    await start({}, 1, (spoolDir) => {
      mkdirSync(spoolDir, { mode: 0o700 });
      for (const name of ["spool-1-1", "spool-99999-7", "notes"]) writeFileSync(`${spoolDir}/${name}`, "left");
    });
    expect(readdirSync(balancer.spoolDir)).toEqual(["notes"]);
    const client = await post(length(BODY_BYTES));
    await client.send(BODY.slice(0, 1_000_000));
    await holds(1);
    process.kill(balancer.pid, "SIGKILL");
    await balancer.exited();
    expect(readdirSync(balancer.spoolDir)).toEqual(["notes"]);
    client.destroy();
  });

  it("are forwarded at the client's rate if the spool cannot be used, and that is reported", async () => {
    await start({}, 1, (spoolDir) => writeFileSync(spoolDir, "a file"));
    const notice = await balancer.hears(({ type }) => type === "notice");
    expect(JSON.stringify(notice)).toMatch(/cannot use the spool folder .*spool: EEXIST|ENOTDIR/);
    const client = await post(length(200_000));
    await client.send(BODY.slice(0, 100_000));
    await balancer.reports(({ upstreams }) => upstreams.some(({ inFlight }) => inFlight === 1));
    await client.send(BODY.slice(100_000, 200_000));
    await client.until(({ received }) => received.endsWith("ok"), "the response");
    expect(bodyOf(asked()[0])).toBe(BODY.slice(0, 200_000));
    client.destroy();
  });

  it("get 503 when the disk fails, which is reported once, and others are served", async () => {
    await start({}, 1, () => undefined);
    // If somebody removes the folder, no file can be created there.
    rmSync(balancer.spoolDir, { recursive: true });
    for (let i = 0; i < 2; i++) {
      const client = await post(length(200_000));
      await client.send(BODY.slice(0, 100_000));
      await client.until(({ received }) => /^HTTP\/1\.1 503 [\s\S]*Retry-After: 1\r\n/.test(received), "the 503");
      client.destroy();
    }
    const notice = await balancer.hears(({ type }) => type === "notice");
    expect(JSON.stringify(notice)).toMatch(/the spool in .* fails: ENOENT/);
    expect(notice).toMatchObject({ kind: "disk" });
    await isFree();
    expect(existsSync(balancer.spoolDir)).toBe(false);
  });

  it("that arrive too slowly get 408, and those at the minimum rate do not", async () => {
    await start({ bodyTimeoutMs: 1000, minBodyBytesPerSecond: 100_000 });
    await punctually(400, async () => {
      const fast = await post(length(BODY_BYTES));
      const slow = await post(length(2000));
      let sent = 0;
      const dribble = setInterval(() => {
        void slow.send("x");
        // Well above the rate, on any machine.
        void fast.send(BODY.slice(sent, sent + 100_000));
        sent += 100_000;
      }, 50);
      try {
        await slow.until(({ received }) => received.startsWith("HTTP/1.1 408 "), "the 408");
        await fast.until(({ received }) => received !== "", "the response");
        expect(fast.received).toMatch(/^HTTP\/1\.1 200 /);
      } finally {
        clearInterval(dribble);
        for (const client of [slow, fast]) client.destroy();
      }
      expect(bodyOf(asked().at(-1)) === BODY).toBe(true);
    });
  });

  const getUnread = async (path: string, connection = "close") => {
    const client = await RawClient.connect(balancer.port);
    client.socket.pause();
    await client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: ${connection}\r\n\r\n`);
    return client;
  };
  const isDone = () => balancer.reports(({ upstreams }) => upstreams.every(({ inFlight }) => inFlight === 0));
  const largeOf = ({ received }: RawClient) => received.slice(received.indexOf("\r\n\r\n") + 4);

  it("of responses wait on disk for clients that do not read them, arrive completely, and leave nothing", async () => {
    await start({ maxSpoolBytes: 100_000_000 });
    const first = await getUnread("/large", "keep-alive");
    await holds(1);
    await isFree();
    const second = await getUnread("/large");
    await isFree();
    await isDone();
    expect(readdirSync(balancer.spoolDir)).toEqual([]);
    expect((await balancer.reports(() => true)).held).toEqual([{ pool: "web", receiving: 0, sending: 2 }]);
    // It disconnects; the other client reads everything, and the next request on its connection is served.
    second.destroy();
    await holds(1);
    await first.send(GET);
    first.socket.resume();
    await first.until(({ ending }) => ending === "fin", "the end");
    expect(largeOf(first).startsWith(LARGE.toString("latin1"))).toBe(true);
    expect(largeOf(first).slice(LARGE.length)).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\nok$/);
    await nothingIsLeft();
    expect(await balancer.reports(({ inFlight }) => inFlight === 0)).toMatchObject({ held: [], spoolBytes: 0 });
  });

  it("of endless responses are not delayed: what the client can accept is sent immediately", async () => {
    await start({ maxSpoolBytes: 100_000_000 });
    const client = await getUnread("/stream");
    client.socket.resume();
    const [instance] = instances as [Instance];
    const send = (text: string) => instance.streaming?.write(`${text.length.toString(16)}\r\n${text}\r\n`);
    await client.until(({ received }) => received.endsWith("\r\n\r\n"), "the head");
    for (const tick of ["one", "two"]) {
      send(tick);
      await client.until(({ received }) => received.includes(`\r\n${tick}\r\n`), tick);
    }
    client.socket.pause();
    send(LARGE.toString("latin1"));
    await holds(1);
    client.socket.resume();
    await client.until(({ received }) => received.length > LARGE.length, "what it had not read");
    await holds(0);
    send("three");
    await client.until(({ received }) => received.includes("\r\nthree\r\n"), "three");
    instance.streaming?.write("0\r\n\r\n");
    await client.until(({ ending }) => ending === "fin", "the end");
    expect(dechunked(client.received) === `onetwo${LARGE.toString("latin1")}three`).toBe(true);
    await nothingIsLeft();
  });

  it("of responses are forwarded at the client's rate when the spool is full or fails, and arrive completely", async () => {
    await start({ maxSpoolBytes: 2_000_000, upstreamConnectTimeoutMs: 500 });
    for (const isFailing of [false, true]) {
      if (isFailing) rmSync(balancer.spoolDir, { recursive: true });
      const client = await getUnread("/large");
      await balancer.reports(({ inFlight, upstreams }) => inFlight === 1 && upstreams[0]?.inFlight === 1);
      expect((await exchangeRaw(balancer.port, GET)).received).toMatch(/^HTTP\/1\.1 503 /);
      client.socket.resume();
      await client.until(({ ending }) => ending === "fin", "the end");
      expect(largeOf(client) === LARGE.toString("latin1")).toBe(true);
      await isFree();
      await holds(0);
    }
  });

  it("of responses are given up when the client reads nothing, or when their instance is lost", async () => {
    await start({ maxSpoolBytes: 100_000_000, sendTimeoutMs: 300 });
    const idle = await getUnread("/large");
    // The client may be cut off before the test can examine the file.
    await balancer.reports(({ inFlight, requestsTotal }) => inFlight === 0 && requestsTotal === 1);
    await nothingIsLeft();
    idle.socket.resume();
    expect((await idle.ended()).length).toBeLessThan(LARGE.length);

    const client = await getUnread("/stream");
    const socket = await waitFor("the request", () => instances[0]?.streaming);
    socket.write(`${LARGE.length.toString(16)}\r\n`);
    await new Promise<void>((resolve) => socket.write(LARGE, () => resolve()));
    socket.destroy();
    client.socket.resume();
    expect((await client.ended()).endsWith("0\r\n\r\n")).toBe(false);
    await nothingIsLeft();
  });
});
