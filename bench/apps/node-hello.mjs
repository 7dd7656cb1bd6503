/** Hello World on Node's http, for single servers. */
import http from "node:http";

http
  .createServer((_request, response) => response.end("Hello World!\n"))
  .listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
