/**
 * Measures the edge beside nginx and HAProxy: `npm run bench:edge`. New TLS connections, HTTP/2, HTTP/1.1 over TLS, and compressed JSON, in
 * turns, each in front of two instances and with the same ECDSA certificate. Prints the medians of requests per second and of the CPU time
 * per request: of the balancer, nginx or HAProxy alone, and with the instances behind it.
 */
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs, promisify } from "node:util";
import { startFleet } from "./soak/support.mjs";
import { endLeftovers, freePort, run, untilServing } from "./support/launch.mjs";
import { median } from "./support/medians.mjs";
import { cpuBetween, cpuSnapshot, tree } from "./support/processes.mjs";
import { APPS, bunPath } from "./support/programs.mjs";

const { values } = parseArgs({
  options: {
    ...{ rounds: { type: "string", default: "5" }, runtime: { type: "string", default: "bun" } },
    ...{ only: { type: "string" }, seconds: { type: "string", default: "2" } },
  },
});
const { runtime } = values;
const WARM_UP_REQUESTS = 10_000;
const execute = promisify(execFile);
const folder = mkdtempSync(path.join(tmpdir(), "paceline-edge-"));
const app = path.join(APPS, "edge.mjs");
const pair = { certificate: path.join(folder, "certificate.pem"), key: path.join(folder, "key.pem") };
const made = spawnSync("openssl", [
  ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
  ...["-keyout", pair.key, "-out", pair.certificate, "-subj", "/CN=a.test", "-addext", "subjectAltName=IP:127.0.0.1"],
]);
if (made.status !== 0) throw new Error(`openssl: ${made.error ?? made.stderr}`);

/** Each load returns how many requests got a 2xx response, and how many per second. */
const handshakes = async ({ securePort }) => {
  const { stdout } = await execute("ab", ["-q", "-r", "-n2000", "-c32", `https://127.0.0.1:${securePort}/`]);
  const failed = Number(/Failed requests:\s+(\d+)/.exec(stdout)[1]);
  return { count: 2000 - failed, rate: Number(/Requests per second:\s+([\d.]+)/.exec(stdout)[1]) };
};
const http2 = async ({ securePort }) => {
  const { stdout } = await execute("h2load", ["-c10", "-m100", "-n60000", `https://127.0.0.1:${securePort}/`]);
  return { count: Number(/(\d+) 2xx/.exec(stdout)[1]), rate: Number(/([\d.]+) req\/s/.exec(stdout)[1]) };
};
const wrk = async (url, fields = []) => {
  const { stdout } = await execute("wrk", ["-t1", "-c64", `-d${values.seconds}s`, ...fields, url]);
  const failed = Number(/Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? 0);
  return {
    count: Number(/(\d+) requests in/.exec(stdout)[1]) - failed,
    rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)[1]),
  };
};
const json = (coding) => (each) => wrk(`http://127.0.0.1:${each.port}/json`, ["-H", `Accept-Encoding: ${coding}`]);
const LOADS = {
  "new TLS connections": { load: handshakes },
  "HTTP/2, h2load -c10 -m100": { load: http2 },
  "HTTP/1.1 over TLS, kept": { load: ({ securePort }) => wrk(`https://127.0.0.1:${securePort}/`) },
  "JSON of 8.8 kB, as it is": { load: json("identity") },
  "JSON, gzip": { load: json("gzip") },
  "JSON, br": { load: json("br"), only: "paceline" },
  "JSON, zstd": { load: json("zstd"), only: "paceline" },
};

const has = (program, ...args) => spawnSync(program, args).status === 0;
const contestants = [await paceline()];
try {
  if (has("nginx", "-v")) contestants.push(await behind("nginx", nginxArgs));
  if (has("haproxy", "-v")) contestants.push(await behind("HAProxy", haproxyArgs));
  process.stdout.write(
    `medians of ${values.rounds} rounds, runtime ${runtime}; CPU µs a request: alone / with instances\n`,
  );
  for (const [name, { load, only }] of Object.entries(LOADS)) {
    if (values.only !== undefined && !name.includes(values.only)) continue;
    const loaded = contestants.filter((each) => only === undefined || each.name === only);
    const samples = new Map(loaded.map((each) => [each.name, []]));
    for (const each of loaded) await warmUp(each, load);
    for (let round = 0; round < Number(values.rounds); round++)
      for (const each of loaded) samples.get(each.name).push(await measure(each, load));
    process.stdout.write(`${name}\n`);
    for (const [contestant, list] of samples) {
      const of = (key) => median(list.map((sample) => sample[key]));
      process.stdout.write(
        `  ${contestant.padEnd(9)} ${of("rate").toFixed(0).padStart(7)}/s ${of("alone").toFixed(1).padStart(7)} / ${of("all").toFixed(1)}\n`,
      );
    }
  }
} finally {
  await contestants[0].stop();
  await endLeftovers();
  rmSync(folder, { recursive: true, force: true });
}

