/** The two loads: one connection a request with ab, kept connections with wrk. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const execute = promisify(execFile);

const number = (pattern, text) => Number(pattern.exec(text)?.[1] ?? Number.NaN);

/** `ab -n REQUESTS -c CONNECTIONS`: each request on a connection of its own. */
export async function closeLoad(port, requests, connections) {
  const args = ["-q", "-n", String(requests), "-c", String(connections), `http://127.0.0.1:${port}/`];
  const { stdout } = await execute("ab", args, { maxBuffer: 1 << 24 });
  return {
    requests: number(/Complete requests:\s+(\d+)/, stdout),
    failed: number(/Failed requests:\s+(\d+)/, stdout) + (number(/Non-2xx responses:\s+(\d+)/, stdout) || 0),
    requestsPerSecond: number(/Requests per second:\s+([\d.]+)/, stdout),
    p99Ms: number(/\s99%\s+(\d+)/, stdout),
  };
}

/** `wrk -t1 -c64`: connections are kept. */
export async function keepAliveLoad(port, seconds, connections) {
  const args = ["-t1", `-c${connections}`, `-d${seconds}s`, "--latency", `http://127.0.0.1:${port}/`];
  const { stdout } = await execute("wrk", args);
  const p99 = /99%\s+([\d.]+)(us|ms|s)/.exec(stdout);
  const unit = { us: 0.001, ms: 1, s: 1000 }[p99?.[2] ?? "ms"];
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout);
  return {
    requests: number(/(\d+) requests in/, stdout),
    failed:
      (errors?.slice(1).reduce((sum, count) => sum + Number(count), 0) ?? 0) +
      (number(/Non-2xx or 3xx responses: (\d+)/, stdout) || 0),
    requestsPerSecond: number(/Requests\/sec:\s+([\d.]+)/, stdout),
    p99Ms: Number(p99?.[1]) * unit,
  };
}
