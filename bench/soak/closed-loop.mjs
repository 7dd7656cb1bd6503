/**
 * Connections that send a request after each response for some time; prints latencies as JSON. Unlike wrk, it only counts real responses.
 */
import net from "node:net";
import process from "node:process";

const [port, connections, seconds] = process.argv.slice(2).map(Number);
const REQUEST = Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n");

const taken = [];
let failed = 0;
let isOver = false;

function connect() {
  const socket = net.connect(port, "127.0.0.1");
  let askedAt = 0;
  let received = "";
  const ask = () => {
    askedAt = performance.now();
    socket.write(REQUEST);
  };
  socket.on("connect", ask);
  socket.on("data", (piece) => {
    received += piece.toString("latin1");
    if (!received.endsWith("Hello World!\n")) return;
    taken.push(performance.now() - askedAt);
    if (!received.startsWith("HTTP/1.1 200 ")) failed++;
    received = "";
    if (isOver) socket.end();
    else ask();
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    // A connection that closes during a response has failed a request.
    if (!isOver || received !== "") failed++;
  });
}

for (let n = 0; n < connections; n++) connect();
setTimeout(() => {
  isOver = true;
}, seconds * 1000);
process.on("beforeExit", () => {
  taken.sort((a, b) => a - b);
  const at = (share) => taken[Math.min(taken.length - 1, Math.floor(taken.length * share))];
  process.stdout.write(
    JSON.stringify({
      responses: taken.length,
      failed,
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      p999Ms: at(0.999),
      mostMs: at(1),
    }),
  );
  process.exit();
});
