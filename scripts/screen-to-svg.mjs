/** Writes a terminal's screen as SVG: text as text, and blocks and rules as shapes, independent of the font. */

const CELL_WIDTH = 8.4;
const CELL_HEIGHT = 18;
const FONT_SIZE = 14;
const BASELINE = 13.5;
const PADDING = 14;
const BACKGROUND = "#14181f";
const FOREGROUND = "#d6dae0";
/** The sixteen colours of the terminal, in order. */
const PALETTE =
  "#14181f #ef6b73 #7fd88f #e5c07b #61afef #c678dd #62c5d1 #d6dae0 #78808c #ef6b73 #7fd88f #e5c07b #61afef #c678dd #62c5d1 #ffffff".split(
    " ",
  );
const LOWER_BLOCKS = "▁▂▃▄▅▆▇█";
/** A full block leaves a gap to the line above. */
const HIGHEST_BLOCK = 0.85;
const SHADES = { "░": 0.25, "▒": 0.5, "▓": 0.75 };
/** Eighths of a cell from the left. */
const LEFT_BLOCKS = "▏▎▍▌▋▊▉";
/** The lines of a frame, as a path in a cell whose centre is 0 0. */
const FRAMES = {
  "│": "M0 -9V9",
  "┃": "M0 -9V9",
  "╭": "M0 9V4Q0 0 4.2 0",
  "╮": "M0 9V4Q0 0 -4.2 0",
  "╰": "M0 -9V-4Q0 0 4.2 0",
  "╯": "M0 -9V-4Q0 0 -4.2 0",
};
/** The dots of a braille character by its bits: column and row. */
const DOTS = [
  [0, 0],
  [0, 1],
  [0, 2],
  [1, 0],
  [1, 1],
  [1, 2],
  [0, 3],
  [1, 3],
];

