/** The last line of the screen: keys, a message, a question, or a text that is being typed. Pure. */

import { titleOf } from "./columns.js";
import { suggestionsFor } from "./command-line.js";
import type { Model, Notice, View } from "./model.js";
import { clean, fitLine, type Line, lineWidth, type Style, segment, widthOf } from "./text.js";

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
    ["p", "promote now"],
    ["b", "roll back"],
    ["h", "hold"],
    ["l", "log of new"],
    ["Esc", "back"],
    ["?", "help"],
  ],
  help: [["any key", "goes back"]],
};

/** Returns the lines at the bottom of the screen: two while a command is being typed. */
export function bottomLines(model: Model, width: number, height: number): Line[] {
  if (height <= 1) return [];
  const { mode } = model;
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

function contents(model: Model, width: number): Line {
  const { mode, notice } = model;
  switch (mode.kind) {
    case "quit": {
      const name = clean(model.status?.name ?? "the fleet");
      const long = ` Stop ${name}?  y stop it and wait   n leave it running   Esc go back `;
      return [segment(widthOf(long) <= width ? long : " Stop? y / n / Esc ", "alarm")];
    }
    case "stopping": {
      const long = " stopping: finishing the requests in flight · Ctrl-C again ends it at once ";
      return [segment(widthOf(long) <= width ? long : " stopping … ", "alarm")];
    }
    case "question": {
      const more = mode.scaling === undefined ? "" : "   + − change";
      const long = ` ${clean(mode.text)}?  y yes   n no${more} `;
      return [segment(widthOf(long) <= width ? long : ` ${clean(mode.text)}? y/n `, "alarm")];
    }
    case "filter":
      return typing("/", model.filter, "words, !not   Enter Esc");
    case "search":
      return typing("/", model.log.search, "Enter Esc");
    case "command":
      return typing(":", mode.text, "Tab completes   Enter runs   Esc");
    case "normal": {
      // A failure stays visible until it is resolved.
      const failure =
        model.status?.watch?.failure ??
        model.status?.problem ??
        model.status?.certificates?.problems[0]?.reason ??
        null;
      const shown = notice ?? (failure === null ? null : { text: failure, tone: "bad" as const });
      if (shown !== null) {
        const { style, mark } = TONE[shown.tone];
        return [segment(` ${mark} ${clean(shown.text)}`, style)];
      }
      const state = stateOf(model);
      return [...state, ...hints(model, width - lineWidth(state))];
    }
    default:
      return mode satisfies never;
  }
}

function typing(mark: string, text: string, help: string): Line {
  return [segment(` ${mark}`, "accent"), segment(clean(text)), segment("█", "accent"), segment(`  ${help}`, "dim")];
}

/** Describes the filter and the sort order if they differ from the default. */
function stateOf({ filter, sort, view }: Model): Line {
  if (view !== "overview") return [];
  const order =
    sort.key === "name" && !sort.reversed ? "" : `by ${titleOf(sort.key)}${sort.reversed ? " reversed" : ""}`;
  const text = [filter === "" ? "" : `/${clean(filter)}`, order].filter(Boolean).join(" ");
  return text === "" ? [] : [segment(` ${text} `, "accent")];
}

function hints({ view, ownership, status }: Model, width: number): Line {
  const isHeld = view === "canary" && status?.pools.some(({ deploy }) => deploy?.isHeld === true);
  const all = [
    ...HINTS[view].map(([key, word]) => [key, isHeld && key === "h" ? "resume" : word] as const),
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
