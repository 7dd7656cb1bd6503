/** The terminal: shows lines of styled text, reports keys and sizes, and restores the screen. */
import blessed from "blessed";
import type { Key } from "./model.js";
import { cells, isSimple, type Line, type Style, widthOf } from "./text.js";

interface TerminalOptions {
  /** Without colours, uses only bold and reverse. */
  colour: boolean;
  onKey(key: Key): void;
  onResize(size: { width: number; height: number }): void;
}

interface Terminal {
  readonly size: { width: number; height: number };
  draw(lines: readonly Line[]): void;
  /** Leaves the alternate screen, shows the cursor and ends raw mode. May be called at any time and more than once. */
  restore(): void;
}

/** A cell of blessed's buffer: its attributes and text. */
type Cell = [attribute: number, text: string];

/** The part of blessed's screen that we use: its cells, which `draw` compares with the terminal's. */
interface CellScreen extends blessed.Widgets.Screen {
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
  alarm: attribute(DEFAULT_COLOUR, BOLD | REVERSE),
};

/** Takes over the terminal: alternate screen, raw mode, hidden cursor. */
export function openTerminal({ colour, onKey, onResize }: TerminalOptions): Terminal {
  // Otherwise blessed draws lines with the alternate character set, which not every terminal has.
  process.env.NCURSES_NO_UTF8_ACS = "1";
  const screen = blessed.screen({
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
  let drawn: readonly Line[] = [];

  screen.on("keypress", (typed: string | undefined, key: blessed.Widgets.Events.IKeyEventArg) => {
    const name = nameOf(typed, key);
    if (name === "C-l") drawAnew();
    else if (name !== undefined) onKey(name);
  });
  const drawAnew = () => {
    screen.alloc();
    drawn = [];
    onResize(sizeNow());
  };
  screen.on("resize", drawAnew);

  return {
    get size() {
      return sizeNow();
    },
    draw(lines) {
      if (restored) return;
      for (const [y, row] of screen.lines.entries()) {
        const line = lines[y] ?? [];
        if (!isSame(line, drawn[y])) writeRow(row, screen.olines[y] ?? [], line, attributes);
      }
      drawn = lines;
      screen.draw(0, screen.lines.length - 1);
    },
    restore() {
      if (restored) return;
      restored = true;
      screen.destroy();
      // Blessed leaves the input flowing, which keeps the process alive.
      process.stdin.pause();
    },
  };
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
    const simple = isSimple(text);
    for (const cell of simple ? text : cells(text)) {
      const width = simple ? 1 : widthOf(cell);
      if (x + width > row.length) break;
      put(row, x, attributes[style], cell);
      // The terminal fills this cell itself.
      if (width === 2) put(row, x + 1, attributes[style], "");
      hasWide ||= width === 2;
      x += width;
    }
  }
  for (; x < row.length; x++) put(row, x, attributes.plain, " ");
  // Redraws the whole row, because blessed may misjudge the cursor after a character of two cells.
  if (hasWide) for (const cell of shown) [cell[0], cell[1]] = UNKNOWN;
  row.dirty = true;
}

function isSame(line: Line, other: Line | undefined): boolean {
  if (line.length !== other?.length) return false;
  return line.every(({ text, style }, at) => text === other[at]?.text && style === other[at]?.style);
}

function put(row: Cell[], x: number, attribute: number, text: string): void {
  const cell = row[x];
  if (cell !== undefined) [cell[0], cell[1]] = [attribute, text];
}
