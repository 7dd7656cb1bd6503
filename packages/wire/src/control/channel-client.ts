/** A child's end of the control channel: says hello, hears the supervisor, reports, and comes back when the supervisor does. */
import { MAX_TIMER_MS } from "../limits.js";
import { connectLocally } from "../net/local-socket.js";
import type { StreamSocket } from "../net/stream-socket.js";
import { fs } from "../proc/bun-memory.js";
import type { ChildIdentity } from "./child-environment.js";
import type { ChildMessage, ChildPhase, ChildRole, Fault, Hello } from "./child-message.js";
import { CHANNEL_VERSION, LineFramer, lostMarkPath, type UpstreamProtocol } from "./protocol.js";
import {
  type ProbeRequest,
  parseSupervisorMessage,
  type Snapshot,
  type SupervisorMessage,
} from "./supervisor-message.js";

/** Reports are left out while more than this waits to be written: the next one tells the same totals. */
const MAX_WAITING_BEFORE_STATS_BYTES = 256 << 10;
/** With more than this waiting the supervisor is not reading; a new connection starts afresh with a hello. */
const MAX_WAITING_BYTES = 1 << 20;
/** From the connection to the welcome. */
const WELCOME_TIMEOUT_MS = 10_000;

/** What changes in a child's hello from one connection to the next. */
export interface HelloState {
  phase: ChildPhase;
  /** The snapshot a balancer follows; 0 before its first, absent for an instance. */
  snapshotVersion?: number;
  /** What an instance speaks on its socket, once it is ready. */
  protocol?: UpstreamProtocol;
}

export interface ChannelClientOptions {
  identity: ChildIdentity;
  role: ChildRole;
  /** Asked at each connection for what the hello is to say. */
  helloState(): HelloState;
  /** The supervisor took the hello; comes again after each reconnection. */
  onWelcome?(): void;
  onSnapshot?(snapshot: Snapshot): void;
  /** @param deadlineMs milliseconds from now until the drain must have ended. */
  onDrain?(deadlineMs: number): void;
  onReleased?(): void;
  /** To be responded to with a `probed`. */
  onProbe?(probe: ProbeRequest): void;
  /** The fleet stops, and a drain will follow. */
  onDraining?(): void;
  /** The supervisor does not know this child: it should drain and exit. The control channel stays closed. */
  onRefused?(reason: string): void;
  /** No supervisor for spec.orphanGraceMs: the child should drain and exit. Comes once; the control channel stays closed. */
  onOrphaned?(): void;
  /** One line about a control channel that was lost or that spoke nonsense. */
  onProblem?(message: string): void;
  /** Milliseconds between two attempts to connect; 250 unless given. */
  retryMs?: number;
}

type ChannelState =
  | { kind: "idle" }
  | { kind: "connecting"; socket: StreamSocket }
  | { kind: "open"; socket: StreamSocket; welcomed: boolean }
  | { kind: "waiting"; timer: NodeJS.Timeout }
  | { kind: "closed" };

/**
 * The client. None of its methods throws, whatever state the control channel is in: a child serves on without it. It starts with
 * `start()` and keeps trying, from then and from every loss, for spec.orphanGraceMs.
 */
export class ChannelClient {
  private state: ChannelState = { kind: "idle" };
  private welcomeTimer: NodeJS.Timeout | undefined;
  private orphanTimer: NodeJS.Timeout | undefined;
  /** A fault said before there was a connection, for the next one; reports are not worth keeping. */
  private unsaidFault: Fault | undefined;
  private flushers = new Set<() => void>();
  private isKept = true;

  constructor(private readonly options: ChannelClientOptions) {}

  /** Begins to connect. */
  start(): void {
    if (this.state.kind !== "idle") return;
    this.armOrphanTimer();
    this.connect();
  }

  /** Whether the supervisor took our hello on the present connection. */
  get welcomed(): boolean {
    return this.state.kind === "open" && this.state.welcomed;
  }

  /**
   * Writes a message. Returns false when it was left out because there is no connection; what matters of it is then in
   * the next hello, and a fault is kept for after it.
   */
  send(message: Exclude<ChildMessage, Hello>): boolean {
    if (this.state.kind !== "open") {
      if (message.type === "fault" && this.state.kind !== "closed") this.unsaidFault = message;
      return false;
    }
    const socket = this.state.socket;
    if (message.type === "stats" && socket.waitingBytes > MAX_WAITING_BEFORE_STATS_BYTES) return false;
    if (socket.waitingBytes > MAX_WAITING_BYTES) {
      this.lose(socket, "the supervisor does not read");
      return false;
    }
    writeLine(socket, message);
    return true;
  }

  /** Says whether the process stays alive for the control channel; it does unless told otherwise. */
  keepAlive(isKept: boolean): void {
    this.isKept = isKept;
    if (this.state.kind === "open") this.state.socket.keepAlive(isKept);
  }

