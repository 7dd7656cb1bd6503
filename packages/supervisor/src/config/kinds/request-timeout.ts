/** The key of kinds whose instances limit their concurrency: how long a response may be owed. */
import { milliseconds } from "../fields.js";

/** Unless the pool or the balancer's limits say otherwise. */
export const REQUEST_TIMEOUT_MS = 60_000;

export const requestTimeoutMs = milliseconds(
  REQUEST_TIMEOUT_MS,
  "In `wsgi` and `fapws` pools, and in `command` and `asgi` pools with `maxInFlight`: how long an instance may send no byte of a response that it owes. Then the client gets 504 (or sooner, by `balancer.limits.upstreamResponseTimeoutMs`), and the process is killed and replaced at once, also during a drain. The final report of a Python process includes the traceback. Default: 60000, or `balancer.limits.upstreamResponseTimeoutMs` if that is longer. `0` turns it off.",
  { min: 0 },
);