/** `terminal` is one of @xterm/headless. */
export function screenToSvg(terminal, title) {
  const { cols, rows } = terminal;
  const shapes = [];
  const texts = [];
  for (let y = 0; y < rows; y++) {
    for (const run of runsOf(terminal, y)) {
      if (run.background !== undefined) shapes.push(rectangle(run.x, y, run.width, 1, 1, run.background));
      shapes.push(...shapesOf(run, y));
      texts.push(...textsOf(run, y));
    }
  }
  const width = round(cols * CELL_WIDTH + 2 * PADDING);
  const height = round(rows * CELL_HEIGHT + 2 * PADDING);
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeText(title)}">`,
    `<title>${escapeText(title)}</title>`,
    `<rect width="${width}" height="${height}" rx="8" fill="${BACKGROUND}"/>`,
    `<g transform="translate(${PADDING} ${PADDING})">`,
    ...shapes,
    `<g font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="${FONT_SIZE}" fill="${FOREGROUND}" xml:space="preserve">`,
    ...texts,
    "</g>",
    "</g>",
    "</svg>",
  ].join("\n")}\n`;
}

/** Adjacent cells with the same style: `{ x, width, cells: [{ x, text }], colour, background, bold }`. */
function runsOf(terminal, y) {
  const line = terminal.buffer.active.getLine(terminal.buffer.active.baseY + y);
  const runs = [];
  for (let x = 0; x < terminal.cols; x++) {
    const cell = line?.getCell(x);
    if (cell === undefined || cell.getWidth() === 0) continue;
    const look = lookOf(cell);
    const key = JSON.stringify(look);
    let run = runs.at(-1);
    if (run?.key !== key) {
      run = { key, x, width: 0, cells: [], ...look };
      runs.push(run);
    }
    run.cells.push({ x, text: cell.getChars() || " ", width: cell.getWidth() });
    run.width += cell.getWidth();
  }
  return runs;
}

function lookOf(cell) {
  const foreground = cell.isFgPalette() ? (PALETTE[cell.getFgColor()] ?? FOREGROUND) : FOREGROUND;
  const bold = cell.isBold() !== 0;
  return cell.isInverse() ? { colour: BACKGROUND, background: foreground, bold } : { colour: foreground, bold };
}

function shapesOf({ cells, colour }, y) {
  return cells
    .flatMap(({ x, text }) => {
      const level = LOWER_BLOCKS.indexOf(text) + 1;
      const size = (level / LOWER_BLOCKS.length) * HIGHEST_BLOCK;
      // Slightly wider than its cell, so that no seam is visible.
      if (level > 0) return [rectangle(x, y + 1 - size, 1.04, size, 1, colour)];
      const part = LEFT_BLOCKS.indexOf(text) + 1;
      if (part > 0) return [rectangle(x, y + 1 - HIGHEST_BLOCK, part / 8, HIGHEST_BLOCK, 1, colour)];
      const frame = FRAMES[text];
      if (frame !== undefined) return [frameAt(frame, x, y, colour)];
      return SHADES[text] === undefined ? [] : [rectangle(x, y + 0.2, 1.04, 0.62, SHADES[text], colour)];
    })
    .concat(ruleOf(cells, y, colour), dotsOf(cells, y, colour));
}

function frameAt(path, x, y, colour) {
  const place = `${round((x + 0.5) * CELL_WIDTH)} ${round((y + 0.5) * CELL_HEIGHT)}`;
  return `<path d="${path}" transform="translate(${place})" fill="none" stroke="${colour}" stroke-width="1.1"/>`;
}

/** Draws the dots of braille characters as one path of points with round ends. */
function dotsOf(cells, y, colour) {
  let path = "";
  for (const { x, text } of cells) {
    const bits = text.charCodeAt(0) - 0x2800;
    if (bits <= 0 || bits > 0xff) continue;
    for (const [bit, [column, row]] of DOTS.entries()) {
      if ((bits & (1 << bit)) === 0) continue;
      const left = round((x + 0.27 + column * 0.5) * CELL_WIDTH);
      path += `M${left} ${round((y + 0.125 + row * 0.25) * CELL_HEIGHT)}h0`;
    }
  }
  return path === ""
    ? []
    : [`<path d="${path}" stroke="${colour}" stroke-width="2.9" stroke-linecap="round" fill="none"/>`];
}

/** Whether a character is drawn as a shape. */
function isShape(text) {
  const code = text.charCodeAt(0);
  return (
    text === " " ||
    text === "─" ||
    LOWER_BLOCKS.includes(text) ||
    LEFT_BLOCKS.includes(text) ||
    text in SHADES ||
    text in FRAMES ||
    (code >= 0x2800 && code <= 0x28ff)
  );
}

/** Draws each stretch of `─` as one line. */
function ruleOf(cells, y, colour) {
  const rules = [];
  for (const { x, text } of cells) {
    if (text !== "─") continue;
    const last = rules.at(-1);
    if (last !== undefined && last.end === x) last.end = x + 1;
    else rules.push({ start: x, end: x + 1 });
  }
  return rules.map(({ start, end }) => rectangle(start, y + 0.48, end - start, 0.06, 1, colour));
}

/** Words, each at its own position, so that the width of another font cannot shift the next word. */
function textsOf({ cells, colour, bold }, y) {
  const words = [];
  for (const { x, text, width } of cells) {
    if (isShape(text)) continue;
    const last = words.at(-1);
    if (last !== undefined && x - last.end <= 1) {
      last.text += " ".repeat(x - last.end) + text;
      last.end = x + width;
    } else words.push({ x, text, end: x + width });
  }
  const look = `${colour === FOREGROUND ? "" : ` fill="${colour}"`}${bold ? ' font-weight="bold"' : ""}`;
  return words.map(({ x, text, end }) => {
    const length = end - x > 2 ? ` textLength="${round((end - x) * CELL_WIDTH)}"` : "";
    return `<text x="${round(x * CELL_WIDTH)}" y="${round(y * CELL_HEIGHT + BASELINE)}"${length}${look}>${escapeText(text)}</text>`;
  });
}

function rectangle(x, y, width, height, opacity, colour) {
  const shade = opacity === 1 ? "" : ` opacity="${opacity}"`;
  return `<rect x="${round(x * CELL_WIDTH)}" y="${round(y * CELL_HEIGHT)}" width="${round(width * CELL_WIDTH)}" height="${round(height * CELL_HEIGHT)}" fill="${colour}"${shade}/>`;
}

function round(value) {
  return Math.round(value * 100) / 100;
}

function escapeText(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
