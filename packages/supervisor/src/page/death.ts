/** The report of one death: how it died, what it was running, what was lost, its last minutes and lines. Pure. */
import type { DeathReport } from "../core/deaths.js";
import { type Child, h, type Node } from "./dom.js";
import { age, clock, duration, megabytes, NONE, number } from "./format.js";
import { hrefOf, type State } from "./model.js";
import { card, chartOf, emptyText, facts, link, numberCell, type On, table, textBlock } from "./pieces.js";
import type { Values } from "./series.js";

export function death(state: State, on: On): Child[] {
  const { death: report, route } = state;
  if (report === null || String(report.id) !== route.name)
    return [h("p", { class: "card empty" }, state.unread || "reading…")];
  return [
    head(report, state.at),
    history(report, state, on),
    h("div", { class: "halves" }, requests(report), stack(report)),
    lines(report),
  ];
}

function head(report: DeathReport, now: number): Node {
  const {
    process,
    name,
    at,
    reason,
    running,
    state,
    pid,
    generation,
    runtime,
    uptimeMs,
    requestsTotal,
    inFlight,
    release,
  } = report;
  return h(
    "section",
    { class: "card head bad", "aria-label": `death of ${process}` },
    h("div", { class: "title" }, h("h1", {}, process), h("p", { class: "reason" }, reason)),
    facts(
      ["died", `${clock(at, now)}, ${age((now - at) / 1000)} ago`],
      ["lived", age(uptimeMs / 1000)],
      ["was", state],
      running !== null && ["was running", h("strong", { class: "mono" }, running)],
      ["requests", `${number(requestsTotal)}, ${number(inFlight)} in flight`],
      ["pid", pid === null ? NONE : String(pid)],
      ["generation", String(generation)],
      runtime !== "" && ["runtime", runtime],
      ["release", release],
    ),
    h("p", {}, link(hrefOf({ view: "instance", name }), `${name} now`)),
  );
}

function history({ history: kept, at }: DeathReport, state: State, on: On): Node | false {
  if (kept === null) return false;
  const { everyMs } = kept;
  const draw = (title: string, values: Values, hue: string, text: (value: number) => string) =>
    card(
      title,
      "before the end",
      { class: "figure" },
      chartOf({ ...state, zoom: "seconds", seconds: { ...state.seconds, now: at, everyMs, marks: [] } }, on, {
        title,
        values,
        hue,
        text,
      }),
    );
  return h(
    "div",
    { class: "charts" },
    draw("RSS MB", kept.rssBytes, "blue", megabytes),
    draw("event loop delay", kept.eventLoopLagMs, "yellow", duration),
    draw("requests/s", kept.requestsPerSecond, "cyan", number),
  );
}

const STATES = { running: "running", started: "started", unknown: "", notStarted: "not started" } as const;

function requests({ requests: lost, requestsOmitted }: DeathReport): Node {
  const reassigned = lost.filter(({ outcome }) => outcome === "reassigned").length;
  return card(
    "Requests at its end",
    lost.length === 0 ? "" : `${lost.length - reassigned} lost, ${reassigned} reassigned`,
    {},
    table(
      "",
      ["open for", "request", "was", "then"],
      lost.map(({ request, ageMs, state, outcome }) =>
        h(
          "tr",
          {},
          numberCell(duration(ageMs)),
          h("th", { scope: "row", class: "mono" }, request),
          h("td", {}, STATES[state]),
          h("td", { class: outcome === "reassigned" ? "" : "bad" }, outcome),
        ),
      ),
      "none was in flight",
    ),
    requestsOmitted > 0 && h("p", { class: "dim" }, `and ${requestsOmitted} more`),
  );
}

function stack({ stack: frames }: DeathReport): Node {
  return card(
    "Where its code was",
    frames.length === 0 ? "" : "the innermost first",
    {},
    frames.length === 0 ? emptyText("nothing known") : textBlock("stack", frames),
  );
}

function lines({ lastLines }: DeathReport): Node {
  return card(
    "Its last lines",
    "",
    {},
    lastLines.length === 0 ? emptyText("it wrote nothing") : textBlock("last lines", lastLines),
  );
}
