/**
 * The connection between a starting process and a supervisor that is not its child, over a unix socket of the starting process. The
 * supervisor sends its pid, its notice, and its exit status when it exits. The starting process sends `detach` before it leaves the fleet
 * running. When a supervisor hands over to another, the next one takes the connection.
 */
import { rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { LineFramer } from "@paceline/wire";
import { identify, isRunning, type ProcessIdentity } from "../run-dir/lock.js";
import type { FleetEnd } from "./api.js";
import { DETACH } from "./prepare-start.js";

/** How often a supervisor that has not connected is checked, in milliseconds. */
const LOOK_EVERY_MS = 100;
const EXIT_LINE = /^exit (\d+)$/;
const PID_LINE = /^pid (\d+)$/;

/** The starting process's end. */
export class StarterEnd {
  readonly exited: Promise<FleetEnd>;
  /** Resolves with the first line; undefined if the supervisor exited without one. */
  readonly notice: Promise<string | undefined>;
  private socket: Socket | undefined;
  private status: number | null = null;
  private readonly timer: NodeJS.Timeout;
  private readonly stopListening: () => void;
  private isDetached = false;

  /**
   * Listens before the supervisor is started.
   * @throws the system's error
   */
  static async listen(path: string): Promise<StarterEnd> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(path, resolve));
    return new StarterEnd(server, path);
  }

  /** Set when the supervisor has been started; another one may take over. */
  supervisor: ProcessIdentity | undefined;

  private constructor(server: Server, path: string) {
    let noticed: (line: string | undefined) => void = () => {};
    let ended: (end: FleetEnd) => void = () => {};
    this.notice = new Promise((resolve) => {
      noticed = resolve;
    });
    this.exited = new Promise((resolve) => {
      ended = resolve;
    });
    this.stopListening = () => {
      clearInterval(this.timer);
      server.close();
      rmSync(path, { force: true });
    };
    const end = () => {
      this.stopListening();
      noticed(undefined);
      // Only a supervisor that was killed sends no exit status.
      ended(this.status === null ? { code: null, signal: "SIGKILL" } : { code: this.status, signal: null });
    };
    this.timer = setInterval(() => {
      if (this.socket === undefined && this.supervisor !== undefined && !isRunning(this.supervisor)) end();
    }, LOOK_EVERY_MS);
    server.on("error", () => {});
    server.on("connection", (socket) => {
      const framer = new LineFramer((line) => {
        const status = EXIT_LINE.exec(line)?.[1];
        const pid = PID_LINE.exec(line)?.[1];
        if (status !== undefined) this.status = Number(status);
        else if (pid === undefined) noticed(line);
        else {
          this.supervisor = identify(Number(pid));
          // The former supervisor has handed over.
          this.socket = socket;
          if (this.isDetached) socket.write(`${DETACH}\n`);
        }
      });
      socket.on("data", (bytes: Buffer) => void framer.push(bytes));
      socket.on("error", () => {}); // "close" follows.
      socket.on("close", () => {
        if (this.socket === socket) end();
      });
    });
  }

  /** Leaves the fleet running. */
  detach(): Promise<void> {
    this.isDetached = true;
    return new Promise((resolve) => {
      if (this.socket === undefined || this.socket.destroyed) return resolve();
      this.socket.write(`${DETACH}\n`, () => resolve());
    });
  }

  /** Sends the supervisor a signal, unless its pid has been reused. */
  kill(signal: NodeJS.Signals): void {
    if (this.supervisor !== undefined && isRunning(this.supervisor)) process.kill(this.supervisor.pid, signal);
  }

  /** Lets this process exit while the supervisor runs. */
  unref(): void {
    this.stopListening();
    this.socket?.unref();
  }

  /** Closes the socket without a supervisor. */
  close(): void {
    this.stopListening();
    this.socket?.destroy();
  }
}

/** The supervisor's end. */
export class SupervisorEnd {
  private isDetached = false;
  private onGone = () => {};
  private isGone = false;
  private readonly socket: Socket;

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.write(`pid ${process.pid}\n`);
    const framer = new LineFramer((line) => {
      if (line === DETACH) this.isDetached = true;
    });
    this.socket.on("data", (bytes: Buffer) => void framer.push(bytes));
    this.socket.on("error", () => {}); // "close" follows.
    this.socket.on("close", () => {
      this.isGone = true;
      if (!this.isDetached) this.onGone();
    });
    this.socket.unref();
  }

  /**
   * Calls `onGone` when the starting process exits, or has exited, without leaving the fleet running. Returns a function that stops
   * watching.
   */
  watch(onGone: () => void): () => void {
    if (this.isGone && !this.isDetached) onGone();
    this.onGone = onGone;
    return () => {
      this.onGone = () => {};
    };
  }

  /** Sends one line. */
  notify(message: string): void {
    this.socket.write(`${message}\n`);
  }

  /** Leaves the connection to the next supervisor. */
  handOver(): void {
    this.onGone = () => {};
    this.socket.destroy();
  }

  get isLeft(): boolean {
    return this.isDetached || this.isGone;
  }

  /** Sends the exit status as the last message. Resolves when it was passed to the kernel, or nobody reads it. */
  end(status: number): Promise<void> {
    this.onGone = () => {};
    return new Promise((resolve) => {
      if (this.socket.destroyed) return resolve();
      this.socket.once("close", () => resolve());
      this.socket.end(`exit ${status}\n`, () => resolve());
    });
  }
}
