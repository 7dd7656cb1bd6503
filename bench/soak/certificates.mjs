/**
 * A first start with an automatic certificate, with an empty folder and Debian's `pebble` as the CA; then, under load over TLS: reloads, a
 * renewal, a replaced file, and an outage of the CA. No request may fail. Prints the time until https works. Exits with 1 otherwise.
 *
 * npm run soak:certificates -- --runtime node --reloads 10
 */
import { execFile } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import https from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import tls from "node:tls";
import { parseArgs, promisify } from "node:util";
import { startPebble, writeCertificate } from "../../test/support/pebble.mjs";
import { freePort, PACELINE, startFleet, verdict, wait } from "./support.mjs";

const NAME = "shop.example";
const FILE_NAME = "files.example";
const MAX_FIRST_MS = 15_000;
const KEPT = 12;
const NEW = 4;

const { values } = parseArgs({
  options: {
    ...{ runtime: { type: "string", default: "bun" }, reloads: { type: "string", default: "10" } },
    balancers: { type: "string", default: "2" },
  },
});
const execute = promisify(execFile);
const folder = mkdtempSync(path.join(tmpdir(), "paceline-certificates-"));
const cleanUps = [async () => rmSync(folder, { recursive: true })];
const [tlsPort, httpPort] = [await freePort(), await freePort()];
// Slow validation, rejected nonces and known names, as with real CAs.
const env = { PEBBLE_VA_NOSLEEP: "", PEBBLE_VA_SLEEPTIME: "3", PEBBLE_WFE_NONCEREJECT: "20", PEBBLE_AUTHZREUSE: "50" };
const pebble = await startPebble({ tlsPort, httpPort, env }, (cleanUp) => cleanUps.unshift(cleanUp));
const files = writeCertificate(folder, FILE_NAME);
const later = writeCertificate(mkdtempSync(path.join(folder, "later-")), FILE_NAME);

const begun = performance.now();
const fleet = await startFleet(2, {
  runtime: values.runtime,
  listen: [`https://127.0.0.1:${tlsPort}`, `127.0.0.1:${httpPort}`],
  balancer: { processes: Number(values.balancers) },
  tls: {
    certificates: [{ certificate: files.cert, key: files.key }],
    automatic: { directory: pebble.directory, caFile: pebble.caFile, names: [NAME] },
  },
  minReadyMs: 100,
});
const run = async (...args) => (await execute("sh", [PACELINE, ...args, ...fleet.runDirArgs])).stdout.trim();
let failed = 0;
let served = 0;
const serials = { [NAME]: new Set(), [FILE_NAME]: new Set() };
const trusted = { [NAME]: [await pebble.root()], [FILE_NAME]: [readFileSync(files.cert), readFileSync(later.cert)] };
const reasons = new Map();

for (;;) {
  if ((await once(NAME, undefined)) === undefined) break;
  if (performance.now() - begun > 60_000) throw new Error(`no certificate: ${await run("certs")}`);
  await wait(50);
}
const firstMs = performance.now() - begun;
verdict(
  firstMs <= MAX_FIRST_MS,
  `valid https ${(firstMs / 1000).toFixed(1)} s after the first start on an empty folder`,
);

let isOver = false;
const clients = [];
for (let at = 0; at < KEPT + NEW; at++) clients.push(client(at % 2 === 0 ? NAME : FILE_NAME, at < KEPT));
const phase = async (what, act) => {
  const [servedBefore, failedBefore] = [served, failed];
  await act();
  verdict(failed === failedBefore, `${what}: ${served - servedBefore} requests, ${failed - failedBefore} failed`);
};
await phase(`${values.reloads} reloads`, async () => {
  for (let reload = 0; reload < Number(values.reloads); reload++) await run("reload");
});
await phase("a renewal", async () => {
  console.log(await run("certs", "renew", NAME));
  await until(() => serials[NAME].size === 2);
});
await phase("a swapped file", async () => {
  copyFileSync(later.key, files.key);
  copyFileSync(later.cert, files.cert);
  await until(() => serials[FILE_NAME].size === 2);
});
await phase("an outage of the CA", async () => {
  await pebble.stop();
  console.log(await run("certs", "renew", NAME).catch(({ stdout }) => stdout.trim()));
  await run("restart", "balancer");
  await wait(5_000);
});
isOver = true;
await Promise.all(clients);
verdict(serials[NAME].size === 2 && serials[FILE_NAME].size === 2, "each name had two certificates");
verdict(failed === 0, `${served} requests, ${failed} failed ${JSON.stringify([...reasons])}`);
console.log(await run("certs"));
await fleet.stop();
for (const cleanUp of cleanUps) await cleanUp();

async function until(condition) {
  for (const deadline = performance.now() + 60_000; !condition(); await wait(20))
    if (performance.now() > deadline) throw new Error("waited for 60 s in vain");
}

/** Sends one request after another. */
async function client(name, isKept) {
  const agent = isKept ? new https.Agent({ keepAlive: true, maxSockets: 1 }) : undefined;
  while (!isOver) {
    const problem = await once(name, agent);
    if (problem === undefined) served++;
    else {
      failed++;
      reasons.set(problem, (reasons.get(problem) ?? 0) + 1);
    }
    await wait(isKept ? 5 : 20);
  }
  agent?.destroy();
}

/** Returns why a request failed. A certificate that is not valid for the name is a failure. */
function once(name, agent) {
  return new Promise((resolve) => {
    const options = { host: "127.0.0.1", port: tlsPort, servername: name, ca: trusted[name], headers: { Host: name } };
    const request = https.get({ ...options, agent: agent ?? false, timeout: 10_000 }, (response) => {
      const { socket } = response;
      // A resumed session has no certificate.
      const { serialNumber } = socket instanceof tls.TLSSocket ? socket.getPeerCertificate() : {};
      if (serialNumber !== undefined) serials[name].add(serialNumber);
      response.resume();
      response.on("end", () => resolve(response.statusCode === 200 ? undefined : `status ${response.statusCode}`));
      response.on("error", (error) => resolve(error.code ?? error.message));
    });
    request.on("timeout", () => request.destroy(new Error("no response within 10 s")));
    request.on("error", (error) => resolve(error.code ?? error.message));
  });
}
