/** A child's end of the control channel: sends hello, receives messages, reports, and reconnects to the supervisor. */
import { MAX_TIMER_MS } from "../limits.js";
import { connectLocally } from "../net/local-socket.js";
import type { StreamSocket } from "../net/stream-socket.js";
import type { Certificates } from "./certificates.js";
import type { ChildIdentity } from "./child-environment.js";
import type { ChildMessage, ChildRole, Fault, Hello } from "./child-message.js";
import { CHANNEL_VERSION, LineFramer, markAlive, markLost } from "./protocol.js";
import type { Snapshot } from "./snapshot.js";
import {
  type Dump,
  type ProbeRequest,
  parseSupervisorMessage,
  type SupervisorMessage,
  type SupervisorProgram,
} from "./supervisor-message.js";

/** While more bytes than this are unsent, reports are skipped. Later reports contain the same totals, and skipped records are counted. */
const MAX_WAITING_BEFORE_REPORTS_BYTES = 256 << 10;
/** The messages that may be skipped. */
const REPORTS: ReadonlySet<ChildMessage["type"]> = new Set(["stats", "recorded", "spans"]);
/** If more bytes than this are unsent, the supervisor is not reading: the client reconnects and says hello again. */
const MAX_WAITING_BYTES = 1 << 20;
/** The time limit from the connection to the welcome, in milliseconds. */
const WELCOME_TIMEOUT_MS = 10_000;

/** The part of a child's hello that changes between connections. */
type HelloState = Pick<Hello, "phase" | "snapshotVersion" | "protocol">;

interface ChannelClientOptions {
  identity: ChildIdentity;
  role: ChildRole;
  /** Called at each connection for the contents of the hello. */
  helloState(): HelloState;
  /**
   * Called when the supervisor has accepted the hello, also after each reconnection.
   * @param supervisor the supervisor's pid, if it was sent
   */
  onWelcome?(supervisor?: number): void;
  /** Called when the connection is lost; the client tries to reconnect. */
  onLost?(): void;
  onSnapshot?(snapshot: Snapshot): void;
  onCertificates?(certificates: Certificates): void;
  onNoCertificate?(name: string): void;
  /** @param deadlineMs milliseconds from now until the drain must have ended */
  onDrain?(deadlineMs: number): void;
  onReleased?(): void;
  /** The child replies with a `probed` message. */
  onProbe?(probe: ProbeRequest): void;
  /** Called when the fleet stops; a drain follows. */
  onDraining?(): void;
  /** Called when the file of the access log was moved. */
  onReopenLog?(): void;
  /** The child replies with an `open` message. */
  onListOpen?(id: number): void;
  /** The child replies with a `supervisorSpawned` message. */
  onSpawnSupervisor?(program: SupervisorProgram): void;
  /** Called when the supervisor does not know this child, which should drain and exit. The control channel stays closed. */
  onRefused?(reason: string): void;
  /** Called once if there was no supervisor for spec.orphanGraceMs: the child should drain and exit. The channel stays closed. */
  onOrphaned?(): void;
  /** Receives a line about a lost control channel or an invalid message. */
  onProblem?(message: string): void;
  /** The time between two attempts to connect, in milliseconds. Default: 250. */
  retryMs?: number;
}

type ChannelState =
  | { kind: "idle" }
  | { kind: "connecting"; socket: StreamSocket }
  | { kind: "open"; socket: StreamSocket; welcomed: boolean }
  | { kind: "waiting"; timer: NodeJS.Timeout }
  | { kind: "closed" };

/**
 * The client. Its methods never throw, because a child keeps serving without a control channel. After `start()`, and after every loss, it
 * tries to connect for spec.orphanGraceMs.
 */
export class ChannelClient {
  private state: ChannelState = { kind: "idle" };
  private welcomeTimer: NodeJS.Timeout | undefined;
  private orphanTimer: NodeJS.Timeout | undefined;
  /** A fault that was reported without a connection, and is sent on the next one. Reports are not kept. */
  private unsaidFault: Fault | undefined;
  private flushers = new Set<() => void>();
  private isKept = true;
  /** Whether the loss has been reported since the last welcome. */
  private isLossReported = false;

  constructor(private readonly options: ChannelClientOptions) {}

  /** Starts connecting. */
  start(): void {
    if (this.state.kind !== "idle") return;
    this.armOrphanTimer();
    this.connect();
  }

  /** Whether the supervisor accepted the hello on the current connection. */
  get welcomed(): boolean {
    return this.state.kind === "open" && this.state.welcomed;
  }

