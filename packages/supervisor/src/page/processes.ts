/** The table of the overview: a row for each pool and process, with figures, sparklines and marks. Pure. */
import type { InstanceStatus, PoolStatus, Status } from "../control/api.js";
import { FIGURES, type Figure, figureOf } from "../core/figures.js";
import { highest, niceMax, shape, sparkline } from "./charts.js";
import { type Child, h, type Node } from "./dom.js";
import { figure as figureText, number } from "./format.js";
import { hrefOf, type Sort, type State, shown } from "./model.js";
import {
  actButton,
  BALANCERS,
  button,
  isInstance,
  link,
  type On,
  type Process,
  reloadQuestion,
  scaleQuestion,
  stateBadge,
  stateOf,
} from "./pieces.js";
import { type Series, valuesOf } from "./series.js";

interface Column {
  key: string;
  title: string;
  figure: Figure;
}

const ORDER = [
  ...["requestsPerSecond", "inFlight", "latencyMs.p50", "latencyMs.p99", "errorsPerMinute", "cpuPercent", "rssBytes"],
  ...["deferred", "schedule", "recycle.memoryLimitInSeconds", "restarts", "uptimeSeconds"],
];
const TITLES: Readonly<Record<string, string>> = {
  ...{
    inFlight: "in flight",
    errorsPerMinute: "5xx/min",
    rssBytes: "RSS MB",
    cpuPercent: "CPU %",
    restarts: "restarts",
  },
};

/** Returns the columns of figures that at least one process has. */
export function columnsOf(processes: readonly Process[]): Column[] {
  const place = ({ key }: Figure) => (ORDER.includes(key) ? ORDER.indexOf(key) : ORDER.indexOf("restarts") - 0.5);
  return (FIGURES as readonly Figure[])
    .filter(({ key, drop }) => drop !== undefined || ORDER.includes(key))
    .filter((figure) => !figure.isOptional || processes.some((each) => figureOf(figure, each) !== null))
    .sort((a, b) => place(a) - place(b))
    .map((figure) => ({ key: figure.key, title: TITLES[figure.key] ?? figure.titles[1].toLowerCase(), figure }));
}

/** The columns with drawings, each by the figure that it follows. */
const DRAWN: Readonly<Record<string, string>> = {
  requestsPerSecond: "requests",
  "latencyMs.p99": "latency",
  rssBytes: "memory",
};

export function processTable(state: State, status: Status, on: On): Node {
  const series = shown(state);
  const processes: Process[] = [...status.pools.flatMap(({ instances }) => instances), ...status.balancers];
  const columns = columnsOf(processes);
  const scales = {
    rss: niceMax(highest(...processes.map(({ name }) => valuesOf(series, name, "rssBytes")))),
    requestsOf: (names: readonly string[]) =>
      niceMax(highest(...names.map((name) => valuesOf(series, name, "requests")))),
  };
  const span = state.zoom === "seconds" ? "last 5 minutes" : "last day";
  const context = { state, on, columns, series, scales, span };
  const groups: readonly Group[] = [
    ...status.pools.map((pool) => {
      const figures = pool.requestsPerSecond === null ? { ...pool, inFlight: null, errorsPerMinute: null } : pool;
      return { name: pool.name, pool, processes: pool.instances, figures };
    }),
    ...(status.balancers.length === 0
      ? []
      : [{ name: BALANCERS, pool: null, processes: status.balancers, figures: status.traffic }]),
  ];
  return h(
    "div",
    { key: "processes", class: "card scroller", tabindex: 0, role: "region", "aria-label": "processes" },
    h(
      "table",
      { class: "processes" },
      h("caption", { class: "unseen" }, "Each process with its figures; select a heading to sort by it"),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heading("name", "instance", state.sort, on, ""),
          h("th", { scope: "col" }, "state"),
          columns.map(({ key, title }) => [
            heading(key, title, state.sort, on, "num"),
            DRAWN[key] !== undefined &&
              h(
                "th",
                { key: DRAWN[key], scope: "col", class: DRAWN[key] },
                key === "rssBytes" || key === "requestsPerSecond" ? span : "latency",
              ),
          ]),
        ),
      ),
      groups.map((group) => h("tbody", { key: group.name }, groupRows(group, context))),
    ),
  );
}

