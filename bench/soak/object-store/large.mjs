/** One gigabyte up and down, with the memory that this costs, and the completion of a very large object. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { rssMB, verdict } from "../support.mjs";
import { valuesOf } from "./client.mjs";
import { startStore } from "./store.mjs";

const execute = promisify(execFile);
const MB = 2 ** 20;
const WARM_UP_BYTES = 64 * MB;
const MAX_RISE_MB = 50;
const MAX_RANGE_MS = 50;

export async function largePart({ runtime, hasPostgres, megabytes }) {
  const folder = mkdtempSync(path.join(process.env.STORE_SOAK_FOLDER ?? tmpdir(), "paceline-large-"));
  const store = await startStore({ runtime, instances: 1, hasPostgres });
  const s3 = store.client({ timeoutMs: 300_000 });
  try {
    await s3.request("PUT", "/large");
    const [{ pid }] = await store.pids();
    const watched = { instance: pid, balancer: store.fleet.balancerPid };
    // After this, everything is loaded and has its usual size.
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
    await veryLarge(s3, megabytes);
  } finally {
    s3.close();
    await store.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** With curl, because it costs the least; in MB/s. */
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

/** Ten copies of one object as the parts of another: none of their bytes is written again. */
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
