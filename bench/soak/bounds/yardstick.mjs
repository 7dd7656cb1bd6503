/** The comparison of a row: the same peers against nginx in front of the same app and the same program. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { endsWithProgram, freePort, serveAlone, wait } from "../support.mjs";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

export const hasNginx = spawnSync("nginx", ["-v"]).status === 0;

/** Paths of pools that nginx forwards without their first part; the app responds for all kinds of pools. */
const STRIPPED = ["handler", "plain", "wsgi", "elsewhere"];

/** Starts nginx with one worker, with the deadlines of the fleet, in front of two instances. */
export async function startNginx(runtime, { folder }) {
  const instances = await Promise.all([1, 2].map(() => serveAlone([here("app.ts")], runtime)));
  const socket = path.join(folder, "program.sock");
  rmSync(socket, { force: true });
  const program = endsWithProgram(spawn(process.execPath, [here("program.mjs"), socket], { stdio: "inherit" }));
  const port = await freePort();
  const home = path.join(folder, "nginx");
  mkdirSync(home, { recursive: true });
  writeFileSync(path.join(home, "nginx.conf"), configuration({ folder, home, port, socket, instances }));
  const nginx = endsWithProgram(spawn("nginx", ["-c", path.join(home, "nginx.conf")], { stdio: "inherit" }));
  await accepts(port);
  return {
    port,
    async stop() {
      for (const child of [nginx, program]) {
        child.kill("SIGTERM");
        await once(child, "exit");
      }
      await Promise.all(instances.map((each) => each.stop()));
    },
  };
}

function configuration({ folder, home, port, socket, instances }) {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (each) => `${each}_temp_path ${home}/${each};`,
  );
  const common = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;';
  return `
daemon off; user root; worker_processes 1; pid ${home}/pid; error_log /dev/null;
events { worker_connections 4096; }
http {
  access_log off; ${temporary.join(" ")}
  send_timeout 3s; client_body_timeout 5s; proxy_read_timeout 5s; client_max_body_size 0; keepalive_requests 1000000;
  upstream web { ${instances.map((each) => `server 127.0.0.1:${each.port};`).join(" ")} keepalive 64; }
  upstream program { server unix:${socket}; keepalive 64; }
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://web; ${common} }
    location /files/ { alias ${folder}/; }
    ${STRIPPED.map((pool) => `location /${pool}/ { proxy_pass http://web/; ${common} }`).join("\n    ")}
    location ~ ^/(program|few)/ { proxy_pass http://program; ${common} }
  }
}
`;
}

/** Waits until the port accepts connections. */
async function accepts(port) {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await wait(20)) {
    const socket = net.connect(port, "127.0.0.1");
    const isOpen = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isOpen) return;
  }
  throw new Error("nginx did not start");
}
