/**
 * Floods of HTTP/2 frames, each named by its misbehaviour, against one balancer: it closes the connection after a bounded number of frames,
 * serves another client in the meantime, and uses little memory.
 */
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FrameType, Setting } from "../src/http2/protocol.js";
import { BalancerProcess, RUNTIMES } from "./support/balancer-process.js";
import { FrameClient } from "./support/frame-client.js";
import {
  block,
  data,
  type Fields,
  frame,
  GET,
  HELLO,
  headers,
  POST,
  reset,
  settings,
  uint32,
  windowUpdate,
} from "./support/http2-frames.js";
import { itUnless } from "./support/it-unless.js";
import { exchangeRaw } from "./support/raw-client.js";
import { HELLO as RESPONSE, ScriptedUpstream, type UpstreamConnection } from "./support/scripted-upstream.js";

const { DATA, HEADERS, PRIORITY, PING, CONTINUATION, SETTINGS } = FrameType;
const ACK = 1;
const [END_STREAM, END_HEADERS, PADDED] = [1, 4, 8];
/** More than the balancer accepts of any flood in a minute. */
const MOST_PIECES = 50_000;
const MOST_REPLIES = 20_000;
const MOST_REQUESTS = 3000;
const MOST_GROWTH_MB = 150;
const LARGEST_WINDOW = 2 ** 31 - 1;
/** Returns the first frames of a client with a window of this size for each response, and for all together. */
const wide = (bytes: number) =>
  Buffer.concat([HELLO, settings([Setting.INITIAL_WINDOW_SIZE, bytes]), windowUpdate(0, bytes - 65_535)]);
const PIECE_OF_LARGE = Buffer.alloc(65_536, "x");
const LARGE_PIECES = 400;
const STREAMS = 100;

const idOf = (n: number) => 2 * n + 1;
const to = (fields: Fields, target: string): Fields =>
  fields.map(([name, value]) => [name, name === ":path" ? target : value]);
const WAITING = to(POST, "/waits");
const open = (n: number, ...then: Uint8Array[]) => Buffer.concat([headers(idOf(n), WAITING, false), ...then]);
const opened = (n: number, ...then: Uint8Array[]) => Buffer.concat([headers(idOf(n), WAITING), ...then]);
const onItself = (id: number) => frame(PRIORITY, 0, id, Buffer.concat([uint32(id), Buffer.from([1])]));
const large = Array.from({ length: STREAMS }, (_, n) => headers(idOf(n), to(GET, "/large")));
/** A field of 4,000 bytes that is added to the table, and 16,000 references to it. */
const bomb = Buffer.concat([
  block(GET),
  Buffer.from("400178" + "7fa11e", "hex"),
  Buffer.alloc(4000, "y"),
  Buffer.alloc(11_000, 0xbe),
]);

/** What the client sends first, and then without end. */
type Flood = [misbehaviour: string, begin: Uint8Array[], piece: (n: number) => Uint8Array];

