/** The clients of two-boxes.mjs, in the front's network namespace. Each line on stdin begins a phase; each phase's counts are a line on stdout. */
import http from "node:http";
import process from "node:process";
import readline from "node:readline";

const [port, clients, pauseMs] = process.argv.slice(2).map(Number);
const RESPONSE_TIMEOUT_MS = 120_000;
/** One of this many requests takes 200 ms in the app. */
const SLOW_EVERY = 10;

let phase = "";
let counts = newCounts();
let isOver = false;
let sent = 0;

function newCounts() {
  return { get: { ok: 0, lost: 0, longestMs: 0 }, post: { ok: 0, lost: 0, longestMs: 0 }, boxes: {}, notes: [] };
}

function send(method, agent) {
  const id = `${process.pid}-${++sent}`;
  const target = `${sent % SLOW_EVERY === 0 ? "/slow" : "/"}?id=${id}`;
  return new Promise((resolve) => {
    const request = http.request({ port, host: "127.0.0.1", method, path: target, agent });
    const end = (result, box) => resolve({ id, result, box });
    request.on("error", (error) => end(error.code ?? error.message));
    request.setTimeout(RESPONSE_TIMEOUT_MS, () => request.destroy(new Error("no response")));
    request.on("response", (response) => {
      let text = "";
      response.setEncoding("latin1").on("data", (piece) => {
        text += piece;
      });
      response.on("error", (error) => end(error.code ?? "cut"));
      response.on("end", () => {
        const box = response.headers["x-box"];
        if (response.statusCode !== 200) return end(String(response.statusCode));
        end(text === `from ${box}\n` ? "ok" : "a wrong body", box);
      });
    });
    request.end(method === "POST" ? "a body" : undefined);
  });
}

async function client(number) {
  // Half of the clients keep their connection.
  const agent = new http.Agent({ keepAlive: number % 2 === 0, maxSockets: 1 });
  for (let turn = 0; !isOver; turn++) {
    const method = turn % 3 === 2 ? "POST" : "GET";
    const beganAt = performance.now();
    const { id, result, box } = await send(method, agent);
    // Counted in the phase that has delayed or ended it.
    const of = counts[method.toLowerCase()];
    of.longestMs = Math.max(of.longestMs, Math.round(performance.now() - beganAt));
    if (result === "ok") {
      of.ok++;
      counts.boxes[box] = (counts.boxes[box] ?? 0) + 1;
      if (method === "POST") process.stdout.write(`${JSON.stringify({ done: id })}\n`);
    } else {
      of.lost++;
      if (counts.notes.length < 10) counts.notes.push(`${method}: ${result}`);
      // Nobody listens: there is no need to count a million failures.
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  agent.destroy();
}

function report() {
  const ended = { phase, ...counts };
  counts = newCounts();
  return ended;
}

const running = Array.from({ length: clients }, (_, number) => client(number));
const ending = [];
for await (const line of readline.createInterface({ input: process.stdin })) {
  const last = phase === "" ? undefined : report();
  phase = line;
  if (last !== undefined) ending.push(last);
}
isOver = true;
await Promise.all(running);
// The last phase includes the requests that were still in progress.
ending.push(report());
for (const ended of ending) process.stdout.write(`${JSON.stringify(ended)}\n`);
process.exit();
