/** The overview: current problems, the fleet's figures, its processes and routes, events and deaths. Pure. */
import type { HistoryFigure, Status } from "../control/api.js";
import type { Attention } from "../core/attention.js";
import { ALL_CLIENTS } from "../core/words.js";
import { bar } from "./charts.js";
import { type Child, h, type Node } from "./dom.js";
import { age, duration, megabytes, number, short } from "./format.js";
import { hrefOf, type Route, type State, shown } from "./model.js";
import {
  actButton,
  BALANCERS,
  card,
  chartOf,
  eventRow,
  findProcess,
  lineList,
  lineOf,
  link,
  numberCell,
  type On,
  restartQuestion,
  table,
  timeOf,
} from "./pieces.js";
import { processTable } from "./processes.js";
import { sumOf, valuesOf } from "./series.js";

const EVENTS = 40;
const DEATHS = 12;
const MAX_ATTENTION = 6;

export function overview(state: State, status: Status, on: On): Child[] {
  return [
    attentionStrip(state, status, on),
    tiles(state, status, on),
    processTable(state, status, on),
    routes(status),
    lists(state, status),
  ];
}

function attentionStrip(state: State, status: Status, on: On): Node | false {
  const { attention: all = [] } = status;
  if (all.length === 0) return false;
  const more = all.length - MAX_ATTENTION;
  return h(
    "section",
    { key: "attention", class: "attention", "aria-label": "needs attention" },
    h("h2", { class: "unseen" }, "Needs attention"),
    h(
      "ul",
      {},
      all.slice(0, MAX_ATTENTION).map((each) => attentionItem(each, state, status, on)),
    ),
    more > 0 && h("p", { class: "more" }, `and ${more} more`),
  );
}

function attentionItem(found: Attention, state: State, status: Status, on: On): Node {
  const { kind, severity, about, what, evidence, todo, death, mayRestart } = found;
  const isFault = severity === "fault";
  const isProcess = findProcess(status, about) !== undefined;
  const route: Route = isProcess ? { view: "instance", name: about } : { view: "death", name: `${death}` };
  return h(
    "li",
    { key: `${kind} ${about}`, class: isFault ? "bad" : "busy" },
    h(
      "div",
      {},
      h("p", {}, h("span", { class: "sign", "aria-hidden": "true" }, isFault ? "▲" : "◐"), ` ${what}`),
      evidence[0] !== undefined && h("p", { class: "said", title: evidence.join("\n") }, evidence[0]),
      todo !== "" && h("p", { class: "todo" }, todo),
    ),
    state.mayWrite && mayRestart && actButton(on, restartQuestion(about)),
    (isProcess || death !== undefined) && h("a", { href: hrefOf(route), "aria-label": `open ${route.name}` }, "Open"),
  );
}

function tiles(state: State, status: Status, on: On): Node {
  const { traffic, machine, pools } = status;
  const series = shown(state);
  const names = [...pools.map(({ name }) => name), BALANCERS, "supervisor"];
  const cpu = sumOf(series, names, "cpuPercent");
  const memory = sumOf(series, names, "rssBytes");
  const ofClients = (figure: HistoryFigure) => valuesOf(series, ALL_CLIENTS, figure);
  const perMinute = traffic.requestsPerSecond * 60;
  const { errorsPerMinute } = traffic;
  const tile = (
    title: string,
    value: string,
    beside: string,
    hue: string,
    values: ReturnType<typeof sumOf>,
    text: (value: number) => string,
    tone = "",
  ) =>
    card(
      title,
      beside,
      { class: "tile" },
      h("p", { class: `value ${tone}` }, value),
      chartOf(state, on, { title, hue, values, text, points: 150 }),
    );
  const tone = errorsPerMinute === 0 ? "" : errorsPerMinute >= perMinute * 0.01 ? "bad" : "busy";
  const all = `${short(status.requestsTotal)} in all`;
  const inFlight = traffic.queued > 0 ? `${short(traffic.queued)} queued` : `${short(traffic.connections)} connections`;
  const ofRss = status.pssOfRssBytes === null ? "" : ` of ${megabytes(status.pssOfRssBytes)}`;
  const pss = status.pssBytes === null ? "" : `PSS ${megabytes(status.pssBytes)}${ofRss}`;
  const hasRequests = status.listen.length > 0;
  return h(
    "div",
    { key: "tiles", class: "tiles" },
    hasRequests && [
      tile("requests/s", number(traffic.requestsPerSecond), all, "cyan", ofClients("requests"), number),
      tile(
        "p99",
        duration(traffic.latencyMs.p99),
        `p50 ${duration(traffic.latencyMs.p50)}`,
        "blue",
        ofClients("p99"),
        duration,
      ),
      tile(
        "5xx a minute",
        number(errorsPerMinute),
        "",
        "red",
        ofClients("errors5xx"),
        (value) => `${number(value)}/s`,
        tone,
      ),
    ],
    tile("CPU %", number(status.cpuPercent), `of ${100 * machine.cpus}`, "green", cpu, number),
    tile("RSS MB", megabytes(status.rssBytes), pss, "blue", memory, megabytes),
    hasRequests && tile("in flight", number(traffic.inFlight), inFlight, "cyan", ofClients("inFlight"), number),
  );
}

