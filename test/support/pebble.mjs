/** Let's Encrypt's own test CA, Debian's `pebble`, with a DNS in which every name leads to this machine. Tests and soaks use it. */
import { spawn, spawnSync } from "node:child_process";
import dgram from "node:dgram";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import https from "node:https";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const START_MS = 30_000;

/** Writes a self-signed certificate for `name` and 127.0.0.1 into `folder`, and its key. Returns both paths. */
export function writeCertificate(folder, name, days = 2) {
  const files = { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
  const made = spawnSync(
    "openssl",
    [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", `${days}`],
      ...["-keyout", files.key, "-out", files.cert, "-subj", `/CN=${name}`],
      ...["-addext", `subjectAltName=DNS:${name},IP:127.0.0.1`],
    ],
    { encoding: "utf8", timeout: 20_000 },
  );
  if (made.status !== 0) throw new Error(`openssl: ${made.error ?? made.stderr}`);
  return files;
}

/**
 * @param httpPort, tlsPort where it checks challenges: our listeners
 * @param atEnd is called with the function that stops it
 */
export async function startPebble({ httpPort, tlsPort, env = {}, config = {} }, atEnd) {
  const folder = mkdtempSync(join(tmpdir(), "pl-pebble-"));
  const { cert: caFile, key } = writeCertificate(folder, "localhost");
  const ca = readFileSync(caFile, "utf8");
  const [port, managementPort] = [await freePort(), await freePort()];
  const file = join(folder, "pebble.json");
  writeFileSync(
    file,
    JSON.stringify({
      pebble: {
        ...{ listenAddress: `127.0.0.1:${port}`, managementListenAddress: `127.0.0.1:${managementPort}` },
        ...{ certificate: caFile, privateKey: key, httpPort, tlsPort, externalAccountBindingRequired: false },
        ...config,
      },
    }),
  );
  const dns = await startDns();
  let output = "";
  let child;
  const root = () => fetchText(`https://127.0.0.1:${managementPort}/roots/0`, ca);
  const stop = async () => {
    const ended = child;
    child = undefined;
    if (ended === undefined || ended.exitCode !== null) return;
    await new Promise((resolve) => {
      ended.on("exit", resolve);
      ended.kill("SIGKILL");
    });
  };
  const start = async () => {
    await stop();
    child = spawn("pebble", ["-config", file, "-dnsserver", dns.address], {
      env: { PATH: process.env.PATH, PEBBLE_VA_NOSLEEP: "1", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.on("error", () => {});
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text) => {
        output = (output + text).slice(-100_000);
      });
    for (const deadline = performance.now() + START_MS; ; ) {
      if ((await root().catch(() => undefined)) !== undefined) return;
      if (performance.now() > deadline || child.exitCode !== null) throw new Error(`pebble did not start: ${output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  atEnd(async () => {
    await stop();
    dns.close();
    rmSync(folder, { recursive: true });
  });
  await start();
  return { directory: `https://127.0.0.1:${port}/dir`, caFile, root, start, stop, output: () => output };
}

function fetchText(url, ca) {
  return new Promise((resolve, reject) => {
    const request = https.get(url, { ca, agent: false });
    request.setTimeout(5_000, () => request.destroy(new Error("no response within 5 s")));
    request.on("error", reject).on("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part) => {
        text += part;
      });
      response.on("error", reject).on("end", () => resolve(text));
    });
  });
}

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve, reject) => server.on("error", reject).listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const TYPE_A = 1;
/** The name from the question, A, IN, 0 s, four bytes. */
const RECORD = Buffer.from("c00c000100010000000000047f000001", "hex");

/** Every name has the address 127.0.0.1, and no other record. */
async function startDns() {
  const socket = dgram.createSocket("udp4");
  socket.on("error", () => {});
  socket.on("message", (query, { port, address }) => {
    let end = 12;
    while ((query[end] ?? 0) !== 0) end += query[end] + 1;
    const question = query.subarray(12, end + 5);
    const isA = query.readUInt16BE(end + 1) === TYPE_A;
    const head = Buffer.alloc(12);
    query.copy(head, 0, 0, 2);
    head.writeUInt16BE(0x8580, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(isA ? 1 : 0, 6);
    socket.send(Buffer.concat(isA ? [head, question, RECORD] : [head, question]), port, address);
  });
  await new Promise((resolve) => socket.bind(0, "127.0.0.1", resolve));
  return { address: `127.0.0.1:${socket.address().port}`, close: () => socket.close() };
}
