/** Lays cells out in columns as wide as what they hold. */
import { visibleLine } from "../control-characters.js";

export type Cell =
  | string
  | { text: string; align?: "left" | "right" /** An SGR parameter, such as 32 for green. */; colour?: string };

/** The lines of the table `rows`; a row may be shorter than the others. */
export function formatTable(rows: readonly (readonly Cell[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, textOf(cell).length);
  }
  return rows.map((row) =>
    row
      .map((cell, at) => formatCell(cell, widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

function formatCell(cell: Cell, width: number): string {
  const text = textOf(cell);
  if (typeof cell === "string") return text.padEnd(width);
  const padding = " ".repeat(width - text.length);
  const shown = cell.colour === undefined ? text : `\x1b[${cell.colour}m${text}\x1b[0m`;
  return cell.align === "right" ? padding + shown : shown + padding;
}

function textOf(cell: Cell): string {
  return visibleLine(typeof cell === "string" ? cell : cell.text);
}
