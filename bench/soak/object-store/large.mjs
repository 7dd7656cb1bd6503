/** One gigabyte up and down with the memory that it costs, beside another server, and the end of a very large object. */
import { execFile, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { endsWithProgram, freePort, rssMB, verdict, wait } from "../support.mjs";
import { S3, valuesOf } from "./client.mjs";
import { startStore } from "./store.mjs";

const execute = promisify(execFile);
const MB = 2 ** 20;
const WARM_UP_BYTES = 64 * MB;
const MAX_RISE_MB = 50;
const MAX_RANGE_MS = 50;

export async function largePart({ runtime, hasPostgres, megabytes }) {
  const folder = mkdtempSync(path.join(process.env.STORE_SOAK_FOLDER ?? tmpdir(), "paceline-large-"));
  const file = path.join(folder, "large.bin");
  const store = await startStore({ runtime, instances: 1, hasPostgres });
  const s3 = store.client({ timeoutMs: 300_000 });
  try {
    await s3.request("PUT", "/large");
    const [{ pid }] = await store.pids();
    const watched = { instance: pid, balancer: store.fleet.balancerPid };
    // Everything is loaded and has its usual size.
    for (let n = 0; n < 3; n++) await transfer(store, "warm-up.bin", folder, WARM_UP_BYTES);
    const before = Object.entries(watched).map(([name, each]) => [name, each, rssMB(each)]);
    const most = new Map();
    const timer = setInterval(() => {
      for (const [name, each] of before) most.set(name, Math.max(most.get(name) ?? 0, rssMB(each)));
    }, 50);
    const { up, down } = await transfer(store, "large.bin", folder, megabytes * MB);
    clearInterval(timer);
    process.stdout.write(`paceline: put ${up.toFixed(0)} MB/s, get ${down.toFixed(0)} MB/s of ${megabytes} MB\n`);
    for (const [name, , rss] of before) {
      const rise = most.get(name) - rss;
      verdict(rise < MAX_RISE_MB, `RSS of the ${name} rises from ${rss.toFixed(0)} MB by ${rise.toFixed(1)} MB`);
    }
    await besides(folder, file, megabytes);
    await veryLarge(s3, megabytes);
  } finally {
    s3.close();
    await store.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** By curl, in MB/s: it costs the least. */
async function transfer({ port, client }, key, folder, bytes) {
  const s3 = client();
  const file = path.join(folder, key);
  writeFileSync(file, "");
  truncateSync(file, bytes);
  const url = (method) => `http://127.0.0.1:${port}${s3.presign(method, `/large/${key}`, { expires: 3600 })}`;
  const seconds = async (...args) =>
    Number((await execute("curl", ["-sf", "-o", "/dev/null", "-w", "%{time_total}", ...args])).stdout);
  const up = bytes / MB / (await seconds("-T", file, url("PUT")));
  const down = bytes / MB / (await seconds(url("GET")));
  s3.close();
  return { up, down };
}

/** `rclone serve s3`, which rclone has since 1.65; before that `rclone serve webdav`, which at least takes and sends the same bytes. */
async function besides(folder, file, megabytes) {
  if (spawnSync("sh", ["-c", "command -v rclone"]).status !== 0)
    return void process.stdout.write("rclone is not installed\n");
  const hasS3 = spawnSync("rclone", ["serve", "s3", "--help"]).stdout?.includes("--auth-key");
  const port = await freePort();
  const served = path.join(folder, "rclone");
  mkdirSync(path.join(served, "large"), { recursive: true });
  const auth = hasS3 ? ["--auth-key", "access,secret"] : [];
  const kind = hasS3 ? "s3" : "webdav";
  const args = ["serve", kind, served, "--addr", `127.0.0.1:${port}`, ...auth, "--config", "/dev/null"];
  const child = endsWithProgram(spawn("rclone", args, { stdio: "ignore" }));
  try {
    await wait(1500);
    const s3 = new S3({ port, accessKey: "access", secret: "secret" });
    const path_ = (method) => (hasS3 ? s3.presign(method, "/large/large.bin") : "/large/large.bin");
    const seconds = async (...more) =>
      Number((await execute("curl", ["-sf", "-o", "/dev/null", "-w", "%{time_total}", ...more])).stdout);
    const url = (method) => `http://127.0.0.1:${port}${path_(method)}`;
    const up = megabytes / (await seconds("-T", file, url("PUT")));
    const down = megabytes / (await seconds(url("GET")));
    process.stdout.write(
      `rclone serve ${kind}: put ${up.toFixed(0)} MB/s, get ${down.toFixed(0)} MB/s (without fsync)\n`,
    );
    s3.close();
  } finally {
    child.kill("SIGTERM");
  }
}

/** Ten copies of one object as the parts of another: no byte of them is written again. */
async function veryLarge(s3, megabytes) {
  const { text } = await s3.request("POST", "/large/very-large.bin", { query: { uploads: "" } });
  const [uploadId] = valuesOf(text, "UploadId");
  const parts = [];
  for (let partNumber = 1; partNumber <= 10; partNumber++) {
    const headers = { "x-amz-copy-source": "/large/large.bin" };
    const copied = await s3.request("PUT", "/large/very-large.bin", { query: { uploadId, partNumber }, headers });
    const [etag] = valuesOf(copied.text, "ETag");
    parts.push(`<Part><PartNumber>${partNumber}</PartNumber><ETag>${etag}</ETag></Part>`);
  }
  const body = `<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`;
  const done = await s3.request("POST", "/large/very-large.bin", { query: { uploadId }, body });
  if (done.status !== 200) return verdict(false, `the object of ten parts: ${done.status} ${done.text}`);
  const times = [];
  for (let n = 0; n < 20; n++) {
    const startedAt = performance.now();
    const { status, bytes, headers } = await s3.request("GET", "/large/very-large.bin", {
      headers: { range: "bytes=-10" },
    });
    times.push(performance.now() - startedAt);
    const total = `/${10 * megabytes * MB}`;
    if (status !== 206 || bytes.length !== 10 || !headers["content-range"].endsWith(total)) {
      return verdict(false, `the last 10 bytes: ${status}, ${bytes.length} bytes, ${headers["content-range"]}`);
    }
  }
  const median = times.sort((a, b) => a - b)[10];
  const text_ = `the last 10 bytes of ${(10 * megabytes) / 1024} GB take ${median.toFixed(1)} ms (median of 20)`;
  verdict(median < MAX_RANGE_MS, text_);
}
