/** The help of the dashboard: its keys and terms. Pure. */
import type { Ownership } from "./model.js";
import { padLine } from "./table.js";
import { fit, fitLine, type Line, type Style, segment, wrap } from "./text.js";

type Entries = readonly (readonly [string, string])[];

/** The width of a key or a word before its text, and the maximum number of lines of a text. */
const KEY_WIDTH = 13;
const MOST_LINES = 4;

const MOVING: Entries = [
  ["↑ ↓  j k", "select; PgUp PgDn g G for more"],
  ["Enter  Esc", "detail of the selected row; back"],
  ["!", "the next one that fails"],
  ["l  e", "log of the selected row; errors of all"],
  ["d  c", "deaths; the deploy that is judged"],
  ["/", "filter: words, !not; in a log: search, n N"],
  ["1–9  s", "sort by that column, again reverses; the next"],
  ["[  ]", "charts of a longer or shorter time"],
  ["Space", "pause the screen"],
  ["m", "mouse on or off; off, text can be selected"],
  ["y", "copy to the clipboard of the terminal"],
  [":", "commands; Tab completes"],
];

const ACTING: Entries = [
  ["+  −", "one instance more or fewer in the pool"],
  ["r", "reload: new config, env files and code"],
  ["R", "restart the selected instance, pool or balancer"],
  ["K", "drain or undrain the instance"],
  ["P", "profile of 10 s of the process, in a file here"],
  ["p b h", "in a deploy: promote, roll back, hold"],
  ["asks first", "each of these keys; only y confirms"],
];

const LOG: Entries = [
  ["f  w", "log: follow; wrap long lines"],
  ["1 2 3", "log: all lines, warnings, errors"],
];

const WORDS: Entries = [
  ["FLY", "requests in flight"],
  ["P50 P99", "what half and 99 % of the responses of the last 10 s took: 420µ, 1.8 (ms), 1.2s"],
  ["LATENCY", "their shares up to .5 1 2 5 10 25 50 100 250 ms and above"],
  ["5XX", "responses with status 500 and above in the last minute"],
  ["RSS", "resident memory in MB, with shared pages in full"],
  ["PSS", "memory with shared pages divided among their processes, of the RSS at that time"],
  ["memory", "used memory of the machine"],
  ["RST", "restarts of the slot"],
  ["attention", "faults and warnings, the most severe first; paceline explain shows all"],
  ["yellow red", "1.5 and 2 times the median of the pool"],
];

/** Returns a page of the help; pages before the last end with a hint. */
export function helpLines(ownership: Ownership, width: number, height: number, page = 0): Line[] {
  const lines = allLines(ownership, width, height);
  if (lines.length <= height || height < 2) return lines.slice(0, height);
  const of = pagesOf(lines, height);
  const now = Math.min(page, of - 1);
  const shown = lines.slice(now * (height - 1), (now + 1) * (height - 1));
  const more = now + 1 < of ? "↓ more" : "the end";
  return [...shown, fitLine([segment(`  ${more} (${now + 1} of ${of})`, "dim")], width)];
}

export function helpPages(ownership: Ownership, width: number, height: number): number {
  const lines = allLines(ownership, width, height);
  return lines.length <= height || height < 2 ? 1 : pagesOf(lines, height);
}

function pagesOf(lines: readonly Line[], height: number): number {
  return Math.ceil(lines.length / (height - 1));
}

function allLines(ownership: Ownership, width: number, height: number): Line[] {
  const quit = ownership === "started" ? "leave; asks whether to stop the fleet" : "leave; the fleet keeps running";
  const interrupt = ownership === "started" ? "stop the fleet and leave; twice: at once" : quit;
  const ends: Entries = [
    ["q  Ctrl-C", ownership === "started" ? `${quit}; ${interrupt}` : quit],
    ["Ctrl-L", "draw the screen anew"],
    ["Ctrl-Z", "leave the terminal to the shell until fg"],
  ];
  const left = [...MOVING, ...LOG];
  const right = [...ACTING, ...ends];
  const linesOf = (entries: Entries, style: Style, cells: number): Line[] =>
    entries.flatMap(([key, text]) =>
      wrap(text, Math.max(1, cells - KEY_WIDTH), MOST_LINES).map((piece, at) => [
        segment(fit(at === 0 ? `  ${key}` : "", KEY_WIDTH), style),
        segment(piece),
      ]),
    );
  const words = linesOf(WORDS, "bold", width);
  const half = Math.floor(width / 2);
  const isWide = width >= 120;
  const [first, second] = [linesOf(left, "accent", half), linesOf(right, "accent", width - half)];
  const keys: Line[] = isWide
    ? Array.from({ length: Math.max(first.length, second.length) }, (_, at) => [
        ...padLine(first[at] ?? [], half),
        ...(second[at] ?? []),
      ])
    : linesOf([...left, ...right], "accent", width);
  const gap: Line[] = height > keys.length + words.length + 1 ? [[]] : [];
  return [...gap, ...keys, ...gap, ...words].map((line) => fitLine(line, width));
}
