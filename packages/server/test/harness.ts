/** Starts servers on either runtime, over TCP or a unix socket, and sends them requests or raw bytes. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { connect, createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { LineFramer } from "@paceline/wire";

const BUN = new URL("../../supervisor/node_modules/@oven/bun-linux-x64/bin/bun", import.meta.url).pathname;
const BIN = new URL("../../supervisor/dist/programs/server/bin.js", import.meta.url).pathname;
export const DEADLINE_MS = 60_000;

export type RuntimeName = "bun" | "node";
export type Transport = "tcp" | "unix";

/** The Node that runs the tests, unless `npm run test:runtimes` names another one. */
export function programOf(runtime: RuntimeName): string {
  return runtime === "bun" ? BUN : (process.env.PACELINE_TEST_NODE ?? process.execPath);
}

export function fixture(name: string): string {
  return new URL(`./fixtures/${name}`, import.meta.url).pathname;
}

/** Rejects when a promise takes longer than the deadline. */
export function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not happen`)), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Repeats a query until there is a result, within the deadline. */
export async function eventually<T>(what: string, ask: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const result = await ask();
    if (result !== undefined) return result;
    if (Date.now() > end) throw new Error(`${what} did not happen`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A program with its output and its exit. */
export class Program {
  readonly child: ChildProcess;
  readonly exited: Promise<{ code: number | null; signal: string | null }>;
  readonly output: string[] = [];
  private listeners = new Set<() => void>();
  private isClosed = false;

  /** @param runtime of our server, or the command line of another program. */
  constructor(runtime: RuntimeName | readonly string[], args: string[], environment: NodeJS.ProcessEnv = {}) {
    const [command = "", ...rest] = typeof runtime === "string" ? [programOf(runtime), BIN] : runtime;
    this.child = spawn(command, [...rest, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...environment },
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      createInterface({ input: stream as NodeJS.ReadableStream }).on("line", (line) => {
        this.output.push(line);
        for (const listener of this.listeners) listener();
      });
    }
    this.exited = new Promise((resolve) => {
      this.child.on("close", (code, signal) => {
        this.isClosed = true;
        resolve({ code, signal });
        for (const listener of this.listeners) listener();
      });
    });
  }

  /** Returns the first matching line, from the beginning. */
  line(pattern: RegExp): Promise<string> {
    const found = () => this.output.find((line) => pattern.test(line));
    return within(
      new Promise((resolve, reject) => {
        const look = () => {
          const line = found();
          if (line === undefined && !this.isClosed) return;
          this.listeners.delete(look);
          if (line === undefined) reject(new Error(`exited without ${pattern}:\n${this.output.join("\n")}`));
          else resolve(line);
        };
        this.listeners.add(look);
        look();
      }),
      `a line like ${pattern}`,
    );
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async end(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.exited;
  }
}

export type Target = { port: number; host: string } | { path: string };

export interface Received {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/** Sends one request on a new connection. */
export function ask(
  target: Target,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string | Buffer } = {},
): Promise<Received> {
  return within(
    new Promise((resolve, reject) => {
      const where = "path" in target ? { socketPath: target.path } : target;
      const { method = "GET", headers = {}, body } = options;
      const request = httpRequest({ ...where, path, method, headers, agent: false }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString(),
          }),
        );
      });
      request.on("error", reject);
      request.end(body);
    }),
    `an answer to ${path}`,
  );
}

/** A connection with raw bytes: opened or accepted. */
export class Wire {
  received = "";
  ended: "open" | "fin" | "reset" = "open";
  private readonly socket: Socket;
  private listeners = new Set<() => void>();

  constructor(target: Target | Socket) {
    this.socket = target instanceof Socket ? target : connect("path" in target ? { path: target.path } : target);
    const changed = () => {
      for (const listener of this.listeners) listener();
    };
    this.socket.on("data", (chunk) => {
      this.received += chunk.toString("latin1");
      changed();
    });
    this.socket.on("end", () => {
      if (this.ended === "open") this.ended = "fin";
      changed();
    });
    this.socket.on("error", () => {
      this.ended = "reset";
      changed();
    });
  }

  send(text: string): this {
    this.socket.write(text, "latin1");
    return this;
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  /** Resolves when the received text matches. */
  gets(pattern: RegExp): Promise<string> {
    return this.until(
      () => pattern.test(this.received),
      () => `${pattern} in ${JSON.stringify(this.received.slice(0, 300))}`,
    ).then(() => this.received);
  }

  /** Resolves with the received text when the other side has closed. */
  closed(): Promise<string> {
    return this.until(
      () => this.ended !== "open",
      () => `a close after ${JSON.stringify(this.received.slice(0, 300))}`,
    ).then(() => this.received);
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Closes the connection as a crash does, with a reset. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** Sends FIN. */
  end(): void {
    this.socket.end();
  }

  /** Bytes that were written and are still in this process. */
  get waitingBytes(): number {
    return this.socket.writableLength;
  }

  /** The bytes of a single large write that the kernel has not accepted; `waitingBytes` counts all of them until the last is accepted. */
  get unsentBytes(): number {
    return (this.socket as unknown as { _handle: { writeQueueSize: number } | null })._handle?.writeQueueSize ?? 0;
  }

  private until(condition: () => boolean, what: () => string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`there is no ${what()}`)), DEADLINE_MS);
      const look = () => {
        if (!condition()) return;
        clearTimeout(timer);
        this.listeners.delete(look);
        resolve();
      };
      this.listeners.add(look);
      look();
    });
  }
}

export interface Standalone {
  program: Program;
  target: Target;
  close(): Promise<void>;
}

/** Starts a standalone server. */
export async function startAlone(
  runtime: RuntimeName,
  transport: Transport,
  app = "behaviours.mjs",
  args: string[] = [],
  environment: NodeJS.ProcessEnv = {},
): Promise<Standalone> {
  const directory = mkdtempSync(join(tmpdir(), "paceline-server-"));
  const path = join(directory, "app.sock");
  const where = transport === "unix" ? ["--socket", path] : ["--port", "0"];
  const program = new Program(runtime, [fixture(app), ...where, ...args], environment);
  const close = async () => {
    await program.end();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const line = await program.line(/^listening on /);
    const port = Number(/:(\d+)$/.exec(line)?.[1]);
    return { program, target: transport === "unix" ? { path } : { host: "127.0.0.1", port }, close };
  } catch (error) {
    await close();
    throw error;
  }
}

export type ChannelMessage = Record<string, unknown> & { type: string };

/** A supervisor of one instance that acts as scripted. */
export class ScriptedSupervisor {
  readonly directory = mkdtempSync(join(tmpdir(), "paceline-server-"));
  readonly channel = join(this.directory, "channel.sock");
  readonly target = { path: join(this.directory, "web.1.sock") };
  readonly heard: ChannelMessage[] = [];
  private sockets: Socket[] = [];
  private readonly server = createServer((socket) => {
    this.sockets.push(socket);
    socket.on("error", () => {});
    const lines = new LineFramer((line) => {
      const message = JSON.parse(line) as ChannelMessage;
      this.heard.push(message);
      if (message.type === "hello") this.say({ type: "welcome" });
    });
    socket.on("data", (chunk) => lines.push(chunk));
  });

  listen(): Promise<void> {
    return new Promise((resolve) => this.server.listen(this.channel, resolve));
  }

  spawn(runtime: RuntimeName, app = "behaviours.mjs", spec: object = {}, environment: NodeJS.ProcessEnv = {}): Program {
    return this.spawnProgram(runtime, { app: fixture(app), ...spec }, environment);
  }

  /** @param spec the ChildSpec, except the deadlines' defaults. */
  spawnProgram(
    runtime: RuntimeName | readonly string[],
    spec: object = {},
    environment: NodeJS.ProcessEnv = {},
  ): Program {
    return new Program(runtime, [], {
      ...environment,
      PACELINE_CHANNEL: this.channel,
      PACELINE_TOKEN: "secret",
      PACELINE_ATTEMPT: "1",
      PACELINE_SPEC: JSON.stringify({ orphanGraceMs: 60_000, drainTimeoutMs: 5000, reportEveryMs: 100, ...spec }),
      PACELINE_POOL: "web",
      PACELINE_INSTANCE: "web.1",
      PACELINE_INDEX: "1",
      PACELINE_GENERATION: "1",
      PACELINE_SOCKET: this.target.path,
    });
  }

  say(message: object): void {
    this.sockets.at(-1)?.write(`${JSON.stringify(message)}\n`);
  }

  hears(type: string, accepts: (message: ChannelMessage) => boolean = () => true): Promise<ChannelMessage> {
    return eventually(`a ${type} on the control channel`, () =>
      this.heard.find((it) => it.type === type && accepts(it)),
    );
  }

  /** Closes the control channel and its listener. */
  vanish(): Promise<void> {
    return new Promise((resolve) => {
      this.server.close(() => resolve());
      for (const socket of this.sockets) socket.destroy();
    });
  }

  async close(): Promise<void> {
    await this.vanish();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
