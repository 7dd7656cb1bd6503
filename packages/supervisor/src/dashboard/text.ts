/** Text as cells of a terminal: what may be shown of foreign text, how wide it is, and cutting and padding it to a width. */
import stringWidth from "string-width";

/** What a piece of text means; the terminal decides how that looks. */
export type Style =
  | "plain"
  | "bold"
  | "dim"
  | "good"
  | "busy"
  | "bad"
  | "accent"
  /** The line under the cursor. */
  | "selected"
  /** Wants to be noticed now: a question, a lost connection. */
  | "alarm";

export interface Segment {
  text: string;
  style: Style;
}

export type Line = Segment[];

/** Each of these is one cell wide everywhere: ASCII, Latin letters, dashes, blocks and what else we draw with. */
const SIMPLE =
  /^[\x20-\x7e\u00a1-\u00a8\u00aa-\u00ac\u00af-\u02ff\u2010-\u2027\u2190-\u2193\u2212\u2500-\u259f\u25a1\u25b8\u25be\u2713\u2717]*$/;
/** Escape sequences: CSI, OSC up to its end, and those of two characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const ESCAPES = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|\x9b[0-?]*[ -/]*[@-~]/g;
/** Terminals disagree on how wide these are. */
const UNCERTAIN =
  /\p{Emoji_Presentation}|[\u00a9\u00ae]|\p{Surrogate}|\p{Co}|[\u{10000}-\u{10ffff}]|\ufe0f|\u200d|\u20e3/u;
/** A mark without its letter: it would go onto whatever stands before it. */
const LONE_MARK = /^\p{M}/u;
const REPLACEMENT = "□";
/** Longer runs are no letter with its marks. */
const MAX_CLUSTER = 8;

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** `text` without what would move the cursor, or be as wide in one terminal and wider in the next. */
export function clean(text: string): string {
  if (SIMPLE.test(text)) return text;
  const visible = text.replace(ESCAPES, "").replaceAll("\t", "  ").normalize("NFC");
  return SIMPLE.test(visible) ? visible : cells(visible).join("");
}

/** The characters of `text`, each one or two cells wide; what is neither is replaced or left out. */
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

/** In cells. */
export function widthOf(text: string): number {
  return SIMPLE.test(text) ? text.length : stringWidth(text);
}

/** Whether each character of `text` is one cell. */
export function isSimple(text: string): boolean {
  return SIMPLE.test(text);
}

/** At most `width` cells of `text`, with an ellipsis where something is left out. */
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

/** Exactly `width` cells. */
export function fit(text: string, width: number, align: "left" | "right" = "left"): string {
  // Most of what there is: nothing has to be looked at twice.
  if (text.length <= width && SIMPLE.test(text)) return align === "left" ? text.padEnd(width) : text.padStart(width);
  const cut = truncate(text, width);
  const padding = " ".repeat(Math.max(0, width - widthOf(cut)));
  return align === "left" ? cut + padding : padding + cut;
}

/** `text` in pieces of at most `width` cells, broken at blanks where there are any; the last of `most` pieces is cut. */
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
    // A piece that would be short is better broken in a word.
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

/** `line` cut to `width` cells. */
export function fitLine(line: Line, width: number): Line {
  const kept: Line = [];
  let left = width;
  for (const { text, style } of line) {
    if (left <= 0) break;
    const cut = truncate(text, left);
    left -= widthOf(cut);
    kept.push({ text: cut, style });
  }
  return kept;
}

/** `left` and `right` at the ends of a line of `width` cells; where both do not fit, `right` goes. */
export function spread(left: Line, right: Line, width: number, filler: Segment = { text: " ", style: "plain" }): Line {
  const space = width - lineWidth(left) - lineWidth(right);
  if (space < 1) return fitLine(left, width);
  return [...left, { text: filler.text.repeat(space), style: filler.style }, ...right];
}

export function segment(text: string, style: Style = "plain"): Segment {
  return { text, style };
}
