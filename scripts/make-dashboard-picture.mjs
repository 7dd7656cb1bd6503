/** Generates docs/dashboard.svg: runs a fleet under load for a minute, reloads it, and writes the dashboard's screen. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
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

const COLUMNS = 116;
const ROWS = 27;
const LOAD_MS = 62_000;
const DEADLINE_MS = 20_000;
const CLIENTS = 6;
const paceline = fileURLToPath(new URL("../packages/supervisor/bin/paceline", import.meta.url));
const picture = fileURLToPath(new URL("../docs/dashboard.svg", import.meta.url));

// Slow to start, so that a reload is visible.
const app = `await new Promise((resolve) => setTimeout(resolve, 900));
export default {
  async fetch() {
    if (Math.random() < 0.2) await new Promise((resolve) => setTimeout(resolve, Math.random() * 4));
    return new Response("Hello World!");
  },
};
`;

const folder = join(mkdtempSync(join(tmpdir(), "paceline-")));
const port = await freePort();
writeFileSync(join(folder, "app.mjs"), app);
writeFileSync(
  join(folder, "paceline.config.json"),
  JSON.stringify({
    name: "shop",
    listen: [`127.0.0.1:${port}`],
    pools: {
      web: { app: "./app.mjs", instances: 8 },
      files: { app: "./app.mjs", instances: 1, routes: ["/files/"] },
    },
  }),
);

const { CI: _, NO_COLOR: __, ...inherited } = process.env;
const env = { ...inherited, PACELINE_RUN_DIR: join(folder, ".paceline") };
const terminal = new Terminal({ cols: COLUMNS, rows: ROWS, allowProposedApi: true });
const pty = spawn(paceline, ["start"], { name: "xterm-256color", cols: COLUMNS, rows: ROWS, cwd: folder, env });
const ended = new Promise((resolve) => pty.onExit(resolve));
pty.onData((text) => terminal.write(text));
try {
  await sees(/balancer\.1 +ready[\s\S]*web\.8 +is ready/);
  const end = startLoad();
  await sleep(LOAD_MS);
  pty.write("jj+");
  await sees(/web\.9 +ready/);
  pty.write("r");
  await sees(/reload 5\/9/);
  writeFileSync(picture, screenToSvg(terminal, "The dashboard of a fleet of two pools while it is reloaded"));
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
      await get(agent, turn % 12 === 0 ? "/files/a" : "/");
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

function get(agent, path) {
  return new Promise((resolve) => {
    const request = http.get({ port, host: "127.0.0.1", path, agent }, (response) =>
      response.resume().on("close", resolve),
    );
    // A failure does not matter for the picture.
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
