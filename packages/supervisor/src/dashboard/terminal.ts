/** The terminal: shows lines of styled text, reports keys and sizes, and restores the screen. */
import { readFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import blessed from "blessed";
import { TerminalInput } from "./input.js";
import type { Key, MousePress } from "./model.js";
import { cells, isSimple, type Line, placed, type Style, widthOf } from "./text.js";

interface TerminalOptions {
  /** Whether to use colours; if not, only bold and reverse. */
  colour: boolean;
  /** @param at when it was read; keys of one read have the same time */
  onKey(key: Key, at: number): void;
  onPasted(text: string, at: number): void;
  onMouse(press: MousePress): void;
  onResize(size: { width: number; height: number }): void;
}

interface Terminal {
  readonly size: { width: number; height: number };
  draw(lines: readonly Line[]): void;
  /** Puts text into the clipboard, if the terminal allows it (OSC 52). */
  copy(text: string): void;
  /** Reports presses and the wheel. Meanwhile the terminal itself selects no text. */
  reportMouse(on: boolean): void;
  /** Leaves the alternate screen, shows the cursor and ends raw mode. May be called at any time and more than once. */
  restore(): void;
}

/** A cell of blessed's buffer: its attributes and text. */
type Cell = [attribute: number, text: string];

/** The part of blessed's screen that is used here: its cells, which `draw` compares with the terminal's. */
interface CellScreen extends blessed.Widgets.Screen {
  program: blessed.BlessedProgram & { _write(text: string): void; flush(): void };
  enter(): void;
  leave(): void;
  lines: (Cell[] & { dirty: boolean })[];
  olines: Cell[][];
  draw(first: number, last: number): void;
}

const DEFAULT_COLOUR = 0x1ff;
const BOLD = 1;
const REVERSE = 8;
/** A value that no cell has, so that `draw` always writes the cell. */
const UNKNOWN: Cell = [-1, ""];

function attribute(foreground: number, flags = 0): number {
  return (flags << 18) | (foreground << 9) | DEFAULT_COLOUR;
}

const COLOURED: Record<Style, number> = {
  plain: attribute(DEFAULT_COLOUR),
  bold: attribute(DEFAULT_COLOUR, BOLD),
  dim: attribute(8),
  good: attribute(2),
  busy: attribute(3),
  bad: attribute(1, BOLD),
  accent: attribute(6),
  memory: attribute(4),
  canary: attribute(5),
  warn: attribute(3),
  key: attribute(6, BOLD),
  found: attribute(3, REVERSE),
  selected: attribute(DEFAULT_COLOUR, REVERSE),
  alarm: attribute(3, BOLD | REVERSE),
};

const UNCOLOURED: Record<Style, number> = {
  ...COLOURED,
  dim: attribute(DEFAULT_COLOUR),
  good: attribute(DEFAULT_COLOUR),
  busy: attribute(DEFAULT_COLOUR, BOLD),
  bad: attribute(DEFAULT_COLOUR, BOLD),
  accent: attribute(DEFAULT_COLOUR),
  memory: attribute(DEFAULT_COLOUR),
  canary: attribute(DEFAULT_COLOUR, BOLD),
  warn: attribute(DEFAULT_COLOUR, BOLD),
  key: attribute(DEFAULT_COLOUR, BOLD),
  found: attribute(DEFAULT_COLOUR, REVERSE),
  alarm: attribute(DEFAULT_COLOUR, BOLD | REVERSE),
};

/** Modes that blessed does not set: pasted text is marked, and terminals that can do so show frames only when complete. */
const PASTE_ON = "\x1b[?2004h";
const PASTE_OFF = "\x1b[?2004l";
const FRAME_BEGINS = "\x1b[?2026h";
const FRAME_ENDS = "\x1b[?2026l";
const MOUSE_ON = "\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF = "\x1b[?1006l\x1b[?1000l";
/** If Ctrl-Z has not stopped this process within this time, no shell with job control could continue it. In milliseconds. */
const STOPPED_WITHIN_MS = 100;
/** How often a process in the background looks whether it has the terminal again, in milliseconds: `fg` after `bg` sends no signal. */
const LOOK_EVERY_MS = 250;
/** Terminals refuse longer texts. */
const MAX_COPIED = 74_000;

/** Blessed's input: the keys of stdin, without pasted text and mouse reports. */
function keysOfStdin({ onPasted, onMouse }: Pick<TerminalOptions, "onPasted" | "onMouse">) {
  const { stdin } = process;
  let readAt = 0;
  const keys = Object.assign(new PassThrough(), {
    isTTY: true,
    isRaw: false,
    setRawMode(on: boolean) {
      // In the background, the kernel would stop this process if it changed the mode. The shell has already set the terminal's mode.
      if (isInForeground()) stdin.setRawMode?.(on);
      keys.isRaw = on;
      return keys;
    },
  });
  const input = new TerminalInput({
    onMouse,
    onPasted: (text) => onPasted(text, readAt),
    onKeys: (text) => keys.write(text),
  });
  // A character may arrive in two reads.
  const decoder = new StringDecoder("utf8");
  const take = (chunk: Buffer | string) => {
    readAt = Date.now();
    input.push(typeof chunk === "string" ? chunk : decoder.write(chunk));
  };
  stdin.on("data", take);
  return {
    keys,
    readAt: () => readAt,
    close() {
      stdin.off("data", take);
      input.close();
    },
  };
}

/** Takes over the terminal: alternate screen, raw mode, hidden cursor. */
export function openTerminal({ colour, onKey, onResize, ...events }: TerminalOptions): Terminal {
  // Otherwise blessed draws lines with the alternate character set, which some terminals lack.
  process.env.NCURSES_NO_UTF8_ACS = "1";
  const { keys, readAt, close } = keysOfStdin(events);
  const screen = blessed.screen({
    input: keys as never,
    terminal: "xterm-256color",
    forceUnicode: true,
    fullUnicode: false,
    dockBorders: false,
    // Escape is a key; the bytes of an escape sequence arrive together.
    // biome-ignore lint/suspicious/noExplicitAny: the types leave this option out
    ...({ escapeTimeout: 50 } as any),
  }) as CellScreen;
  const attributes = colour ? COLOURED : UNCOLOURED;
  const sizeNow = () => ({ width: Number(screen.width), height: Number(screen.height) });
  let restored = false;
  /** Whether the terminal is left to the shell, and whether the mouse is reported otherwise. */
  let isAway = false;
  let hasMouse = false;
  let drawn: readonly Line[] = [];
  let returning: NodeJS.Timeout | undefined;
  const write = (text: string) => screen.program._write(text);
  write(PASTE_ON);

  screen.on("keypress", (typed: string | undefined, key: blessed.Widgets.Events.IKeyEventArg) => {
    const name = nameOf(typed, key);
    if (name === "C-l") drawAnew();
    else if (name === "C-z") suspend();
    else if (name !== undefined) onKey(name, readAt());
  });
  const drawAnew = () => {
    screen.alloc();
    drawn = [];
    onResize(sizeNow());
  };
  screen.on("resize", drawAnew);

  const leaveScreen = () => {
    isAway = true;
    write(MOUSE_OFF + PASTE_OFF);
    screen.leave();
  };
  const suspend = () => {
    if (restored || isAway) return;
    leaveScreen();
    keys.setRawMode(false);
    // Stops the whole process group, as the terminal does: a script may wait for this process.
    process.off("SIGTSTP", suspend);
    process.kill(0, "SIGTSTP");
    returning = setTimeout(() => {
      if (isAway) comeBack();
    }, STOPPED_WITHIN_MS);
  };
  const comeBack = () => {
    clearTimeout(returning);
    if (restored) return;
    // Signals such as SIGTERM also continue a stopped process, but the terminal belongs to the shell until `fg`.
    if (!isInForeground()) {
      if (!isAway) leaveScreen();
      returning = setTimeout(comeBack, LOOK_EVERY_MS);
      return;
    }
    // If this process was stopped from outside, another program may have used the terminal meanwhile.
    if (!isAway) screen.leave();
    isAway = false;
    process.off("SIGTSTP", suspend).on("SIGTSTP", suspend);
    // The shell may have ended raw mode. If it has not, setting it again has no effect.
    keys.setRawMode(false);
    keys.setRawMode(true);
    screen.enter();
    write(PASTE_ON + (hasMouse ? MOUSE_ON : ""));
    drawAnew();
    // The size may have changed meanwhile, and only processes in the foreground are notified of that.
    process.kill(process.pid, "SIGWINCH");
  };
  process.on("SIGCONT", comeBack).on("SIGTSTP", suspend);

  return {
    get size() {
      return sizeNow();
    },
    draw(lines) {
      if (restored || isAway) return;
      for (const [y, row] of screen.lines.entries()) {
        const line = lines[y] ?? [];
        if (!isSame(line, drawn[y])) writeRow(row, screen.olines[y] ?? [], line, attributes);
      }
      drawn = lines;
      write(FRAME_BEGINS);
      screen.draw(0, screen.lines.length - 1);
      write(FRAME_ENDS);
    },
    copy(text) {
      if (!restored)
        write(
          `\x1b]52;c;${Buffer.from(text)
            .toString("base64")
            .slice(0, MAX_COPIED & ~3)}\x07`,
        );
    },
    reportMouse(on) {
      hasMouse = on;
      if (!restored) write(on ? MOUSE_ON : MOUSE_OFF);
    },
    restore() {
      if (restored) return;
      restored = true;
      clearTimeout(returning);
      process.off("SIGCONT", comeBack).off("SIGTSTP", suspend);
      close();
      if (!isAway) write(MOUSE_OFF + PASTE_OFF);
      screen.destroy();
      keys.setRawMode(false);
      // Blessed leaves the input flowing, which keeps the process alive.
      process.stdin.pause();
    },
  };
}

/** Whether this process has the terminal, or has none. */
export function isInForeground(): boolean {
  try {
    return hasTerminal(readFileSync("/proc/self/stat", "latin1"));
  } catch {
    return true;
  }
}

/** @param stat of a process, as in /proc. The group that has the terminal is -1 without a terminal. Pure. */
export function hasTerminal(stat: string): boolean {
  const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return foreground === group || foreground === "-1";
}

/** Returns `enter`, `C-c`, or the character itself; undefined for keys that blessed reports twice. */
function nameOf(typed: string | undefined, key: blessed.Widgets.Events.IKeyEventArg): Key | undefined {
  if (key.name === "return") return undefined;
  if (key.ctrl || typed === undefined || typed < " " || typed === "\x7f") return key.full;
  return typed;
}

/** Writes `line` to blessed's buffer; `draw` then writes the cells that have changed. */
function writeRow(
  row: Cell[] & { dirty: boolean },
  shown: Cell[],
  line: Line,
  attributes: Record<Style, number>,
): void {
  let x = 0;
  let hasWide = shown.some(([, text]) => text === "");
  for (const { text, style } of line) {
    if (isSimple(text)) {
      const end = Math.min(text.length, row.length - x);
      for (let at = 0; at < end; at++) put(row, x++, attributes[style], text[at] as string);
      continue;
    }
    for (const cell of cells(text)) {
      const width = widthOf(cell);
      if (x + width > row.length) break;
      put(row, x, attributes[style], isSimple(cell) ? cell : placed(cell, x, width));
      // The terminal fills this cell itself.
      if (width === 2) put(row, x + 1, attributes[style], "");
      hasWide ||= width === 2;
      x += width;
    }
  }
  for (; x < row.length; x++) put(row, x, attributes.plain, " ");
  // Redraws the whole row, because blessed may misjudge the cursor position after a character of two cells.
  if (hasWide) for (const cell of shown) [cell[0], cell[1]] = UNKNOWN;
  row.dirty = true;
}

function isSame(line: Line, other: Line | undefined): boolean {
  if (line.length !== other?.length) return false;
  return line.every(({ text, style }, at) => text === other[at]?.text && style === other[at]?.style);
}

function put(row: Cell[], x: number, attribute: number, text: string): void {
  const cell = row[x];
  if (cell === undefined) return;
  cell[0] = attribute;
  cell[1] = text;
}
