/**
 * The link between a starting process and a supervisor that is not its child: a unix socket of the starting process. The supervisor
 * sends its notice, and at its end its exit status; the starting process sends `detach` before it leaves the fleet running.
 */
import { rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { LineFramer } from "@paceline/wire";
import { isRunning, type ProcessIdentity } from "../run-dir/lock.js";
import type { FleetEnd } from "./api.js";
import { DETACH } from "./prepare-start.js";

/** How often a supervisor that has not connected is looked at, in milliseconds. */
const LOOK_EVERY_MS = 100;
const EXIT_LINE = /^exit (\d+)$/;

/** The end of the starting process. */
export class StarterEnd {
  readonly exited: Promise<FleetEnd>;
  /** Resolves with the first line; undefined if the supervisor ended without one. */
  readonly notice: Promise<string | undefined>;
  #socket: Socket | undefined;
  #status: number | null = null;
  readonly #server: Server;
  readonly #timer: NodeJS.Timeout;

  /** Listens before the supervisor is started. @throws the system's error */
  static async listen(path: string): Promise<StarterEnd> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(path, resolve));
    return new StarterEnd(server, path);
  }

  /** Set when the supervisor has been started. */
  supervisor: ProcessIdentity | undefined;

  private constructor(server: Server, path: string) {
    this.#server = server;
    let noticed: (line: string | undefined) => void = () => {};
    let ended: (end: FleetEnd) => void = () => {};
    this.notice = new Promise((resolve) => {
      noticed = resolve;
    });
    this.exited = new Promise((resolve) => {
      ended = resolve;
    });
    const stopListening = () => {
      clearInterval(this.#timer);
      server.close();
      rmSync(path, { force: true });
    };
    const end = () => {
      stopListening();
      noticed(undefined);
      // Only a supervisor that was killed says nothing at its end.
      ended(this.#status === null ? { code: null, signal: "SIGKILL" } : { code: this.#status, signal: null });
    };
    this.#timer = setInterval(() => {
      if (this.#socket === undefined && this.supervisor !== undefined && !isRunning(this.supervisor)) end();
    }, LOOK_EVERY_MS);
    server.on("error", () => {});
    server.on("connection", (socket) => {
      if (this.#socket !== undefined) return void socket.destroy();
      this.#socket = socket;
      stopListening();
      const framer = new LineFramer((line) => {
        const status = EXIT_LINE.exec(line)?.[1];
        if (status === undefined) noticed(line);
        else this.#status = Number(status);
      });
      socket.on("data", (bytes: Buffer) => void framer.push(bytes));
      socket.on("error", () => {}); // "close" follows.
      socket.on("close", end);
    });
  }

  /** Leaves the fleet running. */
  detach(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket === undefined || this.#socket.destroyed) return resolve();
      this.#socket.write(`${DETACH}\n`, () => resolve());
    });
  }

  /** Lets this process end while the supervisor runs. */
  unref(): void {
    this.#timer.unref();
    this.#server.unref();
    this.#socket?.unref();
  }

  /** Ends without a supervisor. */
  close(): void {
    clearInterval(this.#timer);
    this.#server.close();
    this.#socket?.destroy();
  }
}

/** The end of the supervisor. */
export class SupervisorEnd {
  #isDetached = false;
  #onGone = () => {};
  #isGone = false;
  readonly #socket: Socket;

  constructor(path: string) {
    this.#socket = connect(path);
    const framer = new LineFramer((line) => {
      if (line === DETACH) this.#isDetached = true;
    });
    this.#socket.on("data", (bytes: Buffer) => void framer.push(bytes));
    this.#socket.on("error", () => {}); // "close" follows.
    this.#socket.on("close", () => {
      this.#isGone = true;
      if (!this.#isDetached) this.#onGone();
    });
    this.#socket.unref();
  }

  /** Calls `onGone` when the starting process ends without leaving the fleet running, or has ended. Returns a function that stops watching. */
  watch(onGone: () => void): () => void {
    if (this.#isGone && !this.#isDetached) onGone();
    this.#onGone = onGone;
    return () => {
      this.#onGone = () => {};
    };
  }

  /** Sends one line. */
  notify(message: string): void {
    this.#socket.write(`${message}\n`);
  }

  /** Sends the exit status as the last thing, and resolves when that was passed to the kernel or nobody reads it. */
  end(status: number): Promise<void> {
    this.#onGone = () => {};
    return new Promise((resolve) => {
      if (this.#socket.destroyed) return resolve();
      this.#socket.once("close", () => resolve());
      this.#socket.end(`exit ${status}\n`, () => resolve());
    });
  }
}