  /**
   * Sends a message. Returns false without a connection: the next hello then contains the important state, and a fault is sent after that
   * hello.
   */
  send(message: Exclude<ChildMessage, Hello>): boolean {
    if (this.state.kind !== "open") {
      if (message.type === "fault" && this.state.kind !== "closed") this.unsaidFault = message;
      return false;
    }
    const socket = this.state.socket;
    if (REPORTS.has(message.type) && socket.waitingBytes > MAX_WAITING_BEFORE_REPORTS_BYTES) return false;
    if (socket.waitingBytes > MAX_WAITING_BYTES) {
      this.lose(socket, "the supervisor does not read");
      return false;
    }
    writeLine(socket, message);
    return true;
  }

  /** Sets whether the control channel keeps the process alive. Default: yes. */
  keepAlive(isKept: boolean): void {
    this.isKept = isKept;
    if (this.state.kind === "open") this.state.socket.keepAlive(isKept);
  }

  /** Resolves when everything was passed to the kernel, or after `timeoutMs`. For the final report before an exit. */
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

  /** Closes the control channel for good. Earlier messages are still sent. */
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
      onOpen: () => this.sendHello(socket),
      onData: (chunk) => {
        if (!framer.push(chunk)) this.lose(socket, "the supervisor wrote a line that is too long");
      },
      onDrain: () => this.runFlushers(),
      onClose: () => this.lose(socket, "the control channel was closed"),
    });
    this.state = { kind: "connecting", socket };
  }

  private sendHello(socket: StreamSocket): void {
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
      ...(identity.spec.version === undefined ? {} : { version: identity.spec.version }),
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
    let message: SupervisorMessage | undefined;
    try {
      message = parseSupervisorMessage(line);
    } catch (error) {
      this.lose(socket, `the supervisor sent an invalid message: ${(error as Error).message}`);
      return;
    }
    if (message !== undefined) this.dispatch(socket, message);
  }

  private dispatch(socket: StreamSocket, message: SupervisorMessage): void {
    switch (message.type) {
      case "welcome":
        this.state = { kind: "open", socket, welcomed: true };
        this.isLossReported = false;
        this.clearTimers();
        this.options.onWelcome?.(message.pid);
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
      case "dump":
        void this.dump(message);
        return;
      case "fork":
      case "describeOverdue":
        // Only for Python processes.
        return;
      case "spawnSupervisor":
        this.options.onSpawnSupervisor?.(message.program);
        return;
      case "reopenLog":
        this.options.onReopenLog?.();
        return;
      case "listOpen":
        this.options.onListOpen?.(message.id);
        return;
      case "snapshot":
        this.options.onSnapshot?.(message);
        return;
      case "noCertificate":
        this.options.onNoCertificate?.(message.name);
        return;
      case "certificates":
        this.options.onCertificates?.(message);
        return;
      default:
        message satisfies never;
    }
  }

  private async dump({ id, what, path, durationMs }: Dump): Promise<void> {
    let problem: string | undefined;
    try {
      const { writeDump } = await import("../proc/dump.js");
      problem = await writeDump(what, path, durationMs);
    } catch (error) {
      // The file of the code is gone, as after an in-place upgrade.
      problem = (error as Error).message;
    }
    this.send({ type: "dumped", id, ...(problem !== undefined && { problem }) });
  }

  private lose(socket: StreamSocket, why: string): void {
    if (!this.isCurrent(socket)) return;
    if (this.state.kind === "open") {
      if (!this.isLossReported) this.options.onProblem?.(`${why}; trying again`);
      this.isLossReported = true;
      // A connection without a welcome, such as one to a start that fails, does not change the time of the loss.
      if (this.orphanTimer === undefined) markLost(this.options.identity.channel);
      this.options.onLost?.();
    }
    markAlive();
    clearTimeout(this.welcomeTimer);
    socket.destroy();
    this.armOrphanTimer();
    this.state = { kind: "waiting", timer: setTimeout(() => this.connect(), this.options.retryMs ?? 250) };
    this.runFlushers();
  }

  private armOrphanTimer(): void {
    // A connection without a welcome does not restart the grace period.
    this.orphanTimer ??= setTimeout(
      () => {
        this.close();
        const { supervisorSockets = [] } = this.options.identity.spec;
        // Loaded on demand, because it is rarely needed.
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

function writeLine(socket: StreamSocket, message: ChildMessage): void {
  socket.write(Buffer.from(`${JSON.stringify(message)}\n`));
}

function runtimeVersion(): string {
  const { bun, node } = process.versions as { bun?: string; node: string };
  return bun === undefined ? `node ${node}` : `bun ${bun}`;
}
