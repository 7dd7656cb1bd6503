/**
 * Serves a million files and one of 10 GB: an instance must not grow or keep open descriptors. Runs alone and behind a balancer, on Bun and
 * on Node; `--runtime` and `--way` select, `--files` and `--requests` reduce the size. Creating the files takes minutes: `--keep FOLDER`
 * creates and reuses them there.
 */
import { execFile } from "node:child_process";
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs, promisify } from "node:util";
import { descriptors, rssMB, serveAlone, startFleet, verdict, wait } from "./support.mjs";

const execute = promisify(execFile);
const { values } = parseArgs({
  options: {
    runtime: { type: "string", default: "bun,node" },
    way: { type: "string", default: "alone,balanced" },
    files: { type: "string", default: "1000000" },
    requests: { type: "string", default: "500000" },
    keep: { type: "string" },
  },
});
const FILES = Number(values.files);
const REQUESTS = Number(values.requests);
const PER_FOLDER = 1000;
/** File systems limit the number of names of one inode, ext4 to 65,000. */
const LINKS_PER_FILE = 50_000;
const HUGE_BYTES = 10 * 2 ** 30;
const MARK_AT = 9_900_000_000;
const MARK = "here are nine point nine gigabytes";
const ABORTS = 1000;
const ABORTS_AT_ONCE = 50;
/** A tenth of the requests is the warm-up; the others may not add more than this. */
const MOST_GROWTH_MB = 15;
const MOST_MB = 100;
const LISTING_MOST_MS = 2000;
const LISTING_GROWTH_MB = 40;

function link(from, to, at) {
  const source = `${from}.${Math.floor(at / LINKS_PER_FILE)}`;
  if (at % LINKS_PER_FILE === 0) writeFileSync(source, `a small file, one of many: ${at}\n`.repeat(8));
  linkSync(source, to);
}

function makeTree(root) {
  const folders = Math.ceil(FILES / PER_FOLDER);
  mkdirSync(path.join(root, "flat"), { recursive: true });
  for (let folder = 0; folder < folders; folder++) {
    mkdirSync(path.join(root, `${folder}`));
    for (let at = 0; at < PER_FOLDER; at++) {
      const n = folder * PER_FOLDER + at;
      link(path.join(root, "nested"), path.join(root, `${folder}`, `${at}.txt`), n);
      link(path.join(root, "named"), path.join(root, "flat", `${n}.txt`), n);
    }
  }
  const huge = path.join(root, "huge.bin");
  writeFileSync(huge, "");
  truncateSync(huge, HUGE_BYTES);
  const fd = openSync(huge, "r+");
  writeSync(fd, MARK, MARK_AT);
  closeSync(fd);
  writeFileSync(
    path.join(root, "random.lua"),
    `local seed = 0
function setup(thread) seed = seed + 1; thread:set("seed", seed + os.time()) end
function init() math.randomseed(seed) end
function request()
  return wrk.format("GET", "/" .. math.random(0, ${folders - 1}) .. "/" .. math.random(0, ${PER_FOLDER - 1}) .. ".txt")
end
`,
  );
}

/** @returns how many got a response, and which failed. */
async function requestAtRandom(port, script, wanted) {
  let requests = 0;
  let seconds = 0;
  while (requests < wanted) {
    const { stdout } = await execute("wrk", [
      "-t1",
      "-c64",
      "-d5s",
      "--timeout",
      "10s",
      "-s",
      script,
      `http://127.0.0.1:${port}/`,
    ]);
    const failed = /Socket errors:.*|Non-2xx.*/.exec(stdout)?.[0];
    const answered = Number(/(\d+) requests in/.exec(stdout)[1]);
    requests += answered;
    seconds += 5;
    if (failed !== undefined || answered === 0) return { requests, seconds, failed: failed ?? "no answer" };
  }
  return { requests, seconds };
}

function get(port, target, headers = {}) {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const request = http.get({ port, host: "127.0.0.1", path: target, headers, agent: false }, (response) => {
      const pieces = [];
      response.on("data", (piece) => pieces.push(piece));
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode,
          body: Buffer.concat(pieces).toString(),
          ms: performance.now() - began,
        }),
      );
    });
    request.on("error", reject);
  });
}

/** Requests the 10 GB file, reads at most a megabyte, and disconnects. */
function abortOne(port, bytes, range) {
  return new Promise((resolve) => {
    let got = 0;
    const socket = net.connect({ port, host: "127.0.0.1" }, () =>
      socket.write(`GET /huge.bin HTTP/1.1\r\nHost: a\r\n${range}\r\n`),
    );
    socket.on("data", (piece) => {
      got += piece.length;
      if (got >= bytes) socket.destroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(got >= bytes));
  });
}

async function abortMany(port) {
  let cut = 0;
  for (let begun = 0; begun < ABORTS; begun += ABORTS_AT_ONCE) {
    const all = Array.from({ length: ABORTS_AT_ONCE }, (_, at) =>
      abortOne(port, (at % 5) * 250_000 + 1, ["", "Range: bytes=5000000000-\r\n", "Range: bytes=0-9,20-\r\n"][at % 3]),
    );
    cut += (await Promise.all(all)).filter((isDone) => !isDone).length;
  }
  return cut;
}

function openFiles(pid, root) {
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(root);
    } catch {
      return false;
    }
  }).length;
}

