/**
 * `paceline upgrade` under load, with upgraded connections and an upload open: no request may fail, the upload must arrive completely, and
 * each open connection must be served until its drain timeout has passed.
 *
 * npm run soak:upgrade -- --sockets 100 --drain 15 --runtime bun
 */
import { execFile } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs, promisify } from "node:util";
import { controlStatus, freePort, PACELINE, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    sockets: { type: "string", default: "100" },
    drain: { type: "string", default: "15" },
    runtime: { type: "string", default: "bun" },
  },
});
const SOCKETS = Number(values.sockets);
const DRAIN_MS = Number(values.drain) * 1000;
const CLIENTS = 8;
const PAUSE_MS = 5;
const ECHO_EVERY_MS = 250;
const UPLOAD_PIECES = 100;
const PIECE = Buffer.alloc(1 << 20, "u");
const VERSION = "99.0.0";
/** The inaccuracy of timers on a busy machine, in milliseconds. */
const TOLERANCE_MS = 500;

const APP = `export default (request) => new Response("hello " + new URL(request.url).pathname);\n`;
/** Echoes on upgraded connections, and counts the bytes of bodies. */
const ECHO = `import http from "node:http";
const server = http.createServer((request, response) => {
  let bytes = 0;
  request.on("data", (part) => (bytes += part.length)).on("end", () => response.end("got " + bytes));
});
server.on("upgrade", (request, socket) => {
  socket.on("error", () => {}).on("data", (bytes) => socket.write(bytes));
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n");
});
export default server;
`;

const execute = promisify(execFile);
const folder = mkdtempSync(path.join(tmpdir(), "paceline-upgrade-"));
const runDir = path.join(folder, ".paceline");
const control = path.join(runDir, "control.sock");
const port = await freePort();
writeFileSync(path.join(folder, "app.mjs"), APP);
writeFileSync(path.join(folder, "echo.mjs"), ECHO);
const pools = { web: { app: "./app.mjs", instances: 2 }, ws: { app: "./echo.mjs", routes: "/ws", instances: 2 } };
writeFileSync(
  path.join(folder, "paceline.config.json"),
  JSON.stringify({ pools, listen: `127.0.0.1:${port}`, runtime: values.runtime, drainTimeoutMs: DRAIN_MS }),
);
const env = { ...process.env, PACELINE_RUN_DIR: runDir, PACELINE_RUNTIME: values.runtime };
const run = (program, ...args) => execute("sh", [program, ...args], { cwd: folder, env });

/** Copies this version as another one. Returns its command. */
function otherVersion() {
  const present = path.dirname(path.dirname(PACELINE));
  const other = path.join(folder, "other");
  mkdirSync(other);
  for (const name of ["bin", "dist"]) cpSync(path.join(present, name), path.join(other, name), { recursive: true });
  symlinkSync(realpathSync(path.join(present, "node_modules")), path.join(other, "node_modules"));
  const manifest = JSON.parse(readFileSync(path.join(present, "package.json"), "utf8"));
  writeFileSync(path.join(other, "package.json"), JSON.stringify({ ...manifest, version: VERSION }));
  return path.join(other, "bin/paceline");
}

const counts = { good: 0, bad: new Map() };
let isOver = false;

async function client(_, index) {
  const agent = index % 2 === 0 ? new http.Agent({ keepAlive: true, maxSockets: 1 }) : false;
  while (!isOver) {
    const outcome = await new Promise((resolve) => {
      const request = http.get({ port, host: "127.0.0.1", path: `/${index}`, agent }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (piece) => {
          text += piece;
        });
        response.on("error", (error) => resolve(error.code));
        response.on("end", () => resolve(text === `hello /${index}` ? "good" : `${response.statusCode} ${text}`));
      });
      request.on("error", (error) => resolve(error.code ?? error.message));
    });
    if (outcome === "good") counts.good++;
    else counts.bad.set(outcome, (counts.bad.get(outcome) ?? 0) + 1);
    await wait(PAUSE_MS);
  }
}

/** An upgraded connection on which words are sent and echoed. */
async function openSocket(index) {
  const socket = net.connect(port, "127.0.0.1");
  const state = { closedAt: undefined, echoes: 0, end: () => socket.destroy() };
  let heard = "";
  socket.setEncoding("latin1").on("data", (text) => {
    heard += text;
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    state.closedAt = performance.now();
  });
  await once(socket, "connect");
  socket.write("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  while (!/^HTTP\/1\.1 101 .*\r\n\r\n/s.test(heard)) await wait(5);
  heard = "";
  void (async () => {
    for (let n = 0; state.closedAt === undefined; n++) {
      const word = `${index}:${n};`;
      heard = "";
      socket.write(word);
      while (state.closedAt === undefined && heard !== word) await wait(10);
      if (heard === word) state.echoes++;
      await wait(ECHO_EVERY_MS);
    }
  })();
  return state;
}

/** Sends an upload piece by piece. Resolves with its response. */
async function upload() {
  const request = http.request({ port, host: "127.0.0.1", path: "/ws", method: "POST", agent: false });
  const response = once(request, "response")
    .then(async ([message]) => {
      let text = "";
      for await (const piece of message.setEncoding("utf8")) text += piece;
      return text;
    })
    .catch((error) => error.message);
  request.on("error", () => {});
  for (let n = 0; n < UPLOAD_PIECES; n++) {
    if (!request.write(PIECE)) await Promise.race([new Promise((resolve) => request.once("drain", resolve)), response]);
    await wait(DRAIN_MS / 2 / UPLOAD_PIECES);
  }
  request.end();
  return response;
}

const other = otherVersion();
try {
  await run(PACELINE, "start", "--detach");
  const before = await controlStatus(control);
  const clients = Array.from({ length: CLIENTS }, client);
  const sockets = await Promise.all(Array.from({ length: SOCKETS }, (_, index) => openSocket(index)));
  const uploaded = upload();
  await wait(500);
  const startedAt = performance.now();
  const upgrade = await run(other, "upgrade");
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  const received = await uploaded;
  await wait(500);
  isOver = true;
  await Promise.all(clients);
  const after = await controlStatus(control);
  const isNew = [...after.balancers, ...after.pools.flatMap(({ instances }) => instances)].every(
    ({ version }) => version === VERSION,
  );
  const bad = [...counts.bad].map(([outcome, count]) => `${count} × ${outcome}`).join(", ");
  const lived = sockets.map(({ closedAt = performance.now() }) => closedAt - startedAt);
  const least = Math.min(...lived);
  const echoes = sockets.reduce((sum, socket) => sum + socket.echoes, 0);
  verdict(counts.bad.size === 0 && counts.good > 0, `${counts.good} requests, ${bad || "none"} failed`);
  verdict(received === `got ${UPLOAD_PIECES * PIECE.length}`, `the upload of ${UPLOAD_PIECES} MiB: ${received}`);
  verdict(
    least >= DRAIN_MS - TOLERANCE_MS,
    `${SOCKETS} upgraded connections were served for ${(least / 1000).toFixed(1)} s and more of the upgrade, of ${values.drain} s to drain; ${echoes} echoes`,
  );
  verdict(
    isNew && after.version === VERSION && after.pid !== before.pid,
    `all processes are of ${after.version} after ${seconds} s`,
  );
  process.stdout.write(`${upgrade.stdout.trim().split("\n").at(-1)}\n`);
  for (const socket of sockets) socket.end();
} finally {
  isOver = true;
  await run(PACELINE, "stop").catch((error) => process.stdout.write(`${error.message}\n`));
  rmSync(folder, { recursive: true, force: true });
}
process.exit();
