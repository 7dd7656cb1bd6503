/** FastAPI on several processes: Paceline, uvicorn's own workers, and uvicorn's worker class under gunicorn. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { run } from "./launch.mjs";
import { APPS, PACELINE } from "./programs.mjs";

const APP = "hello_asgi:app";

/** Each starts `count` processes and returns the first one. */
export const ASGI_FLEETS = [
  { name: "paceline, asgi", start: paceline },
  { name: "uvicorn --workers", start: uvicorn },
  { name: "gunicorn, uvicorn's workers", start: gunicorn, needs: "gunicorn" },
];

function paceline({ python, count, port, directory, environment }) {
  const pool = { asgi: APP, python, cwd: APPS, instances: count };
  writeFileSync(
    path.join(directory, "paceline.config.json"),
    JSON.stringify({ listen: `127.0.0.1:${port}`, pools: { web: pool } }),
  );
  const args = [PACELINE, "start", directory, "--log-format", "none", "--run-dir", path.join(directory, "run")];
  return run("sh", args, directory, environment);
}

function uvicorn({ python, count, port, directory, environment }) {
  const args = ["--host", "127.0.0.1", "--port", `${port}`, "--workers", `${count}`, "--app-dir", APPS];
  const quiet = ["--log-level", "critical", "--no-access-log"];
  return run(python, ["-m", "uvicorn", ...args, ...quiet, APP], directory, environment);
}

function gunicorn({ count, port, directory, environment }) {
  const args = ["--workers", `${count}`, "--backlog", "1024", "--bind", `127.0.0.1:${port}`, "--chdir", APPS];
  const worker = ["--worker-class", "uvicorn.workers.UvicornWorker", "--log-level", "critical"];
  return run("gunicorn", [...args, ...worker, APP], directory, environment);
}