async function measure(name, { port, pid }, root) {
  const script = path.join(root, "random.lua");
  await requestAtRandom(port, script, REQUESTS / 10);
  const before = rssMB(pid);
  const { requests, seconds, failed } = await requestAtRandom(port, script, REQUESTS);
  const after = rssMB(pid);
  verdict(
    failed === undefined && after - before < MOST_GROWTH_MB && after < MOST_MB,
    `${name}: ${requests} requests for ${FILES} files at random, ${Math.round(requests / seconds)} a second: RSS from ${before.toFixed(1)} to ${after.toFixed(1)} MB ${failed ?? ""}`,
  );

  const idle = descriptors(pid);
  const { stdout } = await execute(
    "curl",
    [
      "-s",
      "-o",
      "/dev/null",
      "-w",
      "%{http_code} %{size_download} %{speed_download}",
      `http://127.0.0.1:${port}/huge.bin`,
    ],
    { timeout: 120_000 },
  ).catch(({ stdout }) => ({ stdout }));
  const [status, size, speed] = stdout.split(" ").map(Number);
  verdict(
    status === 200 && size === HUGE_BYTES,
    `${name}: 10 GB in one download: ${status}, ${size} bytes, ${(speed / 1e6).toFixed(0)} MB/s; RSS ${rssMB(pid).toFixed(1)} MB`,
  );
  const end = MARK_AT + MARK.length - 1;
  const one = await get(port, "/huge.bin", { range: `bytes=${MARK_AT}-${end}` });
  verdict(
    one.status === 206 && one.body === MARK,
    `${name}: a part at 9.9 GB: ${one.status} in ${one.ms.toFixed(1)} ms`,
  );
  const two = await get(port, "/huge.bin", { range: `bytes=0-0,${MARK_AT}-${end},-1` });
  const isTold = two.body.includes(`Content-Range: bytes ${MARK_AT}-${end}/${HUGE_BYTES}\r\n\r\n${MARK}\r\n`);
  verdict(two.status === 206 && isTold, `${name}: three parts: ${two.status} in ${two.ms.toFixed(1)} ms`);

  const early = await abortMany(port);
  for (const deadline = Date.now() + 10_000; openFiles(pid, root) > 0 && Date.now() < deadline; ) await wait(50);
  for (const deadline = Date.now() + 10_000; descriptors(pid) > idle && Date.now() < deadline; ) await wait(50);
  verdict(
    early === 0 && openFiles(pid, root) === 0 && descriptors(pid) <= idle,
    `${name}: ${ABORTS} downloads left in the middle, ${early} cut before; descriptors ${idle} before and ${descriptors(pid)} after, files open ${openFiles(pid, root)}; RSS ${rssMB(pid).toFixed(1)} MB`,
  );

  const unlisted = rssMB(pid);
  let slowest = 0;
  let listing;
  for (let n = 0; n < 5; n++) {
    listing = await get(port, "/flat/");
    slowest = Math.max(slowest, listing.ms);
  }
  const listed = listing.body.match(/<li>/g)?.length ?? 0;
  verdict(
    listing.status === 200 &&
      listed <= 10_002 &&
      slowest < LISTING_MOST_MS &&
      rssMB(pid) - unlisted < LISTING_GROWTH_MB &&
      openFiles(pid, root) === 0,
    `${name}: a list of a folder of ${FILES}: ${listing.status}, ${listed} names, ${(listing.body.length / 1e6).toFixed(1)} MB, ${slowest.toFixed(0)} ms at most; RSS from ${unlisted.toFixed(1)} to ${rssMB(pid).toFixed(1)} MB`,
  );
}

async function serveBy(way, runtime, root) {
  if (way === "alone") return serveAlone(["--static", root, "--listing"], runtime);
  const fleet = await startFleet(1, {
    runtime,
    balancer: { runtime },
    app: undefined,
    static: root,
    staticOptions: { listing: true },
  });
  const [pool] = (await fleet.status()).pools;
  return { port: fleet.port, pid: pool.instances[0].pid, stop: fleet.stop };
}

const root = values.keep === undefined ? mkdtempSync(path.join(tmpdir(), "paceline-huge-")) : path.resolve(values.keep);
try {
  if (!existsSync(path.join(root, "random.lua"))) {
    const began = performance.now();
    makeTree(root);
    process.stdout.write(`made the files in ${((performance.now() - began) / 1000).toFixed(0)} s\n`);
  }
  for (const runtime of values.runtime.split(",")) {
    for (const way of values.way.split(",")) {
      const served = await serveBy(way, runtime, root);
      try {
        await measure(`${way} on ${runtime}`, served, root);
      } finally {
        await served.stop();
      }
    }
  }
} finally {
  if (values.keep === undefined) rmSync(root, { recursive: true, force: true });
}
