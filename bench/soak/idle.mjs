/**
 * 10,000 idle keep-alive connections and 1,000 active ones: none may be dropped; prints the cost of an idle connection, compared with
 * nginx.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { memory, tree } from "../support/processes.mjs";
import { endsWithProgram, rssMB, startFleet, verdict, wait } from "./support.mjs";

const IDLE = 10_000;
const ACTIVE = 1000;
const ACTIVE_SECONDS = 10;
const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/** Opens a connection; `ask` sends a request and resolves with whether its response was valid. */
async function open(port) {
  const socket = net.connect(port, "127.0.0.1");
  const peer = { socket, closed: false, responses: 0, onResponse: () => {} };
  socket.on("error", () => {});
  socket.on("close", () => {
    peer.closed = true;
    peer.onResponse(false);
  });
  socket.on("data", (bytes) => {
    if (!bytes.toString("latin1").endsWith("Hello World!\n")) return;
    peer.responses++;
    peer.onResponse(true);
  });
  await once(socket, "connect");
  return peer;
}

function ask(peer) {
  return new Promise((resolve) => {
    peer.onResponse = resolve;
    if (peer.closed) resolve(false);
    else peer.socket.write(REQUEST);
  });
}

async function openMany(port, count) {
  const peers = [];
  while (peers.length < count) {
    const batch = await Promise.all(Array.from({ length: 100 }, () => open(port)));
    await Promise.all(batch.map(ask));
    peers.push(...batch);
  }
  return peers;
}

const fleet = await startFleet(4, { balancer: { limits: { keepAliveTimeoutMs: 300_000 } } });
try {
  await Promise.all((await openMany(fleet.port, 500)).map(({ socket }) => socket.end()));
  await wait(1000);
  const before = rssMB(fleet.balancerPid);
  const idle = await openMany(fleet.port, IDLE);
  await wait(2000);
  const with10k = rssMB(fleet.balancerPid);
  const active = await openMany(fleet.port, ACTIVE);
  const until = Date.now() + ACTIVE_SECONDS * 1000;
  let bad = 0;
  const work = async (peer) => {
    while (Date.now() < until) if (!(await ask(peer))) bad++;
  };
  await Promise.all(active.map(work));
  const responses = active.reduce((sum, peer) => sum + peer.responses, 0);
  const dropped = [...idle, ...active].filter(({ closed }) => closed).length;
  verdict(
    dropped === 0 && bad === 0,
    `${IDLE} idle and ${ACTIVE} active connections: ${dropped} dropped, ${responses} answers`,
  );
  // In batches: ten thousand requests at once are too many for the instances and the queue.
  let woken = 0;
  for (let i = 0; i < IDLE; i += 500) {
    const responses = await Promise.all(idle.slice(i, i + 500).map(ask));
    woken += responses.filter(Boolean).length;
  }
  verdict(woken === IDLE, `${woken} of ${IDLE} idle connections answer when they are used again`);
  const perConnection = ((with10k - before) * 1024) / IDLE;
  process.stdout.write(`an idle connection costs the balancer ${perConnection.toFixed(2)} KB of RSS\n`);
  for (const { socket } of [...idle, ...active]) socket.destroy();
} finally {
  await fleet.stop();
}

/** The same 10,000 with nginx, if it is installed. */
const directory = mkdtempSync(path.join(tmpdir(), "paceline-soak-"));
const port = 20_000 + (process.pid % 10_000);
writeFileSync(
  path.join(directory, "nginx.conf"),
  `${process.getuid() === 0 ? "user root;" : ""} daemon off; error_log stderr crit; pid nginx.pid; worker_processes 1;
  worker_rlimit_nofile 20000; events { worker_connections 16000; }
  http { access_log off; keepalive_timeout 300s; server { listen 127.0.0.1:${port} backlog=4096;
  location / { return 200 "Hello World!\\n"; } } }`,
);
const nginx = endsWithProgram(
  spawn("nginx", ["-p", directory, "-c", "nginx.conf"], { stdio: ["ignore", "ignore", "inherit"] }),
);
const isMissing = await Promise.race([once(nginx, "error").then(() => true), wait(1500).then(() => false)]);
if (isMissing) process.stdout.write("nginx is not on this machine\n");
else {
  const rss = () => memory(tree(nginx.pid)).rssMB;
  await Promise.all((await openMany(port, 500)).map(({ socket }) => socket.end()));
  const before = rss();
  const idle = await openMany(port, IDLE);
  process.stdout.write(`an idle connection costs nginx ${(((rss() - before) * 1024) / IDLE).toFixed(2)} KB of RSS\n`);
  for (const { socket } of idle) socket.destroy();
  nginx.kill("SIGTERM");
  await once(nginx, "exit");
}
rmSync(directory, { recursive: true, force: true });
