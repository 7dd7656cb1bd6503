/**
 * Measures the throughput of one large body: `npm run bench:bodies`. A download and an upload of a gigabyte by curl, over a lane, over
 * HTTP/1.1, and to an instance alone, with nginx in front of that one if it is installed. In turns; prints medians, and the CPU time of all
 * server-side processes. With `--client TLS` or `--client HTTP/2` the clients of the balancer and of nginx use that protocol, with the same
 * certificate.
 */
import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { cpuSeconds, endsWithProgram, freePort, serveAlone, startFleet, wait } from "./soak/support.mjs";
import { medians } from "./support/medians.mjs";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    bytes: { type: "string", default: String(2 ** 30) },
    runtime: { type: "string", default: "bun" },
    client: { type: "string", default: "plain" },
  },
});
const { client } = values;
const isSecure = client !== "plain";
const bytes = Number(values.bytes);
const { runtime } = values;
const execute = promisify(execFile);
const app = fileURLToPath(new URL("apps/bodies.mjs", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "paceline-bodies-"));
const upload = path.join(folder, "upload");

writeFileSync(upload, "");
truncateSync(upload, bytes);
const limits = { maxBodyBytes: 2 * bytes };
const pool = (protocol) => ({ app, instances: 1, runtime, protocol, routes: [`/${protocol}/`], limits });
const pools = { lane: pool("lane"), http1: pool("http1") };
const pair = { certificate: path.join(folder, "certificate.pem"), key: path.join(folder, "key.pem") };
const made = spawnSync("openssl", [
  ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
  ...["-keyout", pair.key, "-out", pair.certificate, "-subj", "/CN=a.test", "-addext", "subjectAltName=IP:127.0.0.1"],
]);
if (isSecure && made.status !== 0) throw new Error(`openssl: ${made.error ?? made.stderr}`);
const securePort = await freePort();
const secure = isSecure && { listen: `https://127.0.0.1:${securePort}`, tls: { certificates: [pair] } };
const fleet = await startFleet(undefined, { app: undefined, pools, balancer: { limits, runtime }, runtime, ...secure });
const alone = await serveAlone([app, "--max-body-bytes", String(2 * bytes)], runtime);
const nginx = await startNginx(alone.port);
try {
  const pidsOf = (name, status) => [
    fleet.balancerPid,
    ...status.pools.find((each) => each.name === name).instances.map(({ pid }) => pid),
  ];
  const status = await fleet.status();
  const origin = isSecure ? `https://127.0.0.1:${securePort}` : `http://127.0.0.1:${fleet.port}`;
  const contestants = [
    ["lane", `${origin}/lane/`, pidsOf("lane", status)],
    ["http1", `${origin}/http1/`, pidsOf("http1", status)],
    ["alone", `http://127.0.0.1:${alone.port}/`, [alone.pid]],
    ...(nginx === undefined ? [] : [["nginx", `${nginx.origin}/`, [nginx.worker(), alone.pid]]]),
  ];
  const samples = new Map(contestants.map(([name]) => [name, []]));
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [name, url, pids] of contestants) samples.get(name).push(await measure(url, pids));
  }
  const gigabytes = bytes / 2 ** 30;
  process.stdout.write(
    `one body of ${gigabytes} GB, runtime ${runtime}, clients ${client}, medians of ${values.rounds} rounds\n`,
  );
  for (const [name, each] of samples) {
    const { down, downCpu, up, upCpu } = medians(each, ["down", "downCpu", "up", "upCpu"]);
    process.stdout.write(
      `${name.padEnd(6)} down ${down.toFixed(0).padStart(5)} MB/s, ${(downCpu / gigabytes).toFixed(2)} s/GB; ` +
        `up ${up.toFixed(0).padStart(5)} MB/s, ${(upCpu / gigabytes).toFixed(2)} s/GB\n`,
    );
  }
} finally {
  nginx?.stop();
  await alone.stop();
  await fleet.stop();
  rmSync(folder, { recursive: true, force: true });
}

async function measure(url, pids) {
  const [down, downCpu] = await speed([`${url}?bytes=${bytes}`], "speed_download", pids);
  const [up, upCpu] = await speed(["-X", "POST", "-T", upload, "-H", "Expect:", url], "speed_upload", pids);
  return { down, downCpu, up, upCpu };
}

/** Returns MB/s and the processes' CPU seconds. */
async function speed(args, figure, pids) {
  const cpu = () => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const before = cpu();
  const format = `%{http_code} %{${figure}} %{size_download} %{size_upload}`;
  const version = client === "HTTP/2" ? "--http2" : "--http1.1";
  const { stdout } = await execute("curl", ["-s", "-k", version, "-o", "/dev/null", "-w", format, ...args], {
    timeout: 60_000,
  });
  const [code, bytesPerSecond, received, sent] = stdout.split(" ").map(Number);
  if (code !== 200 || Math.max(received, sent) !== bytes) throw new Error(`${args.join(" ")}: ${stdout}`);
  return [bytesPerSecond / 1e6, cpu() - before];
}

async function startNginx(upstreamPort) {
  if (spawnSync("nginx", ["-v"]).status !== 0) return undefined;
  const port = await freePort();
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (each) => `${each}_temp_path ${folder}/${each};`,
  );
  const file = path.join(folder, "nginx.conf");
  writeFileSync(
    file,
    `daemon off; user root; worker_processes 1; pid ${folder}/pid; error_log /dev/null; events {}
http { access_log off; ${temporary.join(" ")} client_max_body_size 0;
  upstream app { server 127.0.0.1:${upstreamPort}; keepalive 8; }
  server { listen 127.0.0.1:${port}${isSecure ? ` ssl${client === "HTTP/2" ? " http2" : ""}; ssl_certificate ${pair.certificate}; ssl_certificate_key ${pair.key}` : ""};
    location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off; proxy_max_temp_file_size 0; } } }
`,
  );
  const child = endsWithProgram(spawn("nginx", ["-c", file], { stdio: "inherit" }));
  await wait(500);
  return {
    origin: `${isSecure ? "https" : "http"}://127.0.0.1:${port}`,
    worker: () =>
      Number(
        spawnSync("pgrep", ["-P", String(child.pid)])
          .stdout.toString()
          .split("\n")[0],
      ),
    stop: () => child.kill("SIGTERM"),
    ended: once(child, "exit"),
  };
}