/** The latencies of each route, if there are several: a slow route is slow at every instance. */
function routes({ pools }: Status): Node | false {
  const all = pools.flatMap(({ name, routeClasses }) => routeClasses.map((each) => ({ name, ...each })));
  if (all.length < 2) return false;
  const most = Math.max(...all.map(({ p99Ms }) => p99Ms ?? 0));
  return card(
    "Routes",
    "latencies of the last 30 s",
    {},
    table(
      "numbers",
      ["route", "requests", "5xx", "p50", "p99", "compared"],
      all.map(({ name, route, requestsTotal, errorsTotal, p50Ms, p99Ms, isSlow }) =>
        h(
          "tr",
          { key: `${name} ${route}` },
          h("th", { scope: "row", class: "mono" }, pools.length > 1 && `${name}: `, route),
          numberCell(number(requestsTotal)),
          numberCell(number(errorsTotal), errorsTotal > 0 ? "busy" : ""),
          numberCell(duration(p50Ms)),
          numberCell(duration(p99Ms), isSlow ? "bad" : ""),
          h("td", { class: "room" }, bar((100 * (p99Ms ?? 0)) / (most || 1), isSlow ? "red" : "green")),
        ),
      ),
    ),
  );
}

function lists({ events, deaths, at }: State, { certificates }: Status): Node {
  const newestFirst = events.slice(-EVENTS).reverse();
  const lost = deaths.reduce((sum, each) => sum + each.lost, 0);
  const reassigned = deaths.reduce((sum, each) => sum + each.reassigned, 0);
  const beside = deaths.length === 0 ? "" : `requests: ${lost} lost, ${reassigned} reassigned`;
  return h(
    "div",
    { key: "lists", class: "halves" },
    card(
      "Events",
      "the newest first",
      {},
      lineList(
        "events",
        newestFirst.map((event) => eventRow(event, at)),
        "nothing yet",
      ),
    ),
    card(
      "Deaths",
      beside,
      {},
      lineList(
        "deaths",
        deaths
          .slice(0, DEATHS)
          .map(({ id, at: diedAt, name, how, uptimeMs, lastLine, running }) =>
            lineOf(
              `${id}`,
              timeOf(diedAt, `${age((at - diedAt) / 1000)} ago`),
              link(hrefOf({ view: "death", name: `${id}` }), name),
              [
                h("span", { class: "how" }, `${how} after ${age(uptimeMs / 1000)}`),
                running !== null && ` running ${running}`,
                lastLine !== "" && `: ${lastLine}`,
              ],
            ),
          ),
        "no process has died",
        "deaths",
      ),
    ),
    certificates &&
      card(
        "Certificates",
        `${certificates.count}`,
        {},
        lineList(
          "certificates",
          certificates.soonest.map(({ name, source, notAfter }) =>
            lineOf(name, timeOf(notAfter, `${age((notAfter - at) / 1000)} left`), source, name),
          ),
        ),
      ),
  );
}