const FLOODS: Flood[] = [
  [
    "data dribble: windows that open by 1 byte for large responses (CVE-2019-9511)",
    [settings([Setting.INITIAL_WINDOW_SIZE, 0]), ...large],
    (n) => windowUpdate(idOf(n % STREAMS), 1),
  ],
  [
    "data dribble: a setting that moves the windows of all streams by 1 byte (CVE-2019-9511)",
    large,
    (n) => settings([Setting.INITIAL_WINDOW_SIZE, n % 2]),
  ],
  ["pings (CVE-2019-9512)", [], () => frame(PING, 0, 0, "12345678")],
  [
    "resource loop: priorities that are shuffled (CVE-2019-9513)",
    [],
    (n) => frame(PRIORITY, 0, idOf(n), Buffer.concat([uint32(idOf(n + 1)), Buffer.from([n & 255])])),
  ],
  [
    "reset flood: requests that have to be reset (CVE-2019-9514)",
    [],
    (n) => headers(idOf(n), [...GET, ["Bad", "name"]]),
  ],
  ["settings (CVE-2019-9515)", [], (n) => settings([Setting.INITIAL_WINDOW_SIZE, n])],
  ["fields with empty names (CVE-2019-9516)", [], (n) => headers(idOf(n), [...GET, ["", ""]])],
  ["empty DATA (CVE-2019-9518)", [open(0)], () => data(1, "")],
  ["DATA of padding alone (CVE-2019-9518)", [open(0)], () => frame(DATA, PADDED, 1, "\x03\0\0\0")],
  ["empty CONTINUATION (CVE-2019-9518)", [frame(HEADERS, END_STREAM, 1, block(GET))], () => frame(CONTINUATION, 0, 1)],
  ["rapid reset (CVE-2023-44487)", [], (n) => open(n, reset(idOf(n)))],
  ["rapid reset of whole requests (CVE-2023-44487)", [], (n) => opened(n, reset(idOf(n)))],
  [
    "CONTINUATION without end (CVE-2024-27316)",
    [frame(HEADERS, END_STREAM, 1, block(GET))],
    (n) => frame(CONTINUATION, 0, 1, block([[`x${n}`, "y".repeat(1000)]])),
  ],
  ["made resets: a window update of 0 (CVE-2025-8671)", [], (n) => open(n, windowUpdate(idOf(n), 0))],
  ["made resets: a window too large (CVE-2025-8671)", [], (n) => open(n, windowUpdate(idOf(n), LARGEST_WINDOW))],
  ["made resets: a dependency on itself (CVE-2025-8671)", [], (n) => open(n, onItself(idOf(n)))],
  ["made resets: DATA after the end (CVE-2025-8671)", [], (n) => opened(n, data(idOf(n), "x"))],
  ["made resets: HEADERS after the end (CVE-2025-8671)", [], (n) => opened(n, headers(idOf(n), WAITING))],
  [
    "made resets: a body that is too long (CVE-2025-8671)",
    [],
    (n) => Buffer.concat([headers(idOf(n), [...WAITING, ["content-length", "1"]], false), data(idOf(n), "xy")]),
  ],
  ["requests beyond the streams allowed", [], (n) => open(n)],
  ["heads that grow a thousandfold by the table", [], (n) => frame(HEADERS, END_STREAM | END_HEADERS, idOf(n), bomb)],
  ["unknown frames", [], () => frame(99, 0, 0, "x")],
];

/** The maximum memory that a process has used, in MB; 0 if the system does not report it. */
function peakMb(pid: number): number {
  const file = `/proc/${pid}/status`;
  const [, kB = "0"] = (existsSync(file) && /VmHWM:\s+(\d+)/.exec(readFileSync(file, "latin1"))) || [];
  return Number(kB) / 1024;
}