/** Continues until the compilers of a runtime have little left to do. */
async function warmUp(contestant, load) {
  for (let count = 0, turn = 0; count < WARM_UP_REQUESTS && turn < 10; turn++) count += (await load(contestant)).count;
}

async function measure(contestant, load) {
  const sides = { alone: contestant.front(), all: [...contestant.front(), ...contestant.instances()] };
  const before = Object.entries(sides).map(([name, pids]) => [name, pids, cpuSnapshot(pids)]);
  const { count, rate } = await load(contestant);
  if (!(count > 0)) throw new Error(`${contestant.name}: no response`);
  const costs = before.map(([name, pids, was]) => [name, cpuBetween(was, cpuSnapshot(pids)).microseconds / count]);
  return { rate, ...Object.fromEntries(costs) };
}

async function paceline() {
  const [securePort, port] = [await freePort(), await freePort()];
  const fleet = await startFleet(2, {
    ...{ app, runtime, balancer: { runtime }, compress: {}, tls: { certificates: [pair] } },
    listen: [`https://127.0.0.1:${securePort}`, `127.0.0.1:${port}`],
  });
  const { pools } = await fleet.status();
  return {
    ...{ name: "paceline", port, securePort, stop: () => fleet.stop() },
    front: () => [fleet.balancerPid],
    instances: () => pools.flatMap(({ instances }) => instances.map(({ pid }) => pid)),
  };
}

/** Starts a proxy in front of two Bun servers on unix sockets. */
async function behind(name, argsFor) {
  const [securePort, port] = [await freePort(), await freePort()];
  const sockets = [0, 1].map((n) => path.join(folder, `${name}-${n}.sock`));
  const instances = sockets.map((socket) =>
    run(bunPath(), ["--smol", path.join(APPS, "bun-server.mjs"), socket, app], folder),
  );
  for (const socket of sockets) await untilServing(socket);
  const front = run(name.toLowerCase(), argsFor(sockets, port, securePort), folder);
  await untilServing(port);
  return {
    ...{ name, port, securePort },
    front: () => tree(front.pid),
    instances: () => instances.map(({ pid }) => pid),
  };
}

function nginxArgs(sockets, port, securePort) {
  const file = path.join(folder, "nginx.conf");
  const kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const temporary = kinds.map((each) => `${each}_temp_path ${folder}/${each};`).join(" ");
  writeFileSync(
    file,
    `daemon off; user root; worker_processes 1; pid ${folder}/pid; error_log /dev/null; worker_rlimit_nofile 20000;
events { worker_connections 8192; }
http { access_log off; ${temporary} keepalive_requests 1000000;
  gzip on; gzip_comp_level 1; gzip_types application/json; gzip_min_length 1024; gzip_proxied any;
  upstream app { ${sockets.map((socket) => `server unix:${socket};`).join(" ")} keepalive 512; keepalive_requests 1000000; }
  server { listen 127.0.0.1:${port} backlog=4096; listen 127.0.0.1:${securePort} ssl http2 backlog=4096;
    ssl_certificate ${pair.certificate}; ssl_certificate_key ${pair.key};
    location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; } } }
`,
  );
  return ["-c", file];
}

function haproxyArgs(sockets, port, securePort) {
  const [file, pem] = [path.join(folder, "haproxy.cfg"), path.join(folder, "pair.pem")];
  writeFileSync(pem, readFileSync(pair.certificate) + readFileSync(pair.key));
  writeFileSync(
    file,
    `global
  maxconn 8192
  nbthread 1
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  retries 10
  retry-on conn-failure empty-response
  option forwardfor
  http-reuse always
frontend f
  bind 127.0.0.1:${port} backlog 4096
  bind 127.0.0.1:${securePort} ssl crt ${pem} alpn h2,http/1.1 backlog 4096
  compression algo gzip
  compression type application/json
  default_backend b
backend b
  balance roundrobin
${sockets.map((socket, n) => `  server s${n} unix@${socket} pool-max-conn 512 maxconn 128`).join("\n")}
`,
  );
  return ["-db", "-f", file];
}