interface Group {
  name: string;
  pool: PoolStatus | null;
  processes: readonly Process[];
  figures: object & { latencyShape: number[] };
}

interface Context {
  state: State;
  on: On;
  columns: readonly Column[];
  series: Series;
  scales: { rss: number; requestsOf(names: readonly string[]): number };
  span: string;
}

function heading(key: string, title: string, sort: Sort, on: On, kind: string): Node {
  const isSorted = sort.key === key;
  const order =
    isSorted && (key !== "name" || sort.isReversed)
      ? sort.isReversed === (key === "name")
        ? "descending"
        : "ascending"
      : undefined;
  const next: Sort = isSorted ? { key, isReversed: !sort.isReversed } : { key, isReversed: false };
  return h(
    "th",
    { key: `sort ${key}`, scope: "col", class: kind, "aria-sort": order },
    button(title, () => on.set({ sort: next }), { class: "plain" }),
  );
}

/** Returns the processes in the order of a column: highest first, unknown values last. For the name, returns them by their numbers. */
export function sorted<P extends Process>(processes: readonly P[], { key, isReversed }: Sort): P[] {
  const indexOf = ({ name }: P) => Number(name.slice(name.lastIndexOf(".") + 1));
  const rankOf = (process: P) => {
    const value = figureOf({ key }, process);
    return typeof value === "number" ? value : value === null ? Number.NEGATIVE_INFINITY : 0;
  };
  const compare = key === "name" ? (a: P, b: P) => indexOf(a) - indexOf(b) : (a: P, b: P) => rankOf(b) - rankOf(a);
  return [...processes].sort((a, b) => (isReversed ? -1 : 1) * compare(a, b) || indexOf(a) - indexOf(b));
}

function groupRows(group: Group, context: Context): Child[] {
  const { pool, processes } = group;
  const { state } = context;
  const isShown = processes.length !== 1 || (pool !== null && (pool.rollout !== null || state.mayWrite));
  const max = context.scales.requestsOf(processes.map((each) => each.name));
  return [
    isShown && groupRow(group, context),
    sorted(processes, state.sort).flatMap((process) => [
      processRow(process, max, context),
      isInstance(process) && process.other !== null && otherRow(process.name, process.other, max, context),
    ]),
  ];
}

function groupRow({ name, pool, processes, figures }: Group, { columns, series, span, state, on }: Context): Node {
  const ready = pool?.ready ?? processes.filter((each) => each.state === "ready").length;
  const wanted = pool?.wanted ?? processes.length;
  const requests = valuesOf(series, name, "requests");
  return h(
    "tr",
    { key: `pool ${name}`, class: "pool" },
    h(
      "th",
      { scope: "rowgroup" },
      shortened(name),
      pool !== null && h("span", { class: "routes" }, pool.routes.join(" ")),
      pool !== null &&
        state.mayWrite &&
        h(
          "span",
          { class: "acts" },
          actButton(on, scaleQuestion(pool, -1), "small"),
          actButton(on, scaleQuestion(pool, 1), "small"),
          actButton(on, reloadQuestion(name), "small"),
        ),
    ),
    h("td", {}, stateBadge(ready === 0 ? "failed" : ready < wanted ? "starting" : "ready", `${ready} of ${wanted}`)),
    columns.map(({ key, figure }) => {
      const value = figureOf(figure, figures);
      const drawn = {
        requests: () =>
          (pool !== null && changeOf(pool)) ||
          sparkline(requests, {
            ...{ max: niceMax(highest(requests)), hue: "cyan" },
            label: `requests/s of ${name}, ${span}`,
          }),
        latency: () => shape(figures.latencyShape),
        memory: () => false,
      }[DRAWN[key] ?? ""];
      return [
        h("td", { key, class: "num" }, value === null ? "" : figureText(value, figure.unit)),
        drawn !== undefined && h("td", { key: DRAWN[key], class: DRAWN[key] }, drawn()),
      ];
    }),
  );
}

