/** Generates docs/dashboard.svg: runs a fleet under load for some minutes, deploys a release, and writes the dashboard's screen. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { spawn } from "@lydell/node-pty";
import { screenToSvg } from "./screen-to-svg.mjs";

const { Terminal } = createRequire(import.meta.url)("@xterm/headless");

const COLUMNS = 120;
const ROWS = 40;
const LOAD_MS = 75_000;
const CANARY_MS = 16_000;
const DEADLINE_MS = 20_000;
const CLIENTS = 6;
const paceline = fileURLToPath(new URL("../packages/supervisor/bin/paceline", import.meta.url));
const picture = fileURLToPath(new URL("../docs/dashboard.svg", import.meta.url));

const app = `const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const slow = process.env.PACELINE_INSTANCE === "web.3";
const kept = [];
if (slow) setInterval(() => kept.push(Buffer.alloc(250_000, 1)), 1000);
export default {
  async fetch(request) {
    if (new URL(request.url).pathname === "/cart/add") {
      console.error('TypeError: Cannot read properties of undefined (reading "id")');
      process.exit(1);
    }
    if (Math.random() < 0.25) await sleep(Math.random() * (slow ? 60 : 5));
    return Math.random() < (slow ? 0.02 : 0.001) ? new Response("", { status: 500 }) : new Response("Hello World!");
  },
};
`;

const folder = join(mkdtempSync(join(tmpdir(), "paceline-")));
const port = await freePort();
for (const release of ["7", "8"]) {
  mkdirSync(join(folder, release));
  writeFileSync(join(folder, release, "app.mjs"), app);
  writeFileSync(
    join(folder, release, "paceline.config.json"),
    JSON.stringify({
      name: "shop",
      listen: [`127.0.0.1:${port}`],
      deploy: { judgeMs: 60_000 },
      pools: {
        web: { app: "./app.mjs", instances: 8 },
        api: { app: "./app.mjs", instances: 2, routes: ["/api/"] },
        files: { app: "./app.mjs", instances: 1, routes: ["/files/"] },
      },
    }),
  );
}
symlinkSync("7", join(folder, "current"));

const { CI: _, NO_COLOR: __, ...inherited } = process.env;
const env = { ...inherited, PACELINE_RUN_DIR: join(folder, ".paceline") };
const terminal = new Terminal({ cols: COLUMNS, rows: ROWS, allowProposedApi: true });
const config = join(folder, "current", "paceline.config.json");
const pty = spawn(paceline, ["start", "-c", config], {
  name: "xterm-256color",
  cols: COLUMNS,
  rows: ROWS,
  cwd: folder,
  env,
});
const ended = new Promise((resolve) => pty.onExit(resolve));
pty.onData((text) => terminal.write(text));
try {
  await sees(/ 11\/11 ready [\s\S]*balancer\.1 +ready/);
  const end = startLoad();
  await sleep(LOAD_MS);
  // A request that crashes its process.
  await get(new http.Agent(), "/cart/add", "POST");
  const deploy = spawn(paceline, ["deploy", "-c", config, join(folder, "8")], { cwd: folder, env, cols: 80, rows: 24 });
  await sees(/canary \d of/);
  await sleep(CANARY_MS);
  pty.write("jj");
  await sees(/▸web\.3 +/);
  writeFileSync(
    picture,
    screenToSvg(terminal, "The dashboard of a fleet of three pools under load while a release is tried"),
  );
  deploy.kill();
  end();
} finally {
  pty.write("\x03");
  await Promise.race([ended, sleep(DEADLINE_MS, undefined, { ref: false })]);
  pty.kill();
  rmSync(folder, { recursive: true, force: true });
}

function screenText() {
  const { active } = terminal.buffer;
  return Array.from({ length: ROWS }, (_, y) => active.getLine(active.baseY + y)?.translateToString() ?? "").join("\n");
}

async function sees(pattern) {
  const deadline = performance.now() + DEADLINE_MS;
  while (!pattern.test(screenText())) {
    if (performance.now() > deadline) throw new Error(`the screen does not show ${pattern}:\n${screenText()}`);
    await sleep(50);
  }
}

/** Sends requests in waves; returns a function that stops them. */
function startLoad() {
  const agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS });
  let running = true;
  const client = async (number) => {
    for (let turn = 0; running; turn++) {
      await get(agent, turn % 12 === 0 ? "/files/a" : turn % 5 === 0 ? "/api/b" : "/");
      const wave = 1 + Math.sin(performance.now() / 7_000 + number / 4);
      if (turn % 8 === 0) await sleep(wave * 6);
    }
  };
  for (let number = 0; number < CLIENTS; number++) void client(number);
  return () => {
    running = false;
    agent.destroy();
  };
}

function get(agent, path, method = "GET") {
  return new Promise((resolve) => {
    const request = http.request({ port, host: "127.0.0.1", path, agent, method }, (response) =>
      response.resume().on("close", resolve),
    );
    request.end();
    // An error does not matter for the picture.
    request.on("error", resolve);
  });
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port: found } = server.address();
      server.close(() => resolve(found));
    });
  });
}
