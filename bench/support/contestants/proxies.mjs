/** nginx and HAProxy in front of plain Bun instances: unix sockets, kept connections, each configured as well as we can. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { freePort, ofChildren, run, untilServing } from "../launch.mjs";
import { APPS, bunPath } from "../programs.mjs";

/** Returns the common start of all nginx configs. */
export function nginxHead(processes) {
  // Workers started by root would run as another user, who is not allowed to connect to the upstreams' sockets.
  const user = process.getuid() === 0 ? "user root;" : "";
  return `${user} daemon off; error_log stderr crit; pid nginx.pid;
worker_processes ${processes}; worker_rlimit_nofile 20000; events { worker_connections 8192; }
`;
}

/** Starts Bun instances on unix sockets. */
async function bunInstances(directory, count) {
  const sockets = Array.from({ length: count }, (_, i) => path.join(directory, `${i}.sock`));
  const server = path.join(APPS, "bun-server.mjs");
  const children = sockets.map((socket) => run(bunPath(), ["--smol", server, socket], directory));
  for (const socket of sockets) await untilServing(socket);
  return { sockets, children };
}

/** @param log the arguments of `access_log` */
export function nginxFleet(instances, balancers, log = "off") {
  return {
    name: "nginx",
    needs: "nginx",
    settings: `worker_processes ${balancers}, access_log off, backlog 4096, upstream keepalive 512, in front of bare Bun on unix sockets`,
    async start(directory) {
      const port = await freePort();
      const { sockets, children } = await bunInstances(directory, instances);
      writeFileSync(
        path.join(directory, "nginx.conf"),
        `${nginxHead(balancers)}http { access_log ${log}; keepalive_requests 1000000;
        upstream app { ${sockets.map((socket) => `server unix:${socket};`).join(" ")} keepalive 512; keepalive_requests 1000000; }
        server { listen 127.0.0.1:${port} backlog=4096; location / {
          proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
          proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; } } }`,
      );
      return ofChildren(port, [...children, run("nginx", ["-p", directory, "-c", "nginx.conf"], directory)]);
    },
  };
}

/** @param log the file for its HTTP log; undefined: none */
export function haproxyFleet(instances, balancers, log) {
  return {
    name: "HAProxy",
    needs: "haproxy",
    settings:
      `nbthread ${balancers}, mode http, http-reuse always, pool-max-conn 512 and maxconn 128 a server, retries 10 on ` +
      "conn-failure and empty-response (ab speaks HTTP/1.0, HAProxy passes the version on, Bun closes such connections), " +
      "in front of bare Bun on unix sockets",
    async start(directory) {
      const port = await freePort();
      const { sockets, children } = await bunInstances(directory, instances);
      const servers = sockets.map((socket, i) => `  server s${i} unix@${socket} pool-max-conn 512 maxconn 128\n`);
      writeFileSync(
        path.join(directory, "haproxy.cfg"),
        `global\n  maxconn 8192\n  nbthread ${balancers}\n${log === undefined ? "" : "  log stdout format raw local0\n"}` +
          `defaults\n  mode http\n${log === undefined ? "" : "  log global\n  option httplog\n"}  timeout client 60s\n  timeout server 60s\n` +
          `  timeout connect 5s\n  retries 10\n  retry-on conn-failure empty-response\n  option forwardfor\n  http-reuse always\n` +
          `frontend f\n  bind 127.0.0.1:${port} backlog 4096\n  default_backend b\nbackend b\n  balance roundrobin\n${servers.join("")}`,
      );
      const started =
        log === undefined
          ? run("haproxy", ["-db", "-f", "haproxy.cfg"], directory)
          : run("sh", ["-c", `exec haproxy -db -f haproxy.cfg >>'${log}'`], directory);
      return ofChildren(port, [...children, started]);
    },
  };
}
