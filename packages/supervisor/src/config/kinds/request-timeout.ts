/** The key of kinds whose instances limit their concurrency: how long a response may be owed. */
import { milliseconds } from "../fields.js";

/** Unless the pool or the balancer's limits say otherwise. */
export const REQUEST_TIMEOUT_MS = 60_000;

export const requestTimeoutMs = milliseconds(
  REQUEST_TIMEOUT_MS,
  "In pools of `wsgi` and `fapws`, and of `command` and `asgi` with `maxInFlight`: how long an instance may send nothing of a response that it owes. Then the client gets 504 (if not sooner, by `balancer.limits.upstreamResponseTimeoutMs`), and the process is killed and replaced at once, also while it drains; of Python the traceback is in the report of its end. Default: 60000, or `balancer.limits.upstreamResponseTimeoutMs` where that is longer. `0` turns it off.",
  { min: 0 },
);