  /** Resolves when all that was said has been handed to the kernel, or after `timeoutMs`; for a last word before exit. */
  flush(timeoutMs: number): Promise<void> {
    if (this.flushed()) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.flushers.delete(check);
        resolve();
      };
      const check = () => {
        if (this.flushed()) done();
      };
      const timer = setTimeout(done, timeoutMs);
      this.flushers.add(check);
    });
  }

  /** Ends the control channel for good; what was written before still goes out. */
  close(): void {
    const { state } = this;
    if (state.kind === "closed") return;
    this.enterClosed();
    if (state.kind === "open") state.socket.end();
    if (state.kind === "connecting") state.socket.destroy();
    if (state.kind === "waiting") clearTimeout(state.timer);
  }

  private flushed(): boolean {
    switch (this.state.kind) {
      case "closed":
        return true;
      case "open":
        return this.state.socket.waitingBytes === 0;
      case "idle":
      case "connecting":
      case "waiting":
        return this.unsaidFault === undefined;
      default:
        return this.state satisfies never;
    }
  }

  private runFlushers(): void {
    for (const check of this.flushers) check();
  }

  private connect(): void {
    const framer = new LineFramer((line) => this.hear(socket, line));
    const socket: StreamSocket = connectLocally(this.options.identity.channel, {
      onOpen: () => this.sayHello(socket),
      onData: (chunk) => {
        if (!framer.push(chunk)) this.lose(socket, "the supervisor wrote a line that is too long");
      },
      onDrain: () => this.runFlushers(),
      onClose: () => this.lose(socket, "the control channel was closed"),
    });
    this.state = { kind: "connecting", socket };
  }

  private sayHello(socket: StreamSocket): void {
    if (!this.isCurrent(socket)) return;
    this.state = { kind: "open", socket, welcomed: false };
    if (!this.isKept) socket.keepAlive(false);
    this.welcomeTimer = setTimeout(() => this.lose(socket, "the supervisor sent no welcome"), WELCOME_TIMEOUT_MS);
    const { identity, role } = this.options;
    const hello: Hello = {
      type: "hello",
      channelVersion: CHANNEL_VERSION,
      token: identity.token,
      role,
      pool: identity.pool,
      name: identity.name,
      attempt: identity.attempt,
      generation: identity.generation,
      pid: process.pid,
      runtime: runtimeVersion(),
      ...(identity.socket === undefined ? {} : { socket: identity.socket }),
      ...this.options.helloState(),
    };
    writeLine(socket, hello);
    if (this.unsaidFault !== undefined) {
      writeLine(socket, this.unsaidFault);
      this.unsaidFault = undefined;
    }
    this.runFlushers();
  }

  private hear(socket: StreamSocket, line: string): void {
    if (!this.isCurrent(socket)) return;
    let message: SupervisorMessage;
    try {
      message = parseSupervisorMessage(line);
    } catch (error) {
      this.lose(socket, `the supervisor sent an invalid message: ${(error as Error).message}`);
      return;
    }
    this.dispatch(socket, message);
  }

  private dispatch(socket: StreamSocket, message: SupervisorMessage): void {
    switch (message.type) {
      case "welcome":
        this.state = { kind: "open", socket, welcomed: true };
        this.clearTimers();
        this.options.onWelcome?.();
        return;
      case "refused":
        this.close();
        this.options.onRefused?.(message.reason);
        return;
      case "drain":
        this.options.onDrain?.(message.deadlineMs);
        return;
      case "released":
        this.options.onReleased?.();
        return;
      case "draining":
        this.options.onDraining?.();
        return;
      case "probe":
        this.options.onProbe?.(message);
        return;
      case "ping":
        this.send({ type: "pong" });
        return;
      case "fork":
      case "describeOverdue":
        // For processes of Python alone.
        return;
      case "snapshot":
        this.options.onSnapshot?.(message);
        return;
      default:
        message satisfies never;
    }
  }

  private lose(socket: StreamSocket, why: string): void {
    if (!this.isCurrent(socket)) return;
    if (this.state.kind === "open") {
      this.options.onProblem?.(`${why}; trying again`);
      markLost(this.options.identity.channel);
    }
    clearTimeout(this.welcomeTimer);
    socket.destroy();
    this.armOrphanTimer();
    this.state = { kind: "waiting", timer: setTimeout(() => this.connect(), this.options.retryMs ?? 250) };
    this.runFlushers();
  }

  private armOrphanTimer(): void {
    // A connection without a welcome does not begin the grace anew.
    this.orphanTimer ??= setTimeout(
      () => {
        this.close();
        const { supervisorSockets = [] } = this.options.identity.spec;
        // Rarely needed, so not loaded before.
        void import("../net/socket-file.js")
          .then(({ removeDeadSockets }) => removeDeadSockets(supervisorSockets))
          .then(() => this.options.onOrphaned?.());
      },
      Math.min(this.options.identity.spec.orphanGraceMs, MAX_TIMER_MS),
    );
  }

  private enterClosed(): void {
    this.state = { kind: "closed" };
    this.clearTimers();
    this.runFlushers();
  }

  private clearTimers(): void {
    clearTimeout(this.welcomeTimer);
    clearTimeout(this.orphanTimer);
    this.orphanTimer = undefined;
  }

  private isCurrent(socket: StreamSocket): boolean {
    return (this.state.kind === "connecting" || this.state.kind === "open") && this.state.socket === socket;
  }
}

/** Leaves a mark, so that a command can say since when the supervisor is lost; all its children do so at the same moment. */
function markLost(channelSocket: string): void {
  try {
    fs().writeFileSync(lostMarkPath(channelSocket), "", { mode: 0o600 });
  } catch {
    // A run directory that is gone or not ours to write: the time stays unknown.
  }
}

function writeLine(socket: StreamSocket, message: ChildMessage): void {
  socket.write(Buffer.from(`${JSON.stringify(message)}\n`));
}

function runtimeVersion(): string {
  const { bun, node } = process.versions as { bun?: string; node: string };
  return bun === undefined ? `node ${node}` : `bun ${bun}`;
}
