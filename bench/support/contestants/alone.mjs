/** One instance of each server with Hello World: Paceline, nginx, lighttpd, uWSGI, gunicorn, werkzeug, Node. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { freePort, ofChildren, run } from "../launch.mjs";
import { APPS, PACELINE, ROOT } from "../programs.mjs";
import { nginxHead } from "./proxies.mjs";

const HELLO = path.join(ROOT, "examples/hello/app.ts");

function paceline(name, runtime) {
  return {
    name,
    isOurs: true,
    runtime,
    settings: `\`paceline serve --runtime ${runtime}\``,
    async start() {
      const port = await freePort();
      const args = [PACELINE, "serve", HELLO, "--port", String(port), "--runtime", runtime];
      return ofChildren(port, [run("sh", args, ROOT)]);
    },
  };
}

const nginx = {
  name: "nginx",
  needs: "nginx",
  settings: '`return 200 "Hello World!"`, 1 worker process, access_log off, backlog 4096',
  async start(directory) {
    const port = await freePort();
    writeFileSync(
      path.join(directory, "nginx.conf"),
      `${nginxHead(1)}http { access_log off; keepalive_requests 1000000;
        server { listen 127.0.0.1:${port} backlog=4096; location / { return 200 "Hello World!\\n"; } } }`,
    );
    return ofChildren(port, [run("nginx", ["-p", directory, "-c", "nginx.conf"], directory)]);
  },
};

const lighttpd = {
  name: "lighttpd",
  needs: "lighttpd",
  settings: "a file of 13 bytes, 1 process, backlog 4096, max-keep-alive-requests 1000000",
  async start(directory) {
    const port = await freePort();
    mkdirSync(path.join(directory, "files"), { recursive: true });
    writeFileSync(path.join(directory, "files/index.html"), "Hello World!\n");
    writeFileSync(
      path.join(directory, "lighttpd.conf"),
      `server.document-root = "${directory}/files"\nserver.bind = "127.0.0.1"\nserver.port = ${port}\n` +
        `index-file.names = ("index.html")\nserver.max-fds = 16384\nserver.max-connections = 8192\n` +
        `server.listen-backlog = 4096\nserver.max-keep-alive-requests = 1000000\nserver.errorlog = "${directory}/error.log"\n`,
    );
    return ofChildren(port, [run("lighttpd", ["-D", "-f", "lighttpd.conf"], directory)]);
  },
};

const uwsgi = {
  name: "uWSGI",
  needs: "uwsgi",
  settings: "`--http-socket`, 1 process, no threads, logging off",
  async start(directory) {
    const port = await freePort();
    // uWSGI does not start with a backlog above the system's.
    const backlog = Math.min(4096, Number(readFileSync("/proc/sys/net/core/somaxconn", "utf8")));
    // Not --http11-socket: with it, a process serves one kept connection at a time, and other clients wait.
    const args = ["--plugins", "python3", "--http-socket", `127.0.0.1:${port}`, "--wsgi-file"];
    args.push(path.join(APPS, "hello_wsgi.py"), "--processes", "1", "--listen", String(backlog));
    args.push("--disable-logging", "--die-on-term", "--need-app", "--logto", path.join(directory, "uwsgi.log"));
    return ofChildren(port, [run("uwsgi", args, directory, { PYTHONDONTWRITEBYTECODE: "1" })]);
  },
};

const gunicorn = {
  name: "gunicorn",
  needs: "gunicorn",
  settings: "1 sync worker, backlog 4096",
  async start(directory) {
    const port = await freePort();
    const args = ["--workers", "1", "--backlog", "4096", "--bind", `127.0.0.1:${port}`, "--chdir", APPS];
    args.push("--log-level", "critical", "hello_wsgi:application");
    return ofChildren(port, [run("gunicorn", args, directory, { PYTHONDONTWRITEBYTECODE: "1" })]);
  },
};

const werkzeug = (programs) => ({
  name: "werkzeug",
  needs: "werkzeug",
  settings: "`run_simple(threaded=True)`, backlog 4096, logging off",
  async start(directory) {
    const port = await freePort();
    const args = [path.join(APPS, "hello_wsgi.py"), String(port)];
    return ofChildren(port, [run(programs.werkzeugPython, args, directory, { PYTHONDONTWRITEBYTECODE: "1" })]);
  },
});

const node = {
  name: "Node http",
  runtime: "node",
  settings: "`http.createServer`, backlog 4096",
  async start(directory) {
    const port = await freePort();
    return ofChildren(port, [run(process.execPath, [path.join(APPS, "node-hello.mjs"), String(port)], directory)]);
  },
};

export function aloneContestants(programs) {
  const ours = [paceline("paceline", "bun"), paceline("paceline on Node", "node")];
  return [...ours, nginx, lighttpd, uwsgi, gunicorn, werkzeug(programs), node];
}
