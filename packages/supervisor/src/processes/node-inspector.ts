/** Reads the stack of a Node process, even while its event loop is blocked, through the inspector that SIGUSR1 opens. */
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import type { Frame } from "../core/stacks.js";
import type { OutputFile } from "../logs/output.js";

const OPENED = /^Debugger listening on ws:\/\/127\.0\.0\.1:(\d{1,5})(\/[\w-]{1,100})$/;
/** Lines that Node writes about its inspector, which are not output of the app. */
const SAID = /^(?:Debugger (?:listening on|ending on) ws:|Debugger attached\.|For help, see: https:\/\/nodejs\.org\/)/;
const POLL_MS = 20;
/** The maximum size of a message, which is larger than the description of any script or deep stack. */
const MAX_MESSAGE_BYTES = 4 << 20;
const MAX_SCRIPTS = 20_000;
/** How long it may take to close the inspector of a process that continues to run. */
const CLOSE_MS = 500;

interface StackOptions {
  pid: number;
  output: OutputFile;
  /** The time limit for all steps together. */
  timeoutMs: number;
  /** Whether the process continues to run, so that its inspector must be closed again. */
  goesOn: boolean;
}

/** Resolves with the frames of the stack, innermost first; empty if no JavaScript ran, undefined if the process did not respond. */
export async function readNodeStack({ pid, output, timeoutMs, goesOn }: StackOptions): Promise<Frame[] | undefined> {
  const deadline = performance.now() + timeoutMs;
  const address = await openInspector(pid, output, deadline);
  if (address === undefined) return undefined;
  return await new Promise((resolve) => {
    const session = new Session(address, goesOn, resolve);
    setTimeout(() => session.finish(), Math.max(0, deadline - performance.now())).unref();
  });
}

interface Address {
  port: number;
  path: string;
}

async function openInspector(pid: number, output: OutputFile, deadline: number): Promise<Address | undefined> {
  let address: Address | undefined;
  output.hides = (line) => {
    const [, port, path] = OPENED.exec(line) ?? [];
    if (port !== undefined && path !== undefined) address = { port: Number(port), path };
    return SAID.test(line);
  };
  try {
    process.kill(pid, "SIGUSR1");
    while (address === undefined && performance.now() < deadline) {
      output.read();
      if (address === undefined) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  } catch {
    // The process has exited, or its output cannot be read.
  }
  return address;
}

interface CallFrame {
  functionName?: string;
  url?: string;
  location?: { scriptId?: string; lineNumber?: number; columnNumber?: number };
}

interface Message {
  id?: number;
  method?: string;
  params?: { scriptId?: string; url?: string; callFrames?: CallFrame[] };
}

/** Closes the inspector when the event loop turns. */
const CLOSE = 'setTimeout(() => process.getBuiltinModule("node:inspector").close(), 100)';

/** One connection: a WebSocket client that understands what Node sends. */
class Session {
  private readonly socket: Socket;
  private received: Buffer = Buffer.alloc(0);
  private isOpen = false;
  private readonly urls = new Map<string, string>();
  private frames: Frame[] | undefined;
  private isOver = false;

  constructor(
    { port, path }: Address,
    private readonly goesOn: boolean,
    private readonly onEnd: (frames: Frame[] | undefined) => void,
  ) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.on("error", () => this.end());
    this.socket.on("close", () => this.end());
    this.socket.on("data", (bytes) => this.read(bytes));
    const key = randomBytes(16).toString("base64");
    this.socket.write(
      `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
    );
  }

  /** Called when the time is over. If the process has responded, no JavaScript ran. */
  finish(): void {
    if (this.isOver) return;
    if (!this.goesOn || !this.isOpen) return this.end();
    // A process that is blocked outside JavaScript does not even respond to this.
    setTimeout(() => this.end(), CLOSE_MS);
    this.send(3, "Debugger.disable");
    this.send(4, "Runtime.evaluate", { expression: CLOSE });
  }

  private end(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.socket.destroy();
    this.onEnd(this.frames);
  }

  private read(bytes: Buffer): void {
    this.received = this.received.length === 0 ? bytes : Buffer.concat([this.received, bytes]);
    if (this.received.length > MAX_MESSAGE_BYTES) return this.end();
    if (!this.isOpen) {
      const end = this.received.indexOf("\r\n\r\n");
      if (end < 0) return;
      if (!this.received.toString("latin1", 0, 13).startsWith("HTTP/1.1 101 ")) return this.end();
      this.received = this.received.subarray(end + 4);
      this.isOpen = true;
      this.send(1, "Debugger.enable");
      this.send(2, "Debugger.pause");
    }
    for (let text = this.takeText(); text !== undefined && !this.isOver; text = this.takeText()) this.hear(text);
  }

  /** Returns the next complete message; Node neither fragments nor masks its messages. */
  private takeText(): string | undefined {
    const { received } = this;
    if (received.length < 2) return undefined;
    const short = (received[1] as number) & 0x7f;
    const start = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (received.length < start) return undefined;
    const length = short < 126 ? short : short === 126 ? received.readUInt16BE(2) : Number(received.readBigUInt64BE(2));
    if (length > MAX_MESSAGE_BYTES) {
      this.end();
      return undefined;
    }
    if (received.length < start + length) return undefined;
    this.received = received.subarray(start + length);
    return received.toString("utf8", start, start + length);
  }

  private hear(text: string): void {
    let message: Message;
    try {
      message = JSON.parse(text) as Message;
    } catch {
      return; // A control frame.
    }
    const { id, method, params } = message;
    if (method === "Debugger.scriptParsed" && this.urls.size < MAX_SCRIPTS)
      this.urls.set(params?.scriptId ?? "", params?.url ?? "");
    // The pause is requested. Until the reply to that request arrives, nothing else may stop the process.
    if (id === 2) this.frames ??= [];
    if (id === 4) return this.end();
    if (method !== "Debugger.paused") return;
    this.frames = (params?.callFrames ?? []).map((frame) => this.frameOf(frame));
    if (!this.goesOn) return this.end();
    this.send(5, "Debugger.resume");
    this.finish();
  }

  private frameOf({ functionName = "", url, location }: CallFrame): Frame {
    const known = url || this.urls.get(location?.scriptId ?? "") || "";
    return {
      name: functionName,
      file: known.replace(/^file:\/\//, ""),
      line: (location?.lineNumber ?? 0) + 1,
      column: (location?.columnNumber ?? 0) + 1,
    };
  }

  private send(id: number, method: string, params: object = {}): void {
    const text = Buffer.from(JSON.stringify({ id, method, params }));
    const head =
      text.length < 126 ? [0x81, 0x80 | text.length] : [0x81, 0x80 | 126, text.length >> 8, text.length & 0xff];
    // A mask of zeros is enough: masking protects proxies (RFC 6455, section 10.3), and there is no proxy between us and the process.
    this.socket.write(Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), text]));
  }
}
