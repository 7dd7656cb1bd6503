/**
 * Measures what clients lose in direct mode when instances are reloaded, removed and killed, with a new connection for each request; and
 * the same for plain servers that each open a separate socket for the port and close it when they are replaced. `net.ipv4.tcp_migrate_req`
 * decides about closed sockets: it is printed. Exits with 1 if a reload loses anything.
 *
 * npm run soak:direct -- --rounds 10 --runtime bun
 */
import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { endsWithProgram, freePort, PACELINE, startFleet, wait } from "./support.mjs";

const CLIENTS = 48;
const INSTANCES = 4;
const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

if (process.argv[2] === "client") client(Number(process.argv[3]));
else await main();

/** Connects again and again, and counts the results. */
function client(port) {
  const counts = { ok: 0, refused: 0, reset: 0, late: 0 };
  const connect = () => {
    const socket = net.connect(port, "127.0.0.1", () => socket.write(REQUEST));
    let received = "";
    let outcome = "reset";
    socket.setTimeout(5000, () => {
      outcome = "late";
      socket.destroy();
    });
    socket.on("error", ({ code }) => {
      if (code === "ECONNREFUSED") outcome = "refused";
    });
    socket.on("data", (bytes) => {
      received += bytes;
    });
    socket.on("close", () => {
      counts[received.endsWith("Hello World!\n") ? "ok" : outcome]++;
      setImmediate(connect);
    });
  };
  for (let n = 0; n < CLIENTS; n++) connect();
  process.on("message", () => process.send(counts));
}

async function main() {
  const { values } = parseArgs({
    options: { rounds: { type: "string", default: "10" }, runtime: { type: "string", default: "bun" } },
  });
  const rounds = Number(values.rounds);
  const migrates = readFileSync("/proc/sys/net/ipv4/tcp_migrate_req", "utf8").trim();
  console.log(`net.ipv4.tcp_migrate_req = ${migrates}; ${rounds} rounds, ${CLIENTS} clients, ${INSTANCES} instances`);
  const fleet = await startFleet(INSTANCES, { mode: "direct", runtime: values.runtime, minReadyMs: 0 });
  const load = await startLoad(fleet.port);
  const run = (...args) => command([...args, ...fleet.runDirArgs]);
  const rows = [];
  rows.push(await measure("reload of all", load, rounds, () => run("reload")));
  rows.push(
    await measure("scale to one fewer and back", load, rounds, async () => {
      await run("scale", "web", `${INSTANCES - 1}`);
      await run("scale", "web", `${INSTANCES}`);
    }),
  );
  rows.push(
    await measure("SIGKILL of one", load, rounds, async (round) => {
      const { pools } = await fleet.control();
      const { pid } = pools[0].instances[round % INSTANCES];
      process.kill(pid, "SIGKILL");
      while (true) {
        await wait(20);
        const [{ instances }] = (await fleet.control()).pools;
        if (instances.every((each) => each.state === "ready" && each.pid !== pid)) break;
      }
    }),
  );
  load.child.kill();
  await fleet.stop();
  rows.push(await plainServers(rounds));
  console.log("what                                          served   refused     reset      late");
  for (const { what, ok, refused, reset, late } of rows)
    console.log(`${what.padEnd(42)}${[ok, refused, reset, late].map((n) => `${n}`.padStart(10)).join("")}`);
  const [{ refused, reset, late }] = rows;
  process.exitCode = refused + reset + late > 0 ? 1 : 0;
}

/** Servers with separate reusePort sockets, replaced one after another: a new server listens before the old one stops. */
async function plainServers(rounds) {
  const port = await freePort();
  const folder = mkdtempSync(path.join(tmpdir(), "paceline-direct-"));
  const file = path.join(folder, "server.mjs");
  writeFileSync(
    file,
    `const server = Bun.serve({ port: ${port}, hostname: "127.0.0.1", reusePort: true, fetch: () => new Response("Hello World!\\n") });
process.on("SIGTERM", async () => { await server.stop(); process.exit(0); });
console.log("up");\n`,
  );
  const start = async () => {
    const child = endsWithProgram(spawn(bunPath(), [file], { stdio: ["ignore", "pipe", "inherit"] }));
    await once(child.stdout, "data");
    return child;
  };
  let servers = await Promise.all(Array.from({ length: INSTANCES }, start));
  const load = await startLoad(port);
  const row = await measure("plain reusePort servers, each replaced", load, rounds, async () => {
    const next = [];
    for (const old of servers) {
      next.push(await start());
      old.kill("SIGTERM");
      await once(old, "exit");
    }
    servers = next;
  });
  load.child.kill();
  for (const server of servers) server.kill();
  rmSync(folder, { recursive: true });
  return row;
}

function bunPath() {
  return fileURLToPath(new URL("../../node_modules/.pnpm/node_modules/@oven/bun-linux-x64/bin/bun", import.meta.url));
}

async function startLoad(port) {
  const child = endsWithProgram(fork(fileURLToPath(import.meta.url), ["client", `${port}`]));
  const counts = async () => {
    child.send("counts");
    const [message] = await once(child, "message");
    return message;
  };
  while ((await counts()).ok < CLIENTS) await wait(20);
  return { child, counts };
}

async function measure(what, { counts }, rounds, round) {
  const before = await counts();
  for (let n = 0; n < rounds; n++) await round(n);
  await wait(500);
  const after = await counts();
  return { what, ...Object.fromEntries(Object.keys(after).map((key) => [key, after[key] - before[key]])) };
}

async function command(args) {
  const child = spawn("sh", [PACELINE, ...args], { stdio: ["ignore", "ignore", "inherit"] });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`paceline ${args[0]} exited with ${code}`);
}
