/** The last line of the screen: keys, a message, a question, or a text that is being typed. Pure. */

import { titleOf } from "./columns.js";
import { suggestionsFor } from "./command-line.js";
import type { Model, Notice, View } from "./model.js";
import { isFiltered } from "./pane.js";
import { cells, clean, fitLine, type Line, lineWidth, type Style, segment, truncate, widthOf, wrap } from "./text.js";
import { fleetName } from "./title.js";

/** The maximum number of lines of a message. */
const MOST_MESSAGE = 3;

const TONE: Record<Notice["tone"], { style: Style; mark: string }> = {
  info: { style: "plain", mark: "·" },
  good: { style: "good", mark: "✓" },
  bad: { style: "bad", mark: "✗" },
};

/** The keys of each view, most important first. */
const HINTS: Record<View, readonly (readonly [key: string, word: string])[]> = {
  overview: [
    ["?", "help"],
    ["Enter", "detail"],
    ["l", "log"],
    ["e", "errors"],
    ["d", "deaths"],
    ["c", "canary"],
    ["q", "quit"],
    ["+ −", "scale"],
    ["r", "reload"],
    ["R", "restart"],
    ["s", "sort"],
    ["/", "filter"],
    ["[ ]", "zoom"],
    [":", "command"],
  ],
  detail: [
    ["Esc", "back"],
    ["↑ ↓", "next instance"],
    ["R", "restart"],
    ["K", "drain"],
    ["P", "profile"],
    ["l", "full log"],
    ["[ ]", "zoom"],
    ["d", "deaths"],
    ["?", "help"],
    ["q", "quit"],
  ],
  log: [
    ["Esc", "back"],
    ["↑ ↓", "scroll"],
    ["f", "follow"],
    ["/", "search"],
    ["n N", "next"],
    ["1 2 3", "level"],
    ["w", "wrap"],
    ["y", "copy"],
    ["?", "help"],
  ],
  deaths: [
    ["Esc", "back"],
    ["↑ ↓", "select"],
    ["Enter", "instance"],
    ["l", "log"],
    ["y", "copy"],
    ["?", "help"],
  ],
  canary: [
    ["Esc", "back"],
    ["p", "promote now"],
    ["b", "roll back"],
    ["h", "hold"],
    ["l", "log of new"],
    ["?", "help"],
  ],
  help: [["any key", "goes back"]],
};

/** The keys of the view of a deploy while there is none. */
const NO_DEPLOY: (typeof HINTS)[View] = [
  ["Esc", "back"],
  [":", "command"],
  ["?", "help"],
];

/** Returns the lines at the bottom of the screen: several while a command is being typed, and for a long message. */
export function bottomLines(model: Model, width: number, height: number): Line[] {
  if (height <= 1) return [];
  const { mode } = model;
  if (mode.kind === "normal") return messageLines(model, width, height);
  if (mode.kind !== "command" || height < 4) return [fitLine(contents(model, width), width)];
  const offered = suggestionsFor(mode.text, model).map(({ text, help }, at): Line => {
    const isFirst = at === mode.at;
    return [
      segment(isFirst ? "▸" : " ", "accent"),
      segment(clean(text), isFirst ? "bold" : "plain"),
      segment(`  ${help}`, "dim"),
    ];
  });
  const room = Math.min(6, height - 3);
  const shown = offered.slice(0, room);
  return [...shown.map((line) => fitLine(line, width)), fitLine(contents(model, width), width)];
}

/** Returns a message or the keys. Before it come the filter and the sort order, which must not be forgotten. */
function messageLines(model: Model, width: number, height: number): Line[] {
  const { status, notice } = model;
  // A failure stays visible until it is resolved.
  const failure = status?.watch?.failure ?? status?.problem ?? status?.certificates?.problems[0]?.reason ?? null;
  const shown = notice ?? (failure === null ? null : { text: failure, tone: "bad" as const });
  const state = stateOf(model);
  if (shown === null) return [fitLine([...state, ...hints(model, width - lineWidth(state))], width)];
  const { style, mark } = TONE[shown.tone];
  const indent = lineWidth(state) + 3;
  const most = Math.max(1, Math.min(MOST_MESSAGE, Math.floor(height / 6)));
  return wrap(clean(shown.text), Math.max(1, width - indent), most).map((piece, at) =>
    fitLine(
      [...(at === 0 ? [...state, segment(` ${mark} `, style)] : [segment(" ".repeat(indent))]), segment(piece, style)],
      width,
    ),
  );
}

