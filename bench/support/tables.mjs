/** The figures of a section as tables of text cells, for the terminal and for Markdown. */

const LOAD_COLUMNS = [
  ["req/s", ({ requestsPerSecond }) => whole(requestsPerSecond)],
  ["total s", ({ seconds }) => fixed(seconds, 2)],
  ["p50 ms", ({ p50Ms }) => latency(p50Ms)],
  ["p99 ms", ({ p99Ms }) => latency(p99Ms)],
  ["CPU µs/req", ({ cpuUs }) => fixed(cpuUs, 1)],
  ["RSS MB", ({ rssMB }) => fixed(rssMB, 0)],
  ["PSS MB", ({ pssMB }) => fixed(pssMB, 0)],
  ["failed", ({ failed }) => whole(failed)],
];

const MEMORY_COLUMNS = [
  ["processes", ({ idle }) => fixed(idle?.processes, 0)],
  ["idle: RSS MB", ({ idle }) => fixed(idle?.rssMB, 0)],
  ["idle: PSS MB", ({ idle }) => fixed(idle?.pssMB, 0)],
  ["after load: RSS MB", ({ loaded }) => fixed(loaded?.rssMB, 0)],
  ["after load: PSS MB", ({ loaded }) => fixed(loaded?.pssMB, 0)],
];

const fixed = (value, digits) => (value === undefined || value === null ? "–" : value.toFixed(digits));
const whole = (value) => (value === undefined || value === null ? "–" : Math.round(value).toLocaleString("en-US"));
/** ab prints whole milliseconds, wrk microseconds. */
const latency = (value) => fixed(value, value === undefined || value >= 100 ? 0 : value < 1 ? 2 : 1);

const CAPTIONS = {
  close: ({ requests }) => `one connection per request: ab -n${requests} -c1000`,
  "keep-alive": ({ seconds }) => `kept connections: wrk -t1 -c64 -d${seconds}s`,
};

/** Returns the tables of a section: `{ caption, header: [cell], rows: [[cell]] }`. */
export function tablesOf(section, options) {
  if (section.kind === "memory") {
    const header = ["", ...MEMORY_COLUMNS.map(([title]) => title)];
    const rows = section.rows.map((row) => [row.name, ...MEMORY_COLUMNS.map(([, cell]) => cell(row))]);
    return [{ caption: section.title, header, rows }];
  }
  return Object.entries(CAPTIONS).map(([load, caption]) => ({
    caption: caption(options),
    header: ["", ...LOAD_COLUMNS.map(([title]) => title)],
    rows: section.rows.map((row) => [
      row.name,
      ...LOAD_COLUMNS.map(([, cell]) => (row[load] === undefined ? "–" : cell(row[load]))),
    ]),
  }));
}

/** Returns the irregularities, one per line. */
export function notesOf(section) {
  return section.rows.flatMap(({ name, notes }) => notes.map((note) => `${name}: ${note}`));
}

/** Formats a table for the terminal. */
export function textTable({ caption, header, rows }) {
  const widths = header.map((_, column) => Math.max(...[header, ...rows].map((cells) => cells[column].length)));
  const line = (cells) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i] + 2))).join("");
  return [caption, line(header), ...rows.map(line)].join("\n");
}

/** Formats a table for Markdown; the caption is the head of its first column. */
export function markdownTable({ caption, header, rows }) {
  const line = (cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const rule = `|---|${"---:|".repeat(header.length - 1)}`;
  return [line([caption, ...header.slice(1)]), rule, ...rows.map(line)].join("\n");
}
