/** The two loads and their output: one connection per request with ab, kept connections with wrk. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const execute = promisify(execFile);

const number = (pattern, text) => Number(pattern.exec(text)?.[1] ?? Number.NaN);

/**
 * `ab -n REQUESTS -c CONNECTIONS`: each request on its own connection. With `-r`, a reset connection counts as a failed request and does
 * not end the whole run.
 */
export async function closeLoad(port, requests, connections) {
  const args = ["-q", "-r", "-n", String(requests), "-c", String(connections), `http://127.0.0.1:${port}/`];
  const { stdout } = await execute("ab", args, { maxBuffer: 1 << 24 });
  return parseAb(stdout);
}

export function parseAb(text) {
  return {
    requests: number(/Complete requests:\s+(\d+)/, text),
    failed: failedInAb(text),
    seconds: number(/Time taken for tests:\s+([\d.]+)/, text),
    requestsPerSecond: number(/Requests per second:\s+([\d.]+)/, text),
    p50Ms: number(/^\s+50%\s+(\d+)/m, text),
    p99Ms: number(/^\s+99%\s+(\d+)/m, text),
  };
}

/** ab counts an error page twice if its length differs: for its length, and because its status is not 2xx. */
function failedInAb(text) {
  const failed = number(/Failed requests:\s+(\d+)/, text);
  const wrongLength = number(/Length: (\d+)/, text) || 0;
  const non2xx = number(/Non-2xx responses:\s+(\d+)/, text) || 0;
  return failed - wrongLength + Math.max(wrongLength, non2xx);
}

/**
 * `wrk -t1 -cCONNECTIONS --latency`: connections are kept.
 * @param how `cpus`: the processors on which wrk runs, for example `1-3`
 */
export async function keepAliveLoad(port, seconds, connections, { target = "/", host, cpus } = {}) {
  const fields = host === undefined ? [] : ["-H", `Host: ${host}`];
  const args = [
    "-t1",
    `-c${connections}`,
    `-d${seconds}s`,
    "--latency",
    ...fields,
    `http://127.0.0.1:${port}${target}`,
  ];
  const { stdout } = await (cpus === undefined
    ? execute("wrk", args)
    : execute("taskset", ["-c", cpus, "wrk", ...args]));
  return parseWrk(stdout);
}

export function parseWrk(text) {
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  const total = /(\d+) requests in ([\d.]+(?:us|ms|s|m|h)),/.exec(text);
  return {
    requests: Number(total?.[1] ?? Number.NaN),
    failed:
      (errors?.slice(1).reduce((sum, count) => sum + Number(count), 0) ?? 0) +
      (number(/Non-2xx or 3xx responses: (\d+)/, text) || 0),
    seconds: milliseconds(total?.[2]) / 1000,
    requestsPerSecond: number(/Requests\/sec:\s+([\d.]+)/, text),
    p50Ms: milliseconds(/^\s+50%\s+(\S+)/m.exec(text)?.[1]),
    p99Ms: milliseconds(/^\s+99%\s+(\S+)/m.exec(text)?.[1]),
  };
}

const UNITS_MS = { us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** wrk prints durations in various units. */
function milliseconds(duration = "") {
  const [, value, unit] = /^([\d.]+)(us|ms|s|m|h)$/.exec(duration) ?? [];
  return unit === undefined ? Number.NaN : Number(value) * UNITS_MS[unit];
}
