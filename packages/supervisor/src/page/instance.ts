/** The view of one process: its figures beside the median of its pool, its latencies, open requests, last death and log. Pure. */
import type { Status } from "../control/api.js";
import { FIGURES, type Figure, figureOf } from "../core/figures.js";
import { latencyBars } from "./charts.js";
import { type Child, h, type Node } from "./dom.js";
import { age, duration, figure as figureText, megabytes, NONE, number } from "./format.js";
import { filtered, hrefOf, type State, shown } from "./model.js";
import {
  actButton,
  card,
  chartOf,
  facts,
  findProcess,
  isInstance,
  lineList,
  link,
  logRow,
  numberCell,
  type On,
  type Process,
  restartQuestion,
  stateBadge,
  stateOf,
  table,
  textBlock,
  turnQuestion,
} from "./pieces.js";
import { median, medianOf, valuesOf } from "./series.js";

const LINES = 200;

export function instance(state: State, status: Status, on: On): Child[] {
  const { name } = state.route;
  const found = findProcess(status, name);
  if (found === undefined)
    return [
      h("p", { class: "card empty" }, `no process is named ${name}; `, link("#/", "the overview"), " has all of them"),
    ];
  const { process, pool } = found;
  const others = (pool?.instances ?? status.balancers).filter((each) => each.name !== name);
  return [
    head(process, pool?.kind ?? "balancer", state, on),
    charts(state, process, pool?.name ?? "balancers", others, on),
    h("div", { key: "halves", class: "halves" }, openRequests(process, state), lastDeath(process, state)),
    log(state, name),
  ];
}

function head(process: Process, kind: string, { mayWrite }: State, on: On): Node {
  const { name, pid, runtime, uptimeSeconds, requestsTotal, restarts, version } = process;
  const word = stateOf(process);
  const more = isInstance(process)
    ? [
        ["generation", `${process.generation}`] as const,
        process.responses !== null && (["responses", responsesText(process.responses)] as const),
        process.weight !== null && process.weight !== 100 && (["weight", `${process.weight}`] as const),
        process.recycles > 0 && (["recycled", `${process.recycles} times`] as const),
        ["release", process.release] as const,
      ]
    : [
        ["connections", number(process.connections)] as const,
        ["retries", number(process.retriesTotal)] as const,
        process.spoolBytes > 0 && (["spool", `${megabytes(process.spoolBytes)} MB`] as const),
      ];
  const optional = (FIGURES as readonly Figure[]).flatMap((each) => {
    const value = each.isOptional ? figureOf(each, process) : null;
    return value === null ? [] : [[each.titles[1].toLowerCase(), figureText(value, each.unit)] as const];
  });
  return h(
    "section",
    { key: "head", class: "card head", "aria-label": name },
    h(
      "div",
      { class: "title" },
      h("h1", {}, name),
      stateBadge(word),
      mayWrite && [
        actButton(on, restartQuestion(name)),
        isInstance(process) &&
          process.weight !== null &&
          actButton(on, turnQuestion(name, process.outOfTurn === "drained")),
      ],
    ),
    facts(
      ["kind", kind],
      ["pid", pid === null ? NONE : String(pid)],
      ["runtime", runtime],
      ["up", pid === null ? NONE : age(uptimeSeconds)],
      requestsTotal !== null && ["requests", number(requestsTotal)],
      ["restarts", String(restarts)],
      ...more,
      ...optional,
      version !== null && ["version", version],
    ),
  );
}

/** Returns for example `2xx 1,234, 4xx 3`. */
function responsesText(responses: object): string {
  return Object.entries(responses)
    .filter(([, count]) => count > 0)
    .map(([status, count]) => `${status} ${number(count)}`)
    .join(", ");
}

