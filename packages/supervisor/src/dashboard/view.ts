/** Lays out the screen. Pure: returns styled lines, exactly as many and as wide as the screen. */
import { bottomLines } from "./bottom.js";
import { canaryOf } from "./canary-view.js";
import { inAscii } from "./chart.js";
import { deathsOfFleet } from "./deaths-view.js";
import { detailOf } from "./detail.js";
import { clock } from "./format.js";
import { helpLines } from "./help.js";
import type { Model } from "./model.js";
import { fill, overviewOf, plainOf, type Screen } from "./overview.js";
import { LEVEL_WORDS, linesAtLevel, logLines } from "./pane.js";
import { padLine } from "./table.js";
import { cells, clean, fitLine, type Line, segment, widthOf } from "./text.js";
import { fleetName, itemLine, lossOf, lostLine } from "./title.js";

export function view(model: Model): Line[] {
  return screenOf(model).lines;
}

/** Returns the screen, with the elements that can be clicked. */
export function screenOf(model: Model): Screen {
  const { width, height } = model.size;
  const shown = model.paused === null ? model : { ...model, ...model.paused };
  const bottom = bottomLines(shown, width, height);
  const room = Math.max(0, height - bottom.length);
  const screen = contentOf(shown, width, room);
  const lines = [...fill(screen.lines, room), ...bottom]
    .slice(0, height)
    .map((line) => padLine(fitLine(line, width), width));
  return { ...screen, lines: drawn(model, lines) };
}

function drawn({ glyphs }: Model, lines: Line[]): Line[] {
  return glyphs === "ascii" ? lines.map((line) => inAscii(line, cells, widthOf)) : lines;
}

function contentOf(model: Model, width: number, height: number): Screen {
  if (height <= 0) return { lines: [], names: [], head: null };
  // The figures, states and counts of the usual first line would look like current ones.
  const plain = (lines: Line[], subject: string): Screen => {
    const lost = lostLine(model, subject, width);
    return { lines: lost === null ? lines : [lost, ...lines.slice(1)], names: [], head: null };
  };
  switch (model.view) {
    case "overview":
      return overviewOf(model, width, height);
    case "detail":
      return plain(detailOf(model, width, height), model.selected ?? "");
    case "log":
      return plain(logOf(model, width, height), `log of ${model.log.name ?? "all"}`);
    case "deaths":
      return plain(deathsOfFleet(model, width, height), "deaths");
    case "canary":
      return plain(canaryOf(model, width, height), "deploy");
    case "help":
      return { lines: helpLines(model.ownership, width, height, model.helpPage), names: [], head: null };
    default:
      return model.view satisfies never;
  }
}

/** Returns the header and the whole table, for output without a selection. */
export function plainView(model: Model, width: number): Line[] {
  return drawn(model, plainOf(model, width));
}

function logOf(model: Model, width: number, height: number): Line[] {
  const { status, log, at } = model;
  const { name, level, search, follows, scrolled } = log;
  const all = linesAtLevel(log).length;
  const found = search === "" ? "" : `“${clean(search)}”`;
  const place = follows && scrolled === 0 ? "follows" : `${Math.max(0, all - scrolled)} of ${all}`;
  const item = (text: string, drop: number, style: "dim" | "accent" | "found", side: "left" | "right" = "left") => ({
    line: text === "" ? [] : [segment(text, style)],
    ...{ drop, side },
  });
  const title: Line = [segment(`${fleetName(status)} › `, "dim"), segment(`log of ${clean(name ?? "all")}`, "bold")];
  return [
    itemLine(
      [
        { line: title, drop: 0, side: "left" },
        item(LEVEL_WORDS[level], level === "all" ? 3 : 0.5, level === "all" ? "dim" : "accent"),
        ...[item(found, 1, "found"), item(place, 2, "accent", "right")],
        item(clock(at), 4, "dim", "right"),
      ],
      width,
    ),
    ...logLines(log, width, height - 1, name, lossOf(model)),
  ];
}
