/**
 * 1,000 slow readers of a 100 MB file: the instance must stay small, other clients must be served, and no file may stay open. Alone and
 * behind a balancer; `--runtime node` for Node.
 */
import { mkdtempSync, readdirSync, readlinkSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { cpuSeconds, p99OfOthers, rssMB, serveAlone, slowReader, startFleet, verdict, wait } from "./support.mjs";

const READERS = 1000;
const FILE_BYTES = 100_000_000;
const SECONDS = 8;
const MOST_MB = 80;

const { runtime } = parseArgs({ options: { runtime: { type: "string", default: "bun" } } }).values;

const openFiles = (pid, folder) =>
  readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(folder);
    } catch {
      return false;
    }
  }).length;

async function measure(name, port, pid, folder) {
  const before = rssMB(pid);
  const readers = [];
  for (let n = 0; n < READERS; n++) {
    readers.push(slowReader(port, "/big.bin"));
    if (n % 50 === 49) await wait(20);
  }
  let highest = before;
  const watching = setInterval(() => {
    highest = Math.max(highest, rssMB(pid));
  }, 100);
  await wait(2000);
  const open = openFiles(pid, folder);
  const cpuBefore = cpuSeconds(pid);
  await wait(SECONDS * 1000);
  const cpu = (cpuSeconds(pid) - cpuBefore) / SECONDS;
  clearInterval(watching);
  const others = await p99OfOthers(port, SECONDS);
  const cut = readers.filter(({ closed }) => closed).length;
  const read = readers.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6 / READERS;
  for (const { end } of readers) end();
  verdict(
    highest < MOST_MB,
    `${name}: RSS from ${before.toFixed(1)} to ${highest.toFixed(1)} MB at most, with ${open} files open (bound ${MOST_MB})`,
  );
  verdict(
    // wrk prints 0 if there was no response.
    cut === 0 && others.failed === undefined && others.p99Ms > 0,
    `${name}: ${cut} of ${READERS} cut off, ${read.toFixed(1)} MB read by each; CPU ${(cpu * 100).toFixed(0)} %; then p99 of others ${others.p99Ms.toFixed(1)} ms, RSS ${rssMB(pid).toFixed(1)} MB ${others.failed ?? ""}`,
  );
  for (const deadline = Date.now() + 10_000; openFiles(pid, folder) > 0 && Date.now() < deadline; ) await wait(50);
  verdict(openFiles(pid, folder) === 0, `${name}: no file is left open`);
}

const folder = mkdtempSync(path.join(tmpdir(), "paceline-files-"));
try {
  writeFileSync(path.join(folder, "index.html"), "a small file\n");
  writeFileSync(path.join(folder, "big.bin"), "");
  truncateSync(path.join(folder, "big.bin"), FILE_BYTES);

  const alone = await serveAlone(["--static", folder], runtime);
  await measure(`alone on ${runtime}`, alone.port, alone.pid, folder);
  await alone.stop();

  const fleet = await startFleet(1, { runtime, balancer: { runtime }, app: undefined, static: folder });
  try {
    const [pool] = (await fleet.status()).pools;
    await measure(`behind a balancer on ${runtime}`, fleet.port, pool.instances[0].pid, folder);
  } finally {
    await fleet.stop();
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
