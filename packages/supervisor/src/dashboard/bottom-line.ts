/** The last line: a question, what goes on, or what the keys do. */
import { SORT_WORDS } from "./keys.js";
import type { Model, Notice } from "./model.js";
import { clean, fitLine, type Line, type Style, segment, spread, widthOf } from "./text.js";

const TONE: Record<Notice["tone"], { style: Style; mark: string }> = {
  info: { style: "plain", mark: "·" },
  good: { style: "good", mark: "✓" },
  bad: { style: "bad", mark: "✗" },
};

const HINTS = ["? help", "+ − scale", "r reload", "R restart", "l log", "s sort", "/ filter", "q quit"];

export function bottomLine(model: Model, width: number): Line {
  return fitLine(contents(model, width), width);
}

function contents(model: Model, width: number): Line {
  const { mode, notice, ownership } = model;
  switch (mode.kind) {
    case "quit": {
      const name = clean(model.status?.name ?? "the fleet");
      const long = ` Stop ${name}?  y stop it and wait   n leave it running   Esc go back `;
      return [segment(widthOf(long) <= width ? long : " Stop? y / n / Esc ", "alarm")];
    }
    case "stopping": {
      const long = " stopping: what is in flight is finished · Ctrl-C again ends it at once ";
      return [segment(widthOf(long) <= width ? long : " stopping … ", "alarm")];
    }
    case "filter":
      return [segment(" /", "accent"), segment(model.filter), segment("█", "accent"), segment("  Enter Esc", "dim")];
    case "help":
      return [segment(" any key goes back", "dim")];
    case "normal": {
      // What did not work stays to be seen until it does.
      const failure = model.status?.watch?.failure ?? null;
      const shown = notice ?? (failure === null ? null : { text: failure, tone: "bad" as const });
      if (shown !== null) {
        const { style, mark } = TONE[shown.tone];
        const told = [segment(` ${mark} ${clean(shown.text)}`, style)];
        return spread(told, [segment(hints(ownership, width), "dim")], width);
      }
      return [...stateOf(model), segment(` ${hints(ownership, width)}`, "dim")];
    }
    default:
      return mode satisfies never;
  }
}

/** How the rows are chosen, where that is not the default. */
function stateOf({ filter, sort }: Model): Line {
  const parts = [filter === "" ? "" : `/${filter}`, sort === "name" ? "" : `by ${SORT_WORDS[sort]}`];
  const text = parts.filter(Boolean).join(" ");
  return text === "" ? [] : [segment(` ${text} `, "accent")];
}

function hints(ownership: Model["ownership"], width: number): string {
  const shown = ownership === "started" ? [...HINTS, "Ctrl-C stop"] : [...HINTS];
  const fits = () => widthOf(shown.join("  ")) < width;
  if (ownership === "started" && !fits()) shown.pop();
  // How to get help and how to leave are told as long as there is room.
  while (shown.length > 2 && !fits()) shown.splice(-2, 1);
  return shown.join("  ");
}
