/** One small file, sent by one process of each file server. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { freePort, ofChildren, run } from "../launch.mjs";
import { PACELINE } from "../programs.mjs";
import { nginxHead } from "./proxies.mjs";

const BYTES = 4096;

/** Creates a folder in which `/` is the file. */
function makeFolder(directory) {
  const folder = path.join(directory, "files");
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "index.html"), "Hello World!\n".padEnd(BYTES, "."));
  return folder;
}

const paceline = (name, runtime) => ({
  name,
  isOurs: true,
  runtime,
  settings: `\`paceline serve --static\` on ${runtime}, a file of ${BYTES} bytes`,
  async start(directory) {
    const port = await freePort();
    const args = [PACELINE, "serve", "--static", makeFolder(directory), "--port", String(port), "--runtime", runtime];
    return ofChildren(port, [run("sh", args, directory)]);
  },
});

const nginx = {
  name: "nginx",
  needs: "nginx",
  settings: `the same file, sendfile and tcp_nopush on, 1 worker process, access_log off, backlog 4096`,
  async start(directory) {
    const port = await freePort();
    writeFileSync(
      path.join(directory, "nginx.conf"),
      `${nginxHead(1)}http { access_log off; keepalive_requests 1000000; sendfile on; tcp_nopush on;
        types { text/html html; }
        server { listen 127.0.0.1:${port} backlog=4096; root ${makeFolder(directory)}; } }`,
    );
    return ofChildren(port, [run("nginx", ["-p", directory, "-c", "nginx.conf"], directory)]);
  },
};

export const fileContestants = () => [paceline("paceline", "bun"), paceline("paceline on Node", "node"), nginx];
