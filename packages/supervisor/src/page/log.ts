/** The log of the fleet: a filter, levels with their counts, and the lines as they arrive. Pure. */
import { type Child, h, type Node } from "./dom.js";
import { number, toneOf } from "./format.js";
import { filtered, LEVELS, type Level, type State } from "./model.js";
import { button, lineList, logRow, type On } from "./pieces.js";

/** More lines would make the page slow. A narrower filter shows older ones. */
const SHOWN_LINES = 600;

export function log(state: State, on: On): Child[] {
  const { filter, isPaused } = state.log;
  const { lines, counts, problem } = filtered(state.log);
  const last = lines.slice(-SHOWN_LINES);
  const { link } = state;
  const isEmpty = state.log.lines.length === 0;
  const unknown = isEmpty && link.state === "lost" && link.reason;
  const change = (change: Partial<typeof state.log>) => on.send({ type: "log", change });
  return [
    h("h1", { class: "unseen" }, "Log"),
    h(
      "div",
      { class: "filters", role: "search" },
      h("label", { class: "unseen", for: "filter" }, "filter"),
      h("input", {
        ...{ id: "filter", type: "search", value: filter, autocomplete: "off", spellcheck: "false" },
        placeholder: "filter: words, -not, /expression/, name:web.3",
        "aria-invalid": problem === null ? undefined : "true",
        "aria-describedby": "found",
        oninput: (event: Event) => change({ filter: (event.target as HTMLInputElement).value }),
      }),
      LEVELS.map((level) => levelButton(level, counts[level], state, on)),
      button(isPaused ? "Follow" : "Pause", () => change({ isPaused: !isPaused }), {
        "aria-pressed": String(isPaused),
      }),
      button("Download", () => on.download()),
    ),
    h(
      "p",
      { id: "found", class: "found", role: "status" },
      unknown
        ? ""
        : (problem ??
            `${number(lines.length)} of ${number(state.log.lines.length)} lines${isPaused ? ", paused" : ""}`),
    ),
    h(
      "section",
      { class: "card log", "aria-label": "lines" },
      lineList(
        "log",
        last.map((line) => logRow(line, state.at)),
        unknown || (isEmpty ? "nothing yet" : "no line matches the filter"),
        "follows tall",
      ),
    ),
  ];
}

const LEVEL_WORDS: Record<Level, string> = { info: "info", warn: "! warn", error: "✗ error" };

function levelButton(level: Level, count: number, { log: { hidden } }: State, on: On): Node {
  const isShown = !hidden.includes(level);
  const next = isShown ? [...hidden, level] : hidden.filter((each) => each !== level);
  return button(`${LEVEL_WORDS[level]} ${number(count)}`, () => on.send({ type: "log", change: { hidden: next } }), {
    class: `level-button ${level === "info" ? "" : toneOf(level)}`,
    "aria-pressed": String(isShown),
    "aria-label": `${level}, ${count} lines`,
  });
}