/** Describes a change in progress in a pool; undefined if there is none. */
export function changeOf({ rollout, deploy, instances, requestsPerSecond }: PoolStatus): Node | undefined {
  if (deploy?.phase === "canary" && requestsPerSecond !== null)
    return link("#/deploy", stateBadge("canary", `canary ${deploy.canaries.length} of ${instances.length}`));
  if (rollout === null) return undefined;
  return stateBadge("starting", `${rollout.kind} ${rollout.done} of ${rollout.total}`);
}

/** A longer name of a pool may be cut, in characters. */
const USUAL_NAME = 15;

/** Returns a name whose number stays visible if the name is cut. */
function shortened(name: string): Child {
  const [pool = "", ...number] = name.split(/(?=\.)/);
  return pool.length <= USUAL_NAME ? name : [h("span", { class: "pool-name", title: name }, pool), number];
}

function processRow(process: Process, max: number, { columns, series, scales, span }: Context): Node {
  const { name } = process;
  const state = stateOf(process);
  const label = (what: string) => `${what} of ${name}, ${span}`;
  return h(
    "tr",
    { key: name, class: `process ${state}` },
    h("th", { scope: "row" }, link(hrefOf({ view: "instance", name }), shortened(name))),
    h("td", {}, stateBadge(state)),
    columns.map(({ key, figure }) => {
      const drawn = {
        requests: () => sparkline(valuesOf(series, name, "requests"), { max, hue: "cyan", label: label("requests/s") }),
        latency: () => shape(process.latencyShape),
        memory: () =>
          sparkline(valuesOf(series, name, "rssBytes"), { max: scales.rss, hue: "blue", label: label("RSS") }),
      }[DRAWN[key] ?? ""];
      return [
        figureCell(process, figure),
        drawn !== undefined &&
          h(
            "td",
            { key: DRAWN[key], class: DRAWN[key] },
            process.pid === null && key !== "requestsPerSecond" ? "" : drawn(),
          ),
      ];
    }),
  );
}

function figureCell(process: Process, figure: Figure): Node {
  const value = process.pid === null && !figure.ofSlot ? null : figureOf(figure, process);
  const mark = isInstance(process) ? process.marks?.[figure.key] : undefined;
  const kind = mark === undefined ? "" : mark.isBad ? " bad" : " busy";
  const isZero = value === 0 && figure.key === "restarts";
  return h(
    "td",
    { key: figure.key, class: `num${kind}${isZero ? " dim" : ""}` },
    figureText(value, figure.unit),
    mark?.times != null && h("span", { class: "times", title: "compared with its pool" }, `${number(mark.times)}×`),
  );
}

const ROLES = { replacement: "next", outgoing: "last", warm: "warm" } as const;

/** Returns the row of a slot's second process. A canary runs the new version and has its own figures. */
function otherRow(
  name: string,
  other: NonNullable<InstanceStatus["other"]>,
  max: number,
  { columns, series, span }: Context,
): Node {
  const label = `requests/s of the canary of ${name}, ${span}`;
  const drawn: Readonly<Record<string, () => Child>> = other.isCanary
    ? {
        requests: () =>
          sparkline(valuesOf(series, `${name} (replacement)`, "requests"), { max, hue: "magenta", label }),
        latency: () => other.latencyShape !== undefined && shape(other.latencyShape),
      }
    : {};
  return h(
    "tr",
    { key: `${name} other`, class: "process other" },
    h("th", { scope: "row" }, h("span", { class: "dim" }, `└ ${name} ${ROLES[other.role]}`)),
    h("td", {}, other.isCanary && other.state === "ready" ? stateBadge("canary") : stateBadge(other.state)),
    columns.map(({ key, figure }) => {
      const value = figureOf(figure, other);
      return [
        h("td", { key, class: "num" }, value === null ? "" : figureText(value, figure.unit)),
        DRAWN[key] !== undefined && h("td", { key: DRAWN[key], class: DRAWN[key] }, drawn[DRAWN[key]]?.()),
      ];
    }),
  );
}
