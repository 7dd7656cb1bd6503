/** Draws charts of samples in cells: graphs of several rows, one-row charts, the distribution of latencies, bars. Pure. */
import { columnOf, squeezed } from "./history.js";
import { type Line, type Segment, type Style, segment } from "./text.js";

/** The characters with which charts are drawn. */
export type Glyphs = "braille" | "block" | "ascii";

/** Returns the characters that a terminal can show: only ASCII without UTF-8, and on consoles. */
export function glyphsFor({ TERM = "", LC_ALL, LC_CTYPE, LANG }: Record<string, string | undefined>): Glyphs {
  const locale = LC_ALL || LC_CTYPE || LANG || "";
  // Without a locale, assume UTF-8, because most terminals show it. TERM may name one that does not.
  const hasUtf8 = locale === "" || /utf-?8/i.test(locale);
  return !hasUtf8 || /^(linux|vt|dumb)/.test(TERM) ? "ascii" : "braille";
}

const BLOCKS = "▁▂▃▄▅▆▇█";
const ASCII_LEVELS = ".,:-=+*#";
/** Eight parts of a cell from the left. */
const PARTS = "▏▎▍▌▋▊▉█";
const SHADES = "░▒▓█";
const ASCII_SHADES = ".:+#";

/** The dots of a braille cell, from the bottom, by its columns. */
const DOTS = [
  [0x40, 0x04, 0x02, 0x01],
  [0x80, 0x20, 0x10, 0x08],
] as const;

export interface Chart {
  samples: Float32Array;
  /** The number of the newest sample. */
  newest: number;
  /** How many samples the whole width represents. */
  window: number;
  /** The value that fills the height. */
  most: number;
  glyphs: Glyphs;
  styleOf(value: number): Style;
}

/** Draws a graph of exactly `height` lines of `width` cells. */
export function graph(chart: Chart, width: number, height: number): Line[] {
  const { samples, newest, window, most, glyphs, styleOf } = chart;
  const perCell = glyphs === "braille" ? 2 : 1;
  const steps = glyphs === "braille" ? 4 : 8;
  const columns = squeezed(samples, newest, window, width * perCell);
  // A known value above zero is always visible.
  const heights = new Float64Array(columns.length);
  const full = Math.max(most, 1e-9);
  for (let at = 0; at < columns.length; at++) {
    const value = columns[at] as number;
    heights[at] = Number.isNaN(value) ? -1 : value <= 0 ? 0 : Math.max(1, Math.round((value / full) * height * steps));
  }
  return Array.from({ length: height }, (_, row) => {
    const below = (height - 1 - row) * steps;
    const line: Segment[] = [];
    for (let x = 0; x < width; x++) {
      let text = " ";
      let value = Number.NaN;
      if (glyphs === "braille") {
        let bits = 0;
        for (const side of [0, 1] as const) {
          const column = 2 * x + side;
          const filled = Math.min(4, (heights[column] as number) - below);
          for (let dot = 0; dot < filled; dot++) bits |= DOTS[side][dot] as number;
          if ((heights[column] as number) === 0 && below === 0) bits |= DOTS[side][0];
          value = larger(value, columns[column] as number);
        }
        text = bits === 0 ? " " : String.fromCharCode(0x2800 + bits);
      } else {
        const filled = Math.min(8, (heights[x] as number) - below);
        const levels = glyphs === "block" ? BLOCKS : ASCII_LEVELS;
        text =
          filled > 0 ? (levels[filled - 1] as string) : heights[x] === 0 && below === 0 ? (levels[0] as string) : " ";
        value = columns[x] as number;
      }
      append(line, text, text === " " ? "plain" : value > 0 ? styleOf(value) : "dim");
    }
    return line;
  });
}

function larger(a: number, b: number): number {
  return Number.isNaN(a) || b > a ? b : a;
}

/** Draws one row: blank where nothing was running, a faint line where the value was zero, a mark where the process died. */
export function sparkRow(chart: Chart, width: number, deaths: readonly number[] = []): Line {
  const { samples, newest, window, most, glyphs, styleOf } = chart;
  const columns = squeezed(samples, newest, window, width);
  const levels = glyphs === "ascii" ? ASCII_LEVELS : BLOCKS;
  const died = new Set(deaths.map((at) => columnOf(Math.min(at, newest), newest, window, width)));
  const line: Segment[] = [];
  for (let x = 0; x < width; x++) {
    const value = columns[x] as number;
    if (died.has(x)) append(line, glyphs === "ascii" ? "x" : "✗", "bad");
    else if (Number.isNaN(value)) append(line, " ", "plain");
    else if (value <= 0 || most <= 0) append(line, levels[0] as string, "dim");
    else append(line, levels[Math.min(7, Math.floor((value / most) * 8))] as string, styleOf(value));
  }
  return line;
}