describe.each(RUNTIMES)("floods on %s", (runtime) => {
  let balancer: BalancerProcess;
  let upstream: ScriptedUpstream;
  let firstMb: number;
  /** Bytes of large responses that the balancer has accepted. */
  let takenBytes = 0;

  /** GET gets a response by its path; a POST to /echo gets its body back as it arrives; other POST requests get none. */
  const respond = (connection: UpstreamConnection) => {
    const { received, socket } = connection;
    if (received.startsWith("POST /waits")) return;
    connection.received = "";
    if (received.startsWith("GET /large ")) {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${LARGE_PIECES * PIECE_OF_LARGE.length}\r\n\r\n`);
      // One by one: for pieces that are written together, the socket reports only when all are accepted.
      let pieces = 0;
      const taken = (error?: Error | null) => {
        if (error != null) return;
        takenBytes += PIECE_OF_LARGE.length;
        if (++pieces < LARGE_PIECES) socket.write(PIECE_OF_LARGE, taken);
      };
      socket.write(PIECE_OF_LARGE, taken);
    } else if (received.startsWith("GET ")) socket.write(RESPONSE);
    else if (received.startsWith("POST /echo ")) {
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      const body = received.slice(received.indexOf("\r\n\r\n") + 4);
      if (body !== "") socket.write(body, "latin1");
    } else socket.write(received, "latin1");
  };

  const askOther = async () =>
    expect(
      (await exchangeRaw(balancer.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).received,
    ).toMatch(/hello$/);

  beforeAll(async () => {
    balancer = await BalancerProcess.start(runtime);
    upstream = await ScriptedUpstream.listen(path.join(balancer.directory, "web.sock"), respond);
    await balancer.follow({ "web.1#1": upstream.path });
    await askOther();
    firstMb = peakMb(balancer.pid);
  });

  afterAll(async () => {
    await upstream?.close();
    await balancer?.stop();
  });

  /** Sends pieces until the balancer closes the connection. */
  async function attack(client: FrameClient, piece: (n: number) => Uint8Array): Promise<void> {
    const { socket } = client;
    const isOver = () => client.isClosed || client.endings.some((ending) => ending.startsWith("GOAWAY"));
    const closed = new Promise((resolve) => socket.once("close", resolve));
    for (let n = 0; n < MOST_PIECES && !isOver(); ) {
      const batch: Uint8Array[] = [];
      for (let bytes = 0; bytes < 16_384; bytes += batch.at(-1)?.length ?? 0) batch.push(piece(n++));
      const isTaken = socket.write(Buffer.concat(batch));
      await (isTaken ? new Promise(setImmediate) : Promise.race([once(socket, "drain"), closed]));
    }
  }

  it.each(FLOODS)("%s", async (_, begin, piece) => {
    const before = upstream.connections.length;
    const client = await FrameClient.connect(balancer.port, HELLO, ...begin);
    await Promise.all([attack(client, piece), askOther()]);
    await client.until(() => client.isClosed, "the end of the connection");
    expect(client.endings.at(-1)).toBe("GOAWAY ENHANCE_YOUR_CALM");
    expect(client.frames.length).toBeLessThan(MOST_REPLIES);
    expect(upstream.connections.length - before).toBeLessThan(MOST_REQUESTS);
    client.socket.destroy();
    await balancer.reports(({ inFlight }) => inFlight === 0);
  });

  it("large responses with open windows that nobody reads (CVE-2019-9517)", async () => {
    takenBytes = 0;
    const client = await FrameClient.connect(balancer.port);
    client.socket.pause().write(Buffer.concat([wide(LARGEST_WINDOW), ...large]));
    await askOther();
    // Until the balancer accepts no more.
    for (let before = -1; before !== takenBytes; ) {
      before = takenBytes;
      await balancer.reports(() => true);
      await balancer.reports(() => true);
    }
    await askOther();
    expect(takenBytes).toBeLessThan(MOST_GROWTH_MB << 20);
    client.socket.destroy();
    await balancer.reports(({ inFlight }) => inFlight === 0);
  });

  itUnless(runtime === "node" ? "the counts are the same code on both runtimes, and this takes seconds" : undefined)(
    "a stream of small messages in both directions, with pings, is no flood",
    async () => {
      const [rounds, messages, bytes] = [1500, 20, 25];
      const client = await FrameClient.connect(balancer.port, wide(2_000_000), headers(1, to(POST, "/echo"), false));
      const round = Buffer.concat([
        ...Array.from({ length: messages }, () => data(1, Buffer.alloc(bytes, "m"))),
        frame(PING, 0, 0, "12345678"),
        windowUpdate(0, messages * bytes),
      ]);
      const endings: string[] = [];
      let echoed = 0;
      for (let n = 1; n <= rounds && endings.length === 0; n++) {
        client.socket.write(round);
        await client.until(() => {
          for (const { type, payload } of client.frames) if (type === DATA) echoed += payload.length;
          endings.push(...client.endings);
          client.frames = [];
          return echoed >= n * messages * bytes || endings.length > 0;
        }, `the echo of round ${n}`);
        // It may take longer than a peer may leave SETTINGS without an acknowledgement.
        if (n === 1) client.socket.write(frame(SETTINGS, ACK, 0));
      }
      expect([echoed, endings]).toEqual([rounds * messages * bytes, []]);
      client.socket.destroy();
    },
  );

  it("leave the memory of the balancer small", () => {
    expect(peakMb(balancer.pid) - firstMb).toBeLessThan(MOST_GROWTH_MB);
  });
});
