/** A large object and many small ones, stored and read in turns with other S3 servers. */
import { execFile, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { endsWithProgram, freePort, wait } from "../support.mjs";
import { S3 } from "./client.mjs";
import { startStore } from "./store.mjs";

const execute = promisify(execFile);
const MB = 2 ** 20;
const TURNS = 3;
const SMALL_OBJECTS = 1000;
const SMALL_BYTES = 4096;
const CLIENTS = 16;

/** @param s3rver the folder in which `npm install s3rver` was run; without it, and without `rclone serve s3`, the store runs alone. */
export async function peersPart({ runtime, megabytes, s3rver }) {
  const folder = mkdtempSync(path.join(process.env.STORE_SOAK_FOLDER ?? tmpdir(), "paceline-peers-"));
  const file = path.join(folder, "large.bin");
  writeFileSync(file, "");
  truncateSync(file, megabytes * MB);
  const servers = [{ name: "paceline", start: () => startPaceline(runtime) }];
  if (s3rver) servers.push({ name: "s3rver", start: () => startS3rver(s3rver, folder) });
  const hasRclone = spawnSync("rclone", ["serve", "s3", "--help"]).stdout?.includes("--auth-key");
  if (hasRclone) servers.push({ name: "rclone serve s3", start: () => startRclone(folder) });
  const figures = new Map(servers.map(({ name }) => [name, []]));
  try {
    for (let turn = 0; turn < TURNS; turn++) {
      for (const { name, start } of servers) {
        const { s3, stop } = await start();
        try {
          figures.get(name).push(await measure(s3, file, megabytes));
        } finally {
          s3.close();
          await stop();
        }
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  for (const [name, turns] of figures) {
    const median = (what) => turns.map((each) => each[what]).sort((a, b) => a - b)[Math.floor(turns.length / 2)];
    const large = `${megabytes} MB: put ${median("put").toFixed(0)} MB/s, get ${median("get").toFixed(0)} MB/s`;
    const small = `objects of 4 KB: ${median("puts").toFixed(0)} puts/s, ${median("gets").toFixed(0)} gets/s`;
    process.stdout.write(`${name}: ${large}; ${small} (medians of ${TURNS} turns)\n`);
  }
}

async function measure(s3, file, megabytes) {
  await s3.request("PUT", "/peers");
  const url = (method) => `http://127.0.0.1:${s3.port}${s3.presign(method, "/peers/large.bin", { expires: 3600 })}`;
  const seconds = async (...args) =>
    Number((await execute("curl", ["-sf", "-o", "/dev/null", "-w", "%{time_total}", ...args])).stdout);
  const put = megabytes / (await seconds("-T", file, url("PUT")));
  const get = megabytes / (await seconds(url("GET")));
  const body = Buffer.alloc(SMALL_BYTES, "s");
  const puts = await perSecond((n) => s3.request("PUT", `/peers/small/${n}`, { body }));
  const gets = await perSecond((n) => s3.request("GET", `/peers/small/${n}`));
  return { put, get, puts, gets };
}

async function perSecond(send) {
  const startedAt = performance.now();
  let next = 0;
  const client = async () => {
    for (let n = next++; n < SMALL_OBJECTS; n = next++) {
      const { status, text } = await send(n);
      if (status !== 200) throw new Error(`${status} ${text}`);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return (SMALL_OBJECTS * 1000) / (performance.now() - startedAt);
}

async function startPaceline(runtime) {
  const store = await startStore({ runtime });
  return { s3: store.client({ timeoutMs: 300_000 }), stop: () => store.stop() };
}

async function startS3rver(installed, folder) {
  const served = path.join(folder, "s3rver");
  const port = await freePort();
  const program = path.join(installed, "node_modules/s3rver/bin/s3rver.js");
  const args = [program, "-d", served, "-a", "127.0.0.1", "-p", `${port}`, "-s", "--no-vhost-buckets"];
  return await started(spawn(process.execPath, args, { stdio: "ignore" }), port, "S3RVER", served);
}

async function startRclone(folder) {
  const served = path.join(folder, "rclone");
  mkdirSync(served, { recursive: true });
  const port = await freePort();
  const args = ["serve", "s3", served, "--addr", `127.0.0.1:${port}`, "--auth-key", "key,key", "--config", "/dev/null"];
  return await started(spawn("rclone", args, { stdio: "ignore" }), port, "key", served);
}

/** @param key is also the secret. */
async function started(child, port, key, served) {
  endsWithProgram(child);
  const s3 = new S3({ port, accessKey: key, secret: key, timeoutMs: 300_000 });
  const deadline = Date.now() + 30_000;
  while ((await s3.request("GET", "/").catch(() => undefined)) === undefined) {
    if (Date.now() > deadline) throw new Error("the other server did not get ready");
    await wait(100);
  }
  const stop = async () => {
    child.kill("SIGTERM");
    rmSync(served, { recursive: true, force: true });
  };
  return { s3, stop };
}
