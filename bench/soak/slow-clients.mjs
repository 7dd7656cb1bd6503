/**
 * Slow clients of a pool with one request per instance: 20 uploads of 5 MB at 10 kB/s and 20 downloads of 20 MB at 100 kB/s must not delay
 * others. Then the balancer is killed with SIGKILL, and the spool must be empty.
 */
import { createHash } from "node:crypto";
import { readdirSync, readlinkSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { p99OfOthers, rssMB, startFleet, verdict, wait } from "./support.mjs";

const CLIENTS = 20;
const UPLOAD_BYTES = 5_000_000;
const DOWNLOAD_BYTES = 20_000_000;
const TICK_MS = 100;
const UPLOAD_PIECE = 1000;
const DOWNLOAD_PIECE = 10_000;
const MOST_GROWTH_MB = 20;
const FINISH_MS = 120_000;

const PAYLOAD = Buffer.from(Uint8Array.from({ length: UPLOAD_BYTES }, (_, i) => (i * 31 + (i >> 9)) % 251));
const DIGEST = createHash("md5").update(PAYLOAD).digest("hex");

class Upload {
  sent = 0;
  text = "";
  isClosed = false;
  constructor(port) {
    this.socket = net.connect({ port, host: "127.0.0.1" });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.isClosed = true;
    });
    this.socket.setEncoding("latin1").on("data", (text) => {
      this.text += text;
    });
    this.socket.write(`POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${UPLOAD_BYTES}\r\n\r\n`);
    this.timer = setInterval(() => this.send(UPLOAD_PIECE), TICK_MS);
  }
  send(bytes) {
    this.socket.write(PAYLOAD.subarray(this.sent, this.sent + bytes));
    this.sent += bytes;
    if (this.sent >= UPLOAD_BYTES) clearInterval(this.timer);
  }
  hurry() {
    clearInterval(this.timer);
    this.send(UPLOAD_BYTES - this.sent);
  }
  get lack() {
    return this.text.endsWith(DIGEST) ? undefined : `upload: ${this.text.slice(0, 80) || "no response"}`;
  }
  end() {
    clearInterval(this.timer);
    this.socket.destroy();
  }
}

class Download {
  bytes = 0;
  isClosed = false;
  pauseMs = TICK_MS;
  constructor(port) {
    const buffer = Buffer.alloc(DOWNLOAD_PIECE);
    const callback = (size) => {
      this.bytes += size;
      if (this.pauseMs === 0) return true;
      setTimeout(() => this.socket.resume(), this.pauseMs);
      return false;
    };
    this.socket = net.connect({ port, host: "127.0.0.1", onread: { buffer, callback } });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.isClosed = true;
    });
    this.socket.write(`GET /large?${DOWNLOAD_BYTES} HTTP/1.0\r\nHost: a\r\n\r\n`);
  }
  hurry() {
    this.pauseMs = 0;
  }
  get lack() {
    const isWhole = this.bytes > DOWNLOAD_BYTES && this.bytes < DOWNLOAD_BYTES + 1000;
    return isWhole ? undefined : `download: ${this.bytes} bytes`;
  }
  end() {
    this.socket.destroy();
  }
}

/** Returns the spool files that a process has open; they have no names. */
function spoolFiles(spool, pid) {
  let descriptors = [];
  try {
    descriptors = readdirSync(`/proc/${pid}/fd`);
  } catch {
    // It has exited.
  }
  return descriptors.filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(`${spool}/`);
    } catch {
      return false;
    }
  });
}

/** Returns everything of the spool on disk: named files, and nameless files that any process has open. */
function leftInSpool(spool) {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return [...readdirSync(spool), ...pids.flatMap((pid) => spoolFiles(spool, pid))];
}

/** Runs a function; returns its result and the process's maximum RSS during the run. */
async function withMostRssMB(pid, run) {
  let mostMB = rssMB(pid);
  const watch = setInterval(() => {
    mostMB = Math.max(mostMB, rssMB(pid));
  }, 100);
  try {
    return [await run(), mostMB];
  } finally {
    clearInterval(watch);
  }
}

async function until(holds, timeoutMs) {
  for (const deadline = Date.now() + timeoutMs; Date.now() < deadline; await wait(100)) {
    if (await holds()) return true;
  }
  return false;
}

const start = (port) => Array.from({ length: CLIENTS }, () => [new Upload(port), new Download(port)]).flat();

export async function slowClients(runtime, seconds) {
  const pool = { wsgi: "slow_clients_wsgi", cwd: fileURLToPath(new URL(".", import.meta.url)), instances: 2 };
  const fleet = await startFleet(2, {
    app: undefined,
    instances: undefined,
    runtime,
    balancer: { runtime },
    pools: { web: pool },
  });
  const name = `20 slow uploads and 20 slow downloads, balancer on ${runtime}`;
  const spool = path.join(path.dirname(fleet.runDirArgs[1]), ".paceline/spool");
  let clients = [];
  try {
    const pid = fleet.balancerPid;
    await p99OfOthers(fleet.port, 3);
    const [alone, mostAlone] = await withMostRssMB(pid, () => p99OfOthers(fleet.port, 10));
    const before = rssMB(pid);
    let [beside, files, receiving] = [];
    const [, most] = await withMostRssMB(pid, async () => {
      clients = start(fleet.port);
      await until(() => spoolFiles(spool, pid).length >= CLIENTS, 30_000);
      await wait(seconds * 500);
      beside = await p99OfOthers(fleet.port, 10);
      files = spoolFiles(spool, pid).length;
      ({ receiving } = (await fleet.status()).pools[0]);
      await wait(seconds * 500);
    });
    verdict(
      beside.failed === undefined && beside.p99Ms <= 2 * alone.p99Ms + 5,
      `${name}: p99 of others ${alone.p99Ms.toFixed(2)} ms without them, ${beside.p99Ms.toFixed(2)} ms beside them; ${files} files, ${receiving} received ${beside.failed ?? ""}`,
    );
    verdict(
      most - before < MOST_GROWTH_MB,
      `${name}: RSS of the balancer ${before.toFixed(1)} MB before them, ${most.toFixed(1)} MB at most; ${mostAlone.toFixed(1)} MB at most in the same run without them`,
    );
    for (const client of clients) client.hurry();
    await until(() => clients.every(({ isClosed }) => isClosed), FINISH_MS);
    const lacks = clients.map(({ lack }) => lack).filter((lack) => lack !== undefined);
    verdict(lacks.length === 0, `${name}: all come whole ${lacks.slice(0, 3).join("; ")}`);
    const isEmpty = await until(() => leftInSpool(spool).length === 0, 10_000);
    verdict(isEmpty, `${name}: nothing stays in the spool`);

    clients = start(fleet.port);
    const hasFiles = await until(() => spoolFiles(spool, pid).length >= CLIENTS, 30_000);
    process.kill(pid, "SIGKILL");
    const next = async () => (await fleet.status()).balancers[0];
    const isBack = await until(async () => {
      const balancer = await next();
      return balancer.pid !== null && balancer.pid !== pid && balancer.state === "ready";
    }, 30_000);
    const after = await p99OfOthers(fleet.port, 1);
    const left = leftInSpool(spool);
    verdict(
      hasFiles && isBack && left.length === 0 && after.failed === undefined,
      `${name}: after kill -9 of the balancer the next one serves, and nothing stays in the spool ${left.join(" ")} ${after.failed ?? ""}`,
    );
  } finally {
    for (const client of clients) client.end();
    await fleet.stop();
  }
}
