/** Writes pieces of one byte to a peer that does not read, on this runtime; prints what that costs and what the peer finally gets. */
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

const PIECES = 300_000;
const ALL = Array.from({ length: 251 }, (_, n) => Buffer.from([n]));

const isBun = process.versions.bun !== undefined;
const { bunTransport, nodeTransport } = await import(`../../dist/transport/${isBun ? "bun" : "node"}.js`);
const transport = isBun ? bunTransport() : nodeTransport();

const directory = mkdtempSync(path.join(tmpdir(), "paceline-pieces-"));
const socketPath = path.join(directory, "peer.sock");
const server = net.createServer({ pauseOnConnect: true });
await new Promise((resolve) => server.listen(socketPath, resolve));
const accepted = new Promise((resolve) => server.once("connection", resolve));
let drains = 0;
const owner = { onData: () => true, onDrain: () => drains++, onEnd() {}, onClose() {} };
const connection = await new Promise((resolve, reject) =>
  transport.connect(socketPath, {
    onConnectFailed: reject,
    onConnected(made) {
      resolve(made);
      return owner;
    },
  }),
);
const peer = await accepted;

const large = Buffer.alloc(65_536, "x");
let largeBytes = 0;
do largeBytes += large.length;
while (connection.write(large));
const before = process.memoryUsage().rss;
let taken = 0;
for (let n = 0; n < PIECES; n++) if (connection.write(ALL[n % ALL.length])) taken++;
const grownMB = (process.memoryUsage().rss - before) / 1e6;
const { waitingBytes } = connection;

const pieces = [];
peer.on("data", (bytes) => pieces.push(bytes));
const ended = new Promise((resolve) => peer.once("end", resolve));
connection.end();
peer.resume();
await ended;
const received = Buffer.concat(pieces);
const isInOrder =
  received.length === largeBytes + PIECES && received.subarray(largeBytes).every((byte, n) => byte === n % ALL.length);
console.log(
  JSON.stringify({ grownMB, taken, waits: waitingBytes > PIECES, isInOrder, drains, after: connection.waitingBytes }),
);
connection.reset();
peer.destroy();
server.close();
rmSync(directory, { recursive: true, force: true });
