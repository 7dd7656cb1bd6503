/** The fleets' app on Node's http, on `BENCH_PORT` or `BENCH_SOCKET`: the instances of PM2, of the cluster module and behind http-proxy. */
import http from "node:http";
import { BODY, headersFor } from "./answer.mjs";

const server = http.createServer((request, response) => {
  response.writeHead(200, {
    ...headersFor(request.headers["x-request-id"]),
    "content-length": BODY.length,
  });
  response.end(BODY);
});
server.keepAliveTimeout = 60_000;
const { BENCH_PORT, BENCH_SOCKET } = process.env;
server.listen(
  BENCH_SOCKET === undefined
    ? { port: Number(BENCH_PORT), host: "127.0.0.1", backlog: 4096 }
    : { path: BENCH_SOCKET, backlog: 4096 },
);
