/** The pools of a fleet of the chaos soak: an app, and at random a program, a worker and a Python app with a template. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { MARK } from "./processes.mjs";

const PROGRAM = `import http from "node:http";
http
  .createServer((request, response) => response.end(\`you asked for \${request.url}\\n\`))
  .listen(process.env.PORT, process.env.HOST);
process.on("SIGTERM", () => process.exit());
`;
const PYTHON = `def application(environ, start_response):
    target = environ["SCRIPT_NAME"] + environ["PATH_INFO"]
    if environ["QUERY_STRING"]:
        target += "?" + environ["QUERY_STRING"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"you asked for {target}\\n".encode()]
`;
const WORKER = "setInterval(() => {}, 1000)";

let hasPython;

/** Writes the files that the pools need into the folder. Returns `pools` of a config. */
export function choosePools({ folder, random, runtime, instances }) {
  const app = new URL("app.mjs", import.meta.url).pathname;
  const common = { backoff: { initialMs: 20, maxMs: 200 }, minReadyMs: 50, env: { [MARK]: folder } };
  const pools = { web: { app, instances, runtime, routes: ["/"], ...common } };
  const write = (name, text) => {
    writeFileSync(path.join(folder, name), text);
    return name;
  };
  if (random() < 0.4) {
    const command = [process.execPath, path.join(folder, write("program.mjs", PROGRAM))];
    pools.api = { command, instances: 2, routes: ["/api/"], ...common };
  }
  if (random() < 0.4) pools.job = { worker: [process.execPath, "-e", WORKER], ...common };
  hasPython ??= isTherePython();
  if (random() < 0.4 && hasPython) {
    write("chaos_app.py", PYTHON);
    pools.py = { wsgi: "chaos_app:application", preload: true, instances: 2, routes: ["/py/"], ...common };
  }
  return pools;
}

function isTherePython() {
  try {
    execFileSync("python3", ["-c", ""], { stdio: "ignore" });
    return true;
  } catch {
    process.stdout.write("no pool of Python: there is no python3\n");
    return false;
  }
}
