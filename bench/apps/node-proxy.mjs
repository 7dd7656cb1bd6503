/** The library http-proxy from `BENCH_PEERS` in front of `BENCH_SOCKETS`, in turn, with kept connections. */
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const { BENCH_PORT, BENCH_PEERS, BENCH_SOCKETS } = process.env;
const { createProxyServer } = createRequire(path.join(BENCH_PEERS, "package.json"))("http-proxy");
const targets = BENCH_SOCKETS.split(",").map((socketPath) => ({ socketPath, host: "127.0.0.1" }));
const proxy = createProxyServer({ agent: new http.Agent({ keepAlive: true, maxFreeSockets: 1024 }), xfwd: true });
proxy.on("error", (_error, _request, response) => {
  if (!response.headersSent) response.writeHead(502);
  response.end();
});

let turn = 0;
http
  .createServer((request, response) => {
    proxy.web(request, response, { target: targets[turn] });
    turn = (turn + 1) % targets.length;
  })
  .listen({ port: Number(BENCH_PORT), host: "127.0.0.1", backlog: 4096 });