function charts(state: State, process: Process, group: string, others: readonly Process[], on: On): Node {
  const { name } = process;
  const series = shown(state);
  const besideTitle = `median of the others of ${group}`;
  const names = others.map((each) => each.name);
  const draw = (
    title: string,
    key: string,
    figure: Parameters<typeof valuesOf>[2],
    hue: string,
    text: (value: number) => string,
    note: Child,
    chartText = text,
  ) => {
    const value = figureOf({ key }, process);
    // Errors of other processes show nothing about this process.
    const isCompared = names.length > 0 && figure !== "errors5xx";
    const usual = isCompared ? others.flatMap((each) => figureOf({ key }, each) ?? []) : [];
    return card(
      title,
      note,
      { class: "figure" },
      h(
        "p",
        { class: "value" },
        typeof value === "number" ? text(value) : NONE,
        usual.length > 0 && h("span", { class: "median" }, `others ${text(median(usual as number[]))}`),
      ),
      chartOf(state, on, {
        ...{ title, hue, text: chartText, besideTitle, name, values: valuesOf(series, name, figure) },
        beside: isCompared ? medianOf(series, names, figure) : undefined,
      }),
    );
  };
  const lag = isInstance(process) ? process.eventLoopLagMs : null;
  const heap = isInstance(process) ? process.heapBytes : null;
  const ofRequests = process.requestsPerSecond !== null;
  return h(
    "div",
    { key: "charts", class: "charts" },
    ofRequests && [
      draw("requests/s", "requestsPerSecond", "requests", "cyan", number, `${number(process.inFlight)} in flight`),
      draw("p99", "latencyMs.p99", "p99", "yellow", duration, `p50 ${duration(process.latencyMs.p50)}`),
      draw(
        "5xx a minute",
        "errorsPerMinute",
        "errors5xx",
        "red",
        number,
        `${number(process.errorsTotal)} in all`,
        (value) => `${number(value)}/s`,
      ),
    ],
    draw(
      "CPU %",
      "cpuPercent",
      "cpuPercent",
      "green",
      number,
      lag === null ? "" : `event loop late by ${duration(lag)}`,
    ),
    draw("RSS MB", "rssBytes", "rssBytes", "blue", megabytes, heap === null ? "" : `heap ${megabytes(heap)}`),
    ofRequests && card("latency", "last 10 s, ms", { class: "figure" }, latencyBars(process.latencyShape)),
  );
}

function openRequests(process: Process, { open }: State): Node {
  const inFlight = process.inFlight ?? 0;
  const beside = inFlight === 0 ? "none in flight" : `${number(inFlight)} in flight, the oldest first`;
  return card(
    "Open requests",
    beside,
    {},
    table(
      "",
      ["open for", "request", "client"],
      open.map(({ request, ageMs, client }) =>
        h(
          "tr",
          {},
          numberCell(duration(ageMs), ageMs >= 1000 ? "bad" : ageMs >= 200 ? "busy" : ""),
          h("th", { scope: "row", class: "mono" }, request),
          numberCell(client, "dim"),
        ),
      ),
      "no request is open",
    ),
  );
}

function lastDeath({ name }: Process, { deaths, at }: State): Node {
  const death = deaths.find((each) => each.name === name);
  if (death === undefined)
    return card("Last death", "", {}, h("p", { class: "good" }, "it has not died in the time that reports are kept"));
  const { id, at: diedAt, reason, uptimeMs, lost, reassigned, running, lastLines } = death;
  return card(
    "Last death",
    `${age((at - diedAt) / 1000)} ago`,
    {},
    h("p", { class: "reason" }, reason),
    facts(
      ["lived", age(uptimeMs / 1000)],
      ["requests lost", String(lost)],
      ["reassigned", String(reassigned)],
      running !== null && ["was running", h("span", { class: "mono" }, running)],
    ),
    textBlock("its last lines", lastLines.slice(-8)),
    h("p", {}, link(hrefOf({ view: "death", name: String(id) }), "The whole report")),
  );
}

function log(state: State, name: string): Node {
  const { lines } = filtered({ ...state.log, filter: `name:${name}`, hidden: [] });
  return card(
    "Log",
    link(hrefOf({ view: "log", name }), "search"),
    {},
    lineList(
      `log of ${name}`,
      lines.slice(-LINES).map((line) => logRow(line, state.at)),
      state.link.state === "lost" ? state.link.reason : "nothing yet",
      "follows",
    ),
  );
}
