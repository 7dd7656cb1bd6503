/** An instance that responds with each request as it saw it, on Bun (Bun.serve) or Node (node:http); and with its log. */
import { createHash } from "node:crypto";
import http from "node:http";

const [path, name] = process.argv.slice(2);
const LOG = "/paceline-fuzz-log";

// The end of stdin means that the parent has exited.
process.stdin.on("end", () => process.exit()).resume();

/** All requests since the log was last requested. */
let log = [];

function begin(method, url, host) {
  const seen = { instance: name, method, url, host, length: 0, hash: "", isWhole: false };
  if (url !== LOG) log.push(seen);
  return seen;
}

function answer(seen, bytes) {
  seen.length = bytes.length;
  seen.hash = createHash("sha1").update(bytes).digest("hex");
  seen.isWhole = true;
  if (seen.url !== LOG) return JSON.stringify(seen);
  const text = JSON.stringify({ instance: name, log });
  log = [];
  return text;
}

if (process.versions.bun === undefined) {
  const server = http.createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    const seen = begin(request.method ?? null, request.url, request.headers.host);
    const pieces = [];
    request.on("error", () => {});
    request.on("data", (bytes) => pieces.push(bytes));
    request.on("end", () => response.end(answer(seen, Buffer.concat(pieces))));
  });
  server.listen(path, () => console.log("listening"));
} else {
  Bun.serve({
    unix: path,
    idleTimeout: 0,
    async fetch(request) {
      const host = request.headers.get("host");
      // Unchanged: changes by `new URL` must not look like another request.
      const url = request.url.replace(/^https?:\/\/[^/?]*/, "");
      const seen = begin(request.method, url, host);
      return new Response(answer(seen, new Uint8Array(await request.arrayBuffer())));
    },
  });
  console.log("listening");
}
