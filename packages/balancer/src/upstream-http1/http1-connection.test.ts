/** An upstream's connection without sockets: how much of a turn an endless response uses, and how it is read while memory is scarce. */
import { expect, it } from "vitest";
import { FakeConnection } from "../../test/support/fake-transport.js";
import { FORWARDED, requestHead } from "../../test/support/lane-bench.js";
import { Deadlines } from "../deadlines.js";
import { HeadWriter } from "../http1/head-writer.js";
import { TurnShare } from "../transport/reading.js";
import { PIECE_BYTES, SmallReads } from "../transport/small-reads.js";
import type { ResponseReceiver } from "../upstreams/upstream-client.js";
import { Http1UpstreamConnection } from "./http1-connection.js";
import type { UpstreamConnections } from "./request-sender.js";

const UPSTREAMS = 20;
const READ_BYTES = 60_000;
const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";

it.each([
  ["chunks of a byte", GET, "200 OK\r\nTransfer-Encoding: chunked", "1\r\nx\r\n", 2],
  ["a body until the close", GET, "200 OK\r\nConnection: close", "x", 20],
  ["a body of known length", GET, "200 OK\r\nContent-Length: 900000000", "x", 20],
  ["a tunnel", UPGRADE, "101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade", "x", 20],
])(
  "gives each of many upstreams its share of the turns, and no more: %s",
  async (_, request, head, piece, maxReads) => {
    const share = new TurnShare({ take: () => false });
    const deadlines = new Deadlines();
    const upstream = {
      ...{ deadlines, turnShare: share, requestWriter: new HeadWriter(16_384, deadlines) },
      ...{
        isForeign: true,
        takesTrailers: true,
        countsAbandoned: false,
        awaitsWork: false,
        gone: () => {},
        keep: () => false,
      },
    } as unknown as UpstreamConnections<Http1UpstreamConnection>;
    const receiver = {
      ...{ onUpstreamReady: () => {}, onResponseHead: () => {}, onBody: () => {}, onResponseBatch: () => {} },
    } as unknown as ResponseReceiver;
    const open = () => {
      const stream = new Http1UpstreamConnection(upstream, receiver);
      const connection = new FakeConnection();
      const each = { stream, connection, reads: 0 };
      connection.owner = stream.onConnected(connection);
      // The kernel reports sockets in the order in which they are watched again.
      connection.resume = () => {
        connection.isPaused = false;
        all.push(...all.splice(all.indexOf(each), 1));
      };
      stream.sendHead(requestHead(request), FORWARDED, false);
      connection.owner.onData(Buffer.from(`HTTP/1.1 ${head}\r\n\r\n`));
      return each;
    };
    const all = Array.from({ length: UPSTREAMS }, open);
    /** Each is read as long as it is not paused. */
    const readAll = () => {
      let reads = 0;
      for (const each of [...all]) {
        for (let n = 0; n < 32 && !each.connection.isPaused; n++, reads++, each.reads++) {
          each.connection.owner.onData(Buffer.from(piece.repeat(READ_BYTES / piece.length)));
        }
      }
      return reads;
    };
    for (let turn = 0; turn < 6 * UPSTREAMS; turn++) {
      const reads = readAll();
      // In the first turn no connection is known to send without end.
      if (turn > 0) expect(reads).toBeLessThanOrEqual(maxReads);
      await new Promise(setImmediate);
    }
    const counts = all.map(({ reads }) => reads);
    expect(Math.min(...counts)).toBeGreaterThan(Math.max(...counts) / 2);
    // A connection whose client has left does not wait for a turn.
    for (const { stream } of [...all]) stream.cancel();
    expect((share as unknown as { waiting: Set<unknown> }).waiting.size).toBe(0);
  },
);

it("is read in small pieces while memory is scarce, and as usual after the response", async () => {
  const memory = { spareBytes: 0 };
  const deadlines = new Deadlines();
  const upstream = {
    ...{ deadlines, turnShare: new TurnShare(), requestWriter: new HeadWriter(16_384, deadlines) },
    ...{ smallReads: new SmallReads(memory), isForeign: true, keep: () => true },
  } as unknown as UpstreamConnections<Http1UpstreamConnection>;
  const pieces: number[] = [];
  let end = (): void => {};
  const receiver = {
    ...{ onUpstreamReady: () => {}, onResponseHead: () => {}, onResponseBatch: () => {} },
    onBody: (_: Uint8Array, start: number, end: number) => pieces.push(end - start),
    onResponseEnd: () => end(),
  } as unknown as ResponseReceiver;
  const ended = () =>
    new Promise<void>((resolve) => {
      end = resolve;
    });
  const respond = (bytes: number) =>
    Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n${"x".repeat(bytes)}`);
  const stream = new Http1UpstreamConnection(upstream, receiver);
  const connection = new FakeConnection();
  connection.owner = stream.onConnected(connection);
  stream.sendHead(requestHead(GET), FORWARDED, false);
  expect(connection.isPaused).toBe(true);
  connection.arrived = respond(20_000);
  await ended();
  expect(pieces.splice(0).reduce((sum, size) => sum + Math.min(size, PIECE_BYTES), 0)).toBe(20_000);
  expect(connection.isPaused).toBe(false);
  // The client takes nothing for a while.
  stream.begin(receiver);
  stream.sendHead(requestHead(GET), FORWARDED, false);
  stream.pause();
  connection.arrived = respond(3);
  for (let n = 0; n < 3; n++) await new Promise(setImmediate);
  expect(pieces).toEqual([]);
  stream.resume();
  await ended();
  expect([pieces.splice(0), connection.isPaused]).toEqual([[3], false]);
  // There is memory again.
  memory.spareBytes = 1 << 20;
  stream.begin(receiver);
  stream.sendHead(requestHead(GET), FORWARDED, false);
  expect(connection.isPaused).toBe(false);
});
