/**
 * Responds to HAProxy's agent-check: sends one line per connection and closes it. The supervisor listens, so that there is one agent for
 * all balancers.
 */
import { createServer, type Socket } from "node:net";
import type { Pool } from "../core/fleet.js";
import { type FleetLoadFacts, type MachineLoad, weigh } from "../core/machine-weight.js";
import { servingOf } from "../core/serving.js";
import type { EventLog } from "../logs/event-log.js";
import { type HostAndPort, LateListener } from "../sockets/own-servers.js";
import { boxTimes } from "./load-samples.js";

interface AgentCheckOptions {
  log: Pick<EventLog, "event">;
  isStopping(): boolean;
  /** The pools that get requests. */
  pools(): readonly Pool[];
  /** The last mean loads that the balancers reported. */
  loads(now: number): readonly { inFlight: number; waiting: number }[];
  /** The time between two attempts to listen, in milliseconds. Default: 1,000. */
  retryMs?: number;
}

/**
 * The maximum number of connections whose line was sent and whose peer has not closed yet. A further connection closes the oldest of them,
 * so that idle peers do not keep others out.
 */
const MAX_CONNECTIONS = 64;
/** How long a peer may take to close, in milliseconds. */
const TIMEOUT_MS = 2000;
/** How long a line is reused, in milliseconds, because several proxies ask at different times. */
const FRESH_MS = 500;

export class AgentCheck {
  private readonly listener: LateListener;
  private load: MachineLoad | undefined;
  private said = { at: Number.NEGATIVE_INFINITY, line: "" };
  private times: { busy: number; all: number } | undefined;
  private readonly sockets = new Set<Socket>();

  constructor(private readonly options: AgentCheckOptions) {
    const { log, retryMs } = options;
    this.listener = new LateListener({
      key: "agentCheck",
      warn: (message) => log.event("warn", "paceline", message),
      makeServer: () => createServer((socket) => this.respond(socket)),
      ...(retryMs === undefined ? {} : { retryMs }),
    });
  }

  /** Listens on this address from now on; null: on none. */
  listen(address: HostAndPort | null): void {
    if (this.listener.listen(address)) this.drop();
  }

  close(): void {
    this.listener.close();
    this.drop();
  }

  private drop(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  private respond(socket: Socket): void {
    this.sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.sockets.delete(socket));
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy());
    // HAProxy may send a line of its own (agent-send), which is ignored.
    socket.resume();
    socket.end(`${this.line()}\n`);
    if (this.sockets.size <= MAX_CONNECTIONS) return;
    const [oldest] = this.sockets;
    // The kernel already has its line.
    oldest?.destroy();
    if (oldest !== undefined) this.sockets.delete(oldest);
  }

  private line(): string {
    const now = performance.now();
    const isStopping = this.options.isStopping();
    if (now - this.said.at < FRESH_MS && !isStopping) return this.said.line;
    const { line, load } = weigh(
      { isStopping, ...this.size(), cpu: this.cpu(), ...this.requests(now) },
      this.load,
      now,
    );
    this.load = load;
    this.said = { at: now, line };
    return line;
  }

  private size(): Pick<FleetLoadFacts, "serving" | "wanted"> {
    const pools = this.options.pools();
    return {
      serving: pools.reduce((all, pool) => all + servingOf(pool).serving, 0),
      wanted: pools.reduce((all, { wanted }) => all + wanted, 0),
    };
  }

  /** Returns the share of the machine's CPU time since the last call. */
  private cpu(): number | null {
    const { times: before } = this;
    const times = boxTimes();
    this.times = times;
    const all = before === undefined ? 0 : times.all - before.all;
    return before === undefined || all <= 0 ? null : (times.busy - before.busy) / all;
  }

  private requests(now: number): Pick<FleetLoadFacts, "inFlight" | "waiting"> {
    const sums = { inFlight: 0, waiting: 0 };
    for (const { inFlight, waiting } of this.options.loads(now)) {
      sums.inFlight += inFlight;
      sums.waiting += waiting;
    }
    return sums;
  }
}
