/** Text as terminal cells: which foreign text may be shown, its width, and cutting and padding. */
import stringWidth from "string-width";

/** The meaning of a piece of text; the terminal decides how it looks. */
export type Style =
  | "plain"
  | "bold"
  | "dim"
  | "good"
  | "busy"
  | "bad"
  /** Traffic. */
  | "accent"
  | "memory"
  /** A canary or a deploy. */
  | "canary"
  /** A figure that is slow or unusual, but not bad. */
  | "warn"
  /** The name of a key. */
  | "key"
  /** A line that matches the search. */
  | "found"
  /** The name of the selected row. */
  | "selected"
  /** Something that demands attention: a question, a lost connection. */
  | "alarm";

export interface Segment {
  text: string;
  style: Style;
}

export type Line = Segment[];

/** Characters that are one cell wide everywhere: ASCII, Latin letters, dashes, blocks and Paceline's drawing characters. */
const SIMPLE =
  /^[\x20-\x7e\u00a1-\u00a8\u00aa-\u00ac\u00af-\u02ff\u2010-\u2027\u2190-\u2193\u2212\u2264\u2500-\u259f\u25a1\u25b4\u25b8\u25be\u2713\u2717\u2800-\u28ff]*$/;
/** Escape sequences: CSI, OSC up to its end, and two-character sequences. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the expression is meant to match control characters
const ESCAPES = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|\x9b[0-?]*[ -/]*[@-~]/g;
/** Terminals disagree on how wide these are. */
const UNCERTAIN =
  /\p{Emoji_Presentation}|[\u00a9\u00ae]|\p{Surrogate}|\p{Co}|[\u{10000}-\u{10ffff}]|[\p{Zl}\p{Zp}]|\ufe0f|\u200d|\u20e3/u;
/** A combining mark without its letter, which would combine with the text before it. */
const LONE_MARK = /^\p{M}/u;
const REPLACEMENT = "□";
/** A longer cluster is not just a letter with marks. */
const MAX_CLUSTER = 8;

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** Returns `text` without characters that move the cursor, or whose width differs between terminals. */
export function clean(text: string): string {
  if (SIMPLE.test(text)) return text;
  const visible = text.replace(ESCAPES, "").replaceAll("\t", "  ").normalize("NFC");
  return SIMPLE.test(visible) ? visible : cells(visible).join("");
}

/** Splits `text` into characters that are one or two cells wide. Replaces or drops all others. */
export function cells(text: string): string[] {
  if (SIMPLE.test(text)) return [...text];
  const shown: string[] = [];
  for (const { segment } of graphemes.segment(text)) {
    if (segment.length === 1 && segment >= " " && segment <= "~") shown.push(segment);
    else if (UNCERTAIN.test(segment) || segment.length > MAX_CLUSTER) shown.push(REPLACEMENT);
    else if (!LONE_MARK.test(segment)) {
      const width = stringWidth(segment);
      if (width === 1 || width === 2) shown.push(segment);
    }
  }
  return shown;
}

/**
 * Returns a character at this column so that the next one is at the right place even if the terminal has another opinion of its width: the
 * cells are emptied first, and the cursor is put after them.
 */
export function placed(cell: string, x: number, width: number): string {
  return `${" ".repeat(width)}\x1b[${x + 1}G${cell}\x1b[${x + width + 1}G`;
}

/** Returns the width of `text` in cells. */
export function widthOf(text: string): number {
  return SIMPLE.test(text) ? text.length : stringWidth(text);
}

/** Whether each character of `text` takes one cell. */
export function isSimple(text: string): boolean {
  return SIMPLE.test(text);
}

/** Cuts `text` to at most `width` cells, with an ellipsis if something is cut. */
export function truncate(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  if (width <= 0) return "";
  let used = 0;
  let kept = "";
  for (const cell of cells(text)) {
    used += widthOf(cell);
    if (used > width - 1) break;
    kept += cell;
  }
  return `${kept}…`;
}

/** Cuts or pads `text` to exactly `width` cells. */
export function fit(text: string, width: number, align: "left" | "right" = "left"): string {
  // A fast path for most texts.
  if (text.length <= width && SIMPLE.test(text)) return align === "left" ? text.padEnd(width) : text.padStart(width);
  const cut = truncate(text, width);
  const padding = " ".repeat(Math.max(0, width - widthOf(cut)));
  return align === "left" ? cut + padding : padding + cut;
}

/** The number of a process, and its role in the log: `.3`, `.3 (replacement)`. */
const NUMBER = /\.\d+( \(\w+\))?$/;
/** The minimum number of cells for the pool in a name that is cut. */
const LEAST_POOL = 4;

/** Cuts the name of a pool or a process to at most `width` cells. Keeps the number, by which processes of a pool differ: `checkou….3`. */
export function shortName(name: string, width: number): string {
  if (widthOf(name) <= width) return name;
  const [end = "", role = ""] = NUMBER.exec(name) ?? [];
  if (end.length + LEAST_POOL <= width)
    return truncate(name.slice(0, name.length - end.length), width - end.length) + end;
  return role === "" ? truncate(name, width) : shortName(name.slice(0, name.length - role.length), width);
}

/** Cuts or pads a foreign name of a pool or a process to exactly `width` cells. */
export function fitName(name: string, width: number): string {
  return fit(shortName(clean(name), width), width);
}

/** Splits `text` into pieces of at most `width` cells, at spaces if possible. Cuts the last one of at most `most` pieces. */
export function wrap(text: string, width: number, most: number): string[] {
  const pieces: string[] = [];
  let rest = text;
  while (pieces.length + 1 < most && widthOf(rest) > width) {
    let end = 0;
    let blank = 0;
    let used = 0;
    for (const cell of cells(rest)) {
      used += widthOf(cell);
      if (used > width) break;
      end += cell.length;
      if (cell === " ") blank = end;
    }
    if (rest[end] === " ") blank = end;
    // Breaking within a word is better than a short piece.
    const at = blank > width / 2 ? blank : end;
    if (at === 0) break;
    pieces.push(rest.slice(0, at).trimEnd());
    rest = rest.slice(at).trimStart();
  }
  return [...pieces, truncate(rest, width)];
}

export function lineWidth(line: Line): number {
  return line.reduce((sum, { text }) => sum + widthOf(text), 0);
}

/** Cuts `line` to `width` cells. */
export function fitLine(line: Line, width: number): Line {
  const kept: Line = [];
  let left = width;
  for (const each of line) {
    if (left <= 0) break;
    const width = widthOf(each.text);
    const cut = width <= left ? each : segment(truncate(each.text, left), each.style);
    left -= cut === each ? width : widthOf(cut.text);
    kept.push(cut);
  }
  return kept;
}

/** Puts `left` and `right` at the ends of a line of `width` cells. Omits `right` if both do not fit. */
export function spread(left: Line, right: Line, width: number, filler: Segment = { text: " ", style: "plain" }): Line {
  const space = width - lineWidth(left) - lineWidth(right);
  if (space < 1) return fitLine(left, width);
  return [...left, { text: filler.text.repeat(space), style: filler.style }, ...right];
}

export function segment(text: string, style: Style = "plain"): Segment {
  return { text, style };
}
