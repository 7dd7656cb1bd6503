/** Draws groups of bars as SVG; its colours follow the reader's light or dark scheme. */

const WIDTH = 960;
const MARGIN = { left: 48, right: 16, top: 84 };
const PANEL = { title: 30, height: 200, labels: 34, gap: 18 };
const GROUP_GAP = 28;
const BAR_GAP = 2;
const GRID_LINES = 4;

/** One colour per series: for the light and for the dark scheme. */
const COLOURS = [
  ["#0b62d6", "#4d9bff"],
  ["#8dbcf5", "#2c5c9c"],
  ["#0f8a4b", "#3fc380"],
  ["#d9730d", "#f0a04b"],
  ["#8b3fb5", "#c487e8"],
  ["#b3263e", "#f0778b"],
  ["#6b7280", "#9ca3af"],
];

/**
 * @param {{ title: string, panels: { title: string, groups: { label: string, bars: { name: string, value?: number }[] }[] }[] }} chart
 * every group has the same bars in the same order; a bar without a value keeps its place
 * @returns {string} the SVG document
 */
export function barChart({ title, panels }) {
  const names = panels[0].groups[0].bars.map(({ name }) => name);
  const panelHeight = PANEL.title + PANEL.height + PANEL.labels + PANEL.gap;
  const height = MARGIN.top + panels.length * panelHeight;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeXml(title)}">`,
    `<title>${escapeXml(title)}</title>`,
    styleOf(names.length),
    `<rect class="ground" width="${WIDTH}" height="${height}" rx="8"/>`,
    `<text class="title" x="${MARGIN.left}" y="30">${escapeXml(title)}</text>`,
    ...legend(names),
    ...panels.flatMap((panel, i) => drawPanel(panel, MARGIN.top + i * panelHeight)),
    "</svg>",
  ].join("\n")}\n`;
}

function styleOf(count) {
  const series = (scheme) =>
    Array.from({ length: count }, (_, i) => `.s${i} { fill: ${COLOURS[i % COLOURS.length][scheme]} }`).join(" ");
  return `<style>
text { font: 11px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #374151 }
.title { font-size: 15px; font-weight: 600 } .panel { font-size: 12px; font-weight: 600 } .value { font-size: 9.5px }
.ground { fill: #ffffff } .grid { stroke: #e5e7eb } .axis { stroke: #9ca3af } ${series(0)}
@media (prefers-color-scheme: dark) {
text { fill: #d1d5db } .ground { fill: #14181f } .grid { stroke: #2b323d } .axis { stroke: #6b7280 } ${series(1)}
}
</style>`;
}

/** The names are in the order of the bars, so that colours are not needed to distinguish them. */
function legend(names) {
  const shapes = [];
  let x = MARGIN.left;
  for (const [i, name] of names.entries()) {
    shapes.push(`<rect class="s${i}" x="${x}" y="46" width="11" height="11" rx="2"/>`);
    shapes.push(`<text x="${x + 16}" y="56">${escapeXml(name)}</text>`);
    // An estimate of the text's width: SVG has no layout.
    x += 34 + name.length * 6.4;
  }
  return shapes.map((shape) => shape.replaceAll(/x="([\d.]+)"/g, (_, value) => `x="${round(Number(value))}"`));
}

function drawPanel({ title, groups }, top) {
  const values = groups.flatMap(({ bars }) => bars.map(({ value }) => value)).filter((value) => Number.isFinite(value));
  const step = niceStep(Math.max(...values) / GRID_LINES);
  const max = Math.ceil(Math.max(...values) / step) * step;
  const bottom = top + PANEL.title + PANEL.height;
  const scale = PANEL.height / max;
  const right = WIDTH - MARGIN.right;
  const shapes = [`<text class="panel" x="${MARGIN.left}" y="${top + 14}">${escapeXml(title)}</text>`];
  for (let value = 0; value <= max; value += step) {
    const y = round(bottom - value * scale);
    shapes.push(
      `<line class="${value === 0 ? "axis" : "grid"}" x1="${MARGIN.left}" x2="${right}" y1="${y}" y2="${y}"/>`,
      `<text x="${MARGIN.left - 6}" y="${round(y + 4)}" text-anchor="end">${round(value)}</text>`,
    );
  }
  const groupWidth = (right - MARGIN.left) / groups.length;
  for (const [i, group] of groups.entries()) {
    shapes.push(...drawGroup(group, MARGIN.left + i * groupWidth, groupWidth, bottom, scale));
  }
  return shapes;
}

function drawGroup({ label, bars }, left, width, bottom, scale) {
  const pitch = (width - GROUP_GAP) / bars.length;
  const middle = round(left + width / 2);
  const shapes = [`<text x="${middle}" y="${bottom + 18}" text-anchor="middle">${escapeXml(label)}</text>`];
  for (const [i, { name, value }] of bars.entries()) {
    const x = left + GROUP_GAP / 2 + i * pitch;
    const centre = round(x + pitch / 2);
    if (!Number.isFinite(value)) {
      shapes.push(`<text class="value" x="${centre}" y="${bottom - 4}" text-anchor="middle">–</text>`);
      continue;
    }
    const y = round(bottom - value * scale);
    const text = value.toFixed(value < 99.95 ? 1 : 0);
    shapes.push(
      `<rect class="s${i}" x="${round(x + BAR_GAP / 2)}" y="${y}" width="${round(pitch - BAR_GAP)}" height="${round(bottom - y)}"><title>${escapeXml(`${name}, ${label}: ${text}`)}</title></rect>`,
      `<text class="value" x="${centre}" y="${round(y - 4)}" text-anchor="middle">${text}</text>`,
    );
  }
  return shapes;
}

/** Returns the smallest of 1, 2, 5 times a power of ten that is at least the value. */
function niceStep(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= value);
}

const round = (value) => Math.round(value * 10) / 10;

export function escapeXml(text) {
  const entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replaceAll(/[&<>"']/g, (character) => entities[character]);
}