/** The upper bounds of the buckets of a distribution in milliseconds, for display. */
export const SHAPE_WORDS = ["≤ .5", "≤ 1", "≤ 2", "≤ 5", "≤ 10", "≤ 25", "≤ 50", "≤ 100", "≤ 250", "> 250"] as const;

/** Returns how slow the responses of a bucket are. */
export function slowness(bucket: number): Style {
  return bucket <= 4 ? "good" : bucket <= 6 ? "warn" : "bad";
}

/** Draws a cell for each bucket: its shade is the share of the responses, its colour how slow they are. */
export function shapeRow(shape: readonly number[], glyphs: Glyphs): Line {
  const total = shape.reduce((sum, each) => sum + each, 0);
  const shades = glyphs === "ascii" ? ASCII_SHADES : SHADES;
  const line: Segment[] = [];
  for (let at = 0; at < SHAPE_WORDS.length; at++) {
    const share = total === 0 ? 0 : (shape[at] ?? 0) / total;
    // Even a share of a thousandth is visible, because slow responses are that rare.
    const level = share >= 0.3 ? 3 : share >= 0.1 ? 2 : share >= 0.02 ? 1 : share >= 0.001 ? 0 : -1;
    append(line, level < 0 ? " " : (shades[level] as string), level < 0 ? "plain" : slowness(at));
  }
  return line;
}

/** Draws a bar in eighths of a cell, in exactly `width` cells; the rest has `rest`. */
export function bar(share: number, width: number, glyphs: Glyphs, rest = " "): string {
  const eighths = Math.round(Math.min(1, Math.max(0, Number.isNaN(share) ? 0 : share)) * width * 8);
  const full = Math.floor(eighths / 8);
  if (glyphs === "ascii") return "#".repeat(full) + (rest === " " ? " " : ".").repeat(Math.max(0, width - full));
  const part = eighths % 8 === 0 ? "" : (PARTS[(eighths % 8) - 1] as string);
  return "█".repeat(full) + part + rest.repeat(Math.max(0, width - full - part.length));
}

/** Returns the next round number, so that the height of a chart does not change with every sample. */
export function roundedUp(value: number, least = 1): number {
  if (!(value > least)) return least;
  const ten = 10 ** Math.floor(Math.log10(value));
  const step = [1, 1.5, 2, 3, 4, 5, 7.5, 10].find((each) => each * ten >= value * 0.9999) ?? 10;
  return Number((step * ten).toPrecision(3));
}

function append(line: Segment[], text: string, style: Style): void {
  const last = line.at(-1);
  if (last !== undefined && last.style === style) last.text += text;
  else line.push(segment(text, style));
}

const ASCII: Record<string, string> = {
  ...{ "─": "-", "│": "|", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "▸": ">", "▾": "v", "▴": "^", "✗": "x", "✓": "+" },
  ...{ "·": ".", "–": "-", "…": "~", "−": "-", "×": "x", "≤": "<", "━": "=", "█": "#", "░": ".", "▒": ":", "▓": "+" },
  ...{ "└": "`", "→": ">", "↑": "^", "↓": "v", "←": "<", "›": ">", µ: "u", "□": "?" },
  ...{ "▏": "|", "▎": "|", "▍": "|", "▌": "#", "▋": "#", "▊": "#", "▉": "#", "┃": "|", "“": '"', "”": '"' },
};

/** Returns the line in ASCII only, as wide as before. */
export function inAscii(line: Line, cellsOf: (text: string) => string[], widthOf: (text: string) => number): Line {
  return line.map(({ text, style }) => {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: everything else is replaced
    if (/^[\x00-\x7f]*$/.test(text)) return { text, style };
    const plain = cellsOf(text).map((cell) => (cell <= "~" ? cell : (ASCII[cell] ?? "?".repeat(widthOf(cell)))));
    return { text: plain.join(""), style };
  });
}
