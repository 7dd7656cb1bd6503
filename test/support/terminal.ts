/** Runs a command in a pseudo-terminal and returns what a person would see. */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import type { ReadStream } from "node:tty";
import { type IPty, spawn } from "@lydell/node-pty";
import type * as headless from "@xterm/headless";
import { onTestFinished } from "vitest";
import { waitFor } from "./wait.js";

// The package is CommonJS, and Node finds no named exports in it.
const { Terminal } = createRequire(import.meta.url)("@xterm/headless") as typeof headless;

export interface ScreenOptions {
  columns?: number;
  rows?: number;
  cwd: string;
  env?: NodeJS.ProcessEnv;
}

/** Written after the command's last output; terminals ignore it. */
const END = "\x1b]0;the end\x07";

/**
 * Makes sure that all output is read. When the last process has closed the terminal, libuv treats a read of 4 kB as the last one, so output
 * that a delayed process has not read by then would be lost. Therefore the terminal is held open here until `END` has been read.
 * @returns a function that takes all output read so far, and returns it without `END`
 */
function readToTheEnd(pty: IPty): (output: string) => string {
  const { _socket: socket, _pty: path } = pty as unknown as { _socket: ReadStream; _pty: string };
  const held = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  const destroy = socket.destroy.bind(socket);
  const writeEnd = () => {
    try {
      writeSync(held, END);
    } catch {
      setTimeout(writeEnd, 10); // The terminal is full, and is being read.
    }
  };
  // node-pty calls it 200 ms after the command's exit.
  socket.destroy = (error?: Error) => {
    if (error !== undefined) return destroy(error);
    writeEnd();
    return socket;
  };
  return (output) => {
    if (!output.endsWith(END)) return output;
    closeSync(held);
    destroy();
    return output.slice(0, -END.length);
  };
}

export class Screen {
  readonly #terminal: headless.Terminal;
  readonly #pty: IPty;
  #ended: { exitCode: number; signal?: number | undefined } | undefined;
  /** All output of the command, with escape sequences. */
  output = "";

  private constructor(command: string, args: string[], { columns = 80, rows = 24, cwd, env }: ScreenOptions) {
    this.#terminal = new Terminal({ cols: columns, rows, allowProposedApi: true });
    const { CI: _, NO_COLOR: __, ...rest } = env ?? process.env;
    this.#pty = spawn(command, args, { name: "xterm-256color", cols: columns, rows, cwd, env: rest });
    const withoutEnd = readToTheEnd(this.#pty);
    this.#pty.onData((text) => {
      this.output = withoutEnd(this.output + text);
      this.#terminal.write(text);
    });
    this.#pty.onExit((end) => {
      this.#ended = end;
    });
  }

  /** Starts the command; it is killed after the current test. */
  static open(command: string, args: string[], options: ScreenOptions): Screen {
    const screen = new Screen(command, args, options);
    onTestFinished(() => {
      if (screen.#ended === undefined) screen.#pty.kill("SIGKILL");
      screen.#terminal.dispose();
    });
    return screen;
  }

  get pid(): number {
    return this.#pty.pid;
  }

  /** Returns the current screen, without trailing blanks. */
  lines(): string[] {
    const { buffer, rows } = this.#terminal;
    const { active } = buffer;
    return Array.from(
      { length: rows },
      (_, y) =>
        active
          .getLine(active.baseY + y)
          ?.translateToString()
          .trimEnd() ?? "",
    );
  }

  /** Returns the column of `text` in line `y`, or -1; wide characters count as two. */
  columnOf(text: string, y: number): number {
    const line = this.#terminal.buffer.active.getLine(y);
    const cells = Array.from({ length: this.#terminal.cols }, (_, x) => line?.getCell(x)?.getChars() ?? "");
    return cells.findIndex((_, x) => cells.slice(x).join("").startsWith(text));
  }

  press(keys: string): void {
    this.#pty.write(keys);
  }

  /** Presses a key after the pause that a person needs to read a question; an earlier key would not count as an answer. */
  async answer(key: string): Promise<void> {
    await sleep(200);
    this.press(key);
  }

  resize(columns: number, rows: number): void {
    this.#terminal.resize(columns, rows);
    this.#pty.resize(columns, rows);
  }

  kill(signal: NodeJS.Signals): void {
    process.kill(this.#pty.pid, signal);
  }

  /** Resolves with the lines of the first screen that matches all `patterns`. */
  sees(...patterns: RegExp[]): Promise<string[]> {
    return waitFor(
      `the screen to show ${patterns.join(" and ")}`,
      () => {
        const lines = this.lines();
        return patterns.every((pattern) => pattern.test(lines.join("\n"))) && lines;
      },
      { details: () => `\n${this.lines().join("\n")}` },
    );
  }

  /** Returns the exit status, after the command has exited and all of its output was read. */
  async exit(): Promise<number> {
    const end = await waitFor("the command to end", () => this.#ended, {
      details: () => `\n${this.lines().join("\n")}`,
    });
    await new Promise<void>((resolve) => this.#terminal.write("", resolve));
    return end.exitCode;
  }

  /** Returns whether the terminal is restored: the normal screen, the cursor shown, and keys, paste and mouse as before. */
  isRestored(): boolean {
    const last = (on: string, off: string) => this.output.lastIndexOf(on) <= this.output.lastIndexOf(off);
    const { modes, buffer } = this.#terminal;
    const isOff = !modes.applicationCursorKeysMode && !modes.bracketedPasteMode && modes.mouseTrackingMode === "none";
    return buffer.active.type === "normal" && last("\x1b[?25l", "\x1b[?25h") && isOff;
  }
}
