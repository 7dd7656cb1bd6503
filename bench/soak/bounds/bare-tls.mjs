/** A server of node:tls without Paceline: it shows what Node alone needs for a connection. Usage: bare-tls.mjs PORT CERTIFICATE KEY. */
import { readFileSync } from "node:fs";
import tls from "node:tls";

const [port, certificate, key] = process.argv.slice(2);
tls
  .createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (socket) => {
    socket.on("error", () => {});
    socket.resume();
  })
  .listen(Number(port), "127.0.0.1", () => process.stdout.write("listening\n"));