function contents(model: Model, width: number): Line {
  const { mode } = model;
  /** Returns the first text that fits, or the last one. */
  const alarm = (...texts: string[]): Line => [
    segment(texts.find((text) => widthOf(text) <= width) ?? (texts.at(-1) as string), "alarm"),
  ];
  switch (mode.kind) {
    case "quit": {
      const name = fleetName(model.status ?? { name: "the fleet" });
      return alarm(
        ` Stop ${name}?  y stop it and wait   n leave it running   Esc go back `,
        ` Stop ${name}? y yes  n leave it running  Esc back `,
        " Stop? y yes  n leave it running  Esc back ",
        " Stop? y / n / Esc ",
      );
    }
    case "stopping":
      return alarm(
        " stopping: finishing the requests in flight · Ctrl-C again ends it at once ",
        " stopping · Ctrl-C again ends it at once ",
        " stopping … ",
      );
    case "question": {
      const text = clean(mode.text);
      const more = mode.scaling === undefined ? "" : "   + − change";
      const end = "? y/n ";
      const short = mode.scaling === undefined ? end : "? y/n  + − change ";
      return alarm(
        ` ${text}?  y yes   n no${more} `,
        ` ${text}${short}`,
        ` ${truncate(text, Math.max(1, width - 1 - end.length))}${end}`,
      );
    }
    case "filter":
      return typing("/", model.filter, "words, !not   Enter Esc", width);
    case "search":
      return typing("/", model.log.search, "Enter Esc", width);
    case "command":
      return typing(":", mode.text, "Tab completes   Enter runs   Esc", width);
    case "normal":
      return [];
    default:
      return mode satisfies never;
  }
}

/** Shows the end of a long text, where it is being typed. */
function typing(mark: string, text: string, help: string, width: number): Line {
  let shown = clean(text);
  const room = width - 3;
  if (widthOf(shown) > room) {
    const all = cells(shown);
    while (all.length > 0 && widthOf(all.join("")) > room - 1) all.shift();
    shown = `…${all.join("")}`;
  }
  const line: Line = [segment(` ${mark}`, "accent"), segment(shown), segment("█", "accent")];
  const hasRoom = lineWidth(line) + widthOf(help) + 2 <= width;
  return hasRoom ? [...line, segment(`  ${help}`, "dim")] : line;
}

/** Describes the filter and the sort order if they differ from the default. */
function stateOf({ filter, sort, view }: Model): Line {
  if (view !== "overview") return [];
  const order =
    sort.key === "name" && !sort.reversed ? "" : `by ${titleOf(sort.key)}${sort.reversed ? " reversed" : ""}`;
  const text = [filter === "" ? "" : `/${clean(filter)}`, order].filter(Boolean).join(" ");
  return text === "" ? [] : [segment(` ${text} `, "accent")];
}

function hints({ view, ownership, status, log }: Model, width: number): Line {
  const deploys = view === "canary" ? (status?.pools ?? []).flatMap(({ deploy }) => deploy ?? []) : [];
  const isHeld = deploys.some((deploy) => deploy.isHeld);
  const shown = view === "canary" && deploys.length === 0 ? NO_DEPLOY : HINTS[view];
  const ofEscape =
    view !== "log" ? undefined : log.search !== "" ? "no search" : isFiltered(log) ? "all lines" : undefined;
  const all = [
    ...shown.map(([key, word]) => {
      const now = key === "Esc" ? ofEscape : isHeld && key === "h" ? "resume" : undefined;
      return [key, now ?? word] as const;
    }),
    ...(view === "overview" && ownership === "started" ? [["Ctrl-C", "stop"] as const] : []),
  ];
  const line: Line = [segment(" ")];
  for (const [key, word] of all) {
    const cells = widthOf(key) + widthOf(word) + 3;
    if (lineWidth(line) + cells > width) break;
    line.push(segment(key, "key"), segment(` ${word}  `, "dim"));
  }
  return line;
}
