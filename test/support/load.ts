/** Starts load clients in separate processes and reads their counts. */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { waitFor } from "./wait.js";

export interface LoadOptions {
  port: number;
  host?: string;
  path?: string;
  /** `keep-alive`: each client sends all requests on one connection; `connect-anew`: one connection per request. */
  mode: "keep-alive" | "connect-anew";
  /** The number of concurrent clients. */
  clients: number;
  /**
   * A client's pause between two requests, in milliseconds. Default: 40, because a request costs 1 ms of CPU time in all processes
   * together.
   */
  delayMs?: number;
  /** Ends the load after this many connections. Default: runs until stopped. */
  maxConnections?: number;
  /** The expected body of every response. */
  expectBody?: string;
  /** The timeout of a response, in milliseconds. Default: 60,000. */
  responseTimeoutMs?: number;
}

/** The results; `ok` counts complete 2xx responses with the expected body, and every other result has a separate count. */
export interface LoadCounts {
  ok: number;
  non2xx: number;
  /** Closed or reset before the first byte of a response. */
  resets: number;
  refused: number;
  /** Closed or reset during a response. */
  truncated: number;
  /** Wrong bodies, invalid HTTP, unexpected bytes. */
  malformed: number;
  timeouts: number;
  /** Failures of the client's own machine, such as a lack of ports. */
  clientErrors: number;
  connections: number;
  statuses: Record<string, number>;
  /** By the X-Instance field of the responses. */
  byInstance: Record<string, number>;
  /** Descriptions of the first failures. */
  notes: string[];
}

const EMPTY: LoadCounts = {
  ok: 0,
  non2xx: 0,
  resets: 0,
  refused: 0,
  truncated: 0,
  malformed: 0,
  timeouts: 0,
  clientErrors: 0,
  connections: 0,
  statuses: {},
  byInstance: {},
  notes: [],
};
const CLIENT = fileURLToPath(new URL("./load-client.mjs", import.meta.url));
const STOP_DEADLINE_MS = 60_000;

/** A running load. */
export class Load {
  /** From the last report, at most 100 ms ago; final after `finished`. */
  counts: LoadCounts = EMPTY;
  readonly #child: ChildProcess;
  #final = false;
  #gone = false;

  constructor(options: LoadOptions) {
    const filled = {
      host: "127.0.0.1",
      path: "/",
      delayMs: 40,
      maxConnections: Number.MAX_SAFE_INTEGER,
      responseTimeoutMs: 60_000,
      ...options,
    };
    this.#child = fork(CLIENT, [JSON.stringify(filled)], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      execArgv: [], // The arguments of vitest are of no use to it.
    });
    this.#child.on("message", (message: { final: boolean; counts: LoadCounts }) => {
      this.counts = message.counts;
      this.#final = message.final;
    });
    this.#child.on("exit", () => {
      this.#gone = true;
    });
  }

  /** Resolves when `condition` holds for the counts. */
  async until(what: string, condition: (counts: LoadCounts) => boolean, deadlineMs = 120_000): Promise<void> {
    await waitFor(
      what,
      () => {
        if (this.#gone && !this.#final) throw new Error("the load client died");
        return condition(this.counts);
      },
      { deadlineMs, intervalMs: 10, details: () => JSON.stringify(this.counts) },
    );
  }

  /** Resolves after `connections` more connections were opened. */
  async moreConnections(connections: number, deadlineMs = 120_000): Promise<void> {
    const wanted = this.counts.connections + connections;
    await this.until(`${connections} more connections`, (counts) => counts.connections >= wanted, deadlineMs);
  }

  /** Resolves with the final counts when the load has ended by itself. */
  async finished(deadlineMs = 120_000): Promise<LoadCounts> {
    await waitFor("the load to end", () => this.#final, { deadlineMs, details: () => JSON.stringify(this.counts) });
    return this.counts;
  }

  /** Lets every client finish its current request; resolves with the final counts. */
  async stop(): Promise<LoadCounts> {
    if (this.#child.connected) this.#child.send("stop");
    return await this.finished(STOP_DEADLINE_MS);
  }

  /** Kills the client process, for clean-up. */
  kill(): void {
    if (!this.#gone) this.#child.kill("SIGKILL");
  }
}

/** Returns the counts of all failures. */
export function failures(counts: LoadCounts): Partial<LoadCounts> {
  const { ok, connections, statuses, byInstance, ...rest } = counts;
  return rest;
}

/** The value of `failures` if there are none. */
export const NO_FAILURES = failures(EMPTY);
