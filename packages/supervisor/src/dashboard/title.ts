/** The first line of the overview, and the figures of the whole fleet. Pure. */
import type { HistoryFigure, Status } from "../control/api.js";
import { ALL_CLIENTS, hasStopped, isFailing } from "../core/words.js";
import { clock, count, latency, longDuration, milliseconds, perSecond, size, thousands } from "./format.js";
import { besideUsual, type GraphFigure } from "./graphs.js";
import { samplesOf, summed, ZOOMS, type Zoom } from "./history.js";
import type { Model } from "./model.js";
import { clean, fitLine, type Line, lineWidth, type Style, segment, truncate, widthOf } from "./text.js";

const LONGEST_NAME = 24;

/** Returns the name of the fleet, cut to a part of a line. */
export function fleetName(status: Pick<Status, "name"> | null): string {
  return truncate(clean(status?.name ?? ""), LONGEST_NAME);
}

/** One item of a line. Items with a higher number are omitted first if there is not enough space. */
interface Item {
  line: Line;
  drop: number;
  side: "left" | "right";
}

/** Returns the line with as many items as fit. */
export function itemLine(all: readonly Item[], width: number): Line {
  let items = all.filter(({ line }) => lineWidth(line) > 0);
  for (;;) {
    const left = joined(items, "left");
    const right = joined(items, "right");
    const space = width - 2 - lineWidth(left) - lineWidth(right);
    if (space >= 1 || items.length <= 1) {
      return fitLine([segment(" "), ...left, segment(" ".repeat(Math.max(0, space))), ...right], width);
    }
    const first = Math.max(...items.map(({ drop }) => drop));
    items = items.filter(({ drop }) => drop !== first);
  }
}

function joined(items: readonly Item[], side: Item["side"]): Line {
  return items
    .filter((item) => item.side === side)
    .flatMap(({ line }, at) => (at === 0 ? line : [segment("  "), ...line]));
}

/** Returns the fleet, what is wrong with it, and the time. */
export function titleLine({ status, connection, at, paused, events }: Model, width: number): Line {
  if (connection.state === "lost") return lostLine({ status, connection, events }, "", width) ?? [];
  if (status === null) return fitLine([segment(" paceline", "bold"), segment(" · connecting …")], width);
  const instances = status.pools.flatMap((pool) => pool.instances);
  const wanted = status.pools.reduce((sum, pool) => sum + pool.wanted, 0);
  const ready = status.pools.reduce((sum, pool) => sum + pool.ready, 0);
  const failing = [...instances, ...status.balancers].filter(isFailing).length;
  const deploying = status.pools.filter(({ deploy }) => deploy != null);
  const generation = Math.max(0, ...status.pools.map((pool) => pool.generation));
  const item = (text: string, style: Style, drop: number, side: Item["side"] = "left"): Item => ({
    line: text === "" ? [] : [segment(text, style)],
    ...{ drop, side },
  });
  // A pool without requests has no canaries.
  const tried = deploying.filter(({ deploy }) => (deploy?.canaries.length ?? 0) > 0);
  const canaries = tried.flatMap(({ deploy }) => deploy?.canaries ?? []).length;
  const of = tried.reduce((sum, pool) => sum + pool.wanted, 0);
  const deploy = deploying.length === 0 ? "" : canaries === 0 ? "deploy" : `canary ${canaries} of ${of}`;
  return itemLine(
    [
      item(fleetName(status), "bold", 0),
      item(`${ready}/${wanted} ready`, ready < wanted ? "warn" : "good", 1),
      item(failing === 0 ? "" : `${failing} failing`, "bad", 1.5),
      item(status.state === "running" ? "" : status.state, "busy", 2),
      item(deploy, "canary", 3),
      item(status.lock === null ? "" : "locked", "warn", 3.5),
      item(paused === null ? "" : "paused", "warn", 1.2),
      item(`up ${longDuration(status.uptimeSeconds)}`, "dim", 7),
      item(`generation ${generation}`, "dim", 8),
      item(status.watch === null ? "" : "watching", "dim", 6),
      item(clean(status.listen.join("  ")), "dim", 5, "right"),
      item(`paceline ${clean(status.version)}  ${clean(status.runtime)}`, "dim", 9, "right"),
      item(clock(at), "dim", 4, "right"),
    ],
    width,
  );
}

/** Returns why no new data arrives, for example `the fleet has stopped`; null while the connection is up. */
export function lossOf({ connection, events }: Pick<Model, "connection" | "events">): string | null {
  if (connection.state !== "lost") return null;
  return hasStopped(events) ? "the fleet has stopped" : "the connection is lost";
}

/** Returns the first line of a screen about `subject` if the fleet has stopped or cannot be reached; null otherwise. */
export function lostLine(
  { status, connection, events }: Pick<Model, "status" | "connection" | "events">,
  subject: string,
  width: number,
): Line | null {
  if (connection.state !== "lost") return null;
  const isStopped = hasStopped(events);
  const fleet = status === null ? "paceline" : fleetName(status);
  const name = subject === "" ? fleet : `${fleet} › ${clean(subject)}`;
  const at = clock(connection.since);
  const what = isStopped ? "has stopped" : "connection lost";
  const then = isStopped ? "waiting for its start" : "reconnecting";
  const texts = [
    ` ${name} · ${what} at ${at}, ${then}; the figures are from that time `,
    ` ${name} · ${what} at ${at}, ${then} `,
    ` ${what}, ${then} `,
    ` ${what} `,
    isStopped ? " stopped" : " lost",
  ];
  const text = texts.find((each) => widthOf(each) <= width) ?? "";
  return fitLine([segment(text, "alarm")], width);
}

/** Returns the figures of the whole fleet, most important first. */
export function fleetFigures({ status, history, zoom: zoomed }: Model): GraphFigure[] {
  if (status === null) return [];
  const zoom = ZOOMS[zoomed] as Zoom;
  const record = history[zoom.from];
  const of = (name: string, figure: HistoryFigure) => samplesOf(record, name, figure, zoom.graph);
  const owners = [...status.pools.map(({ name }) => name), "balancer", "supervisor"];
  const all = (figure: HistoryFigure) => summed(owners.map((name) => of(name, figure)));
  const { traffic, machine, errorsTotal, cpuPercent } = status;
  const cpu = all("cpuPercent");
  const mostCpu = 100 * machine.cpus;
  const memory = all("rssBytes");
  // The supervisor of an earlier version records only those of the balancers.
  const clients = record?.series.has(ALL_CLIENTS) ? ALL_CLIENTS : "balancer";
  const p99 = of(clients, "p99");
  const requests: GraphFigure[] = [
    {
      ...{ title: "req/s", detail: "", value: thousands(traffic.requestsPerSecond), valueStyle: "bold" },
      ...{ samples: of(clients, "requests"), least: 10, styleOf: () => "accent" },
    },
    {
      ...{ title: "p99", detail: `p50 ${milliseconds(traffic.latencyMs.p50)}`, value: latency(traffic.latencyMs.p99) },
      ...{ valueStyle: "bold", samples: p99, least: 1, styleOf: besideUsual(p99, 5) },
      heightText: (most) => latency(most),
    },
    {
      ...{ title: "5xx/s", detail: `of ${count(errorsTotal)}`, value: perSecond(traffic.errorsPerMinute) },
      valueStyle: traffic.errorsPerMinute > 0 ? "warn" : "bold",
      ...{ samples: of(clients, "errors5xx"), least: 3, styleOf: () => "bad" },
    },
  ];
  return [
    // A fleet that does not listen gets no requests.
    ...(status.listen.length === 0 ? [] : requests),
    {
      ...{ title: "cpu %", detail: `of ${mostCpu}`, value: cpuPercent == null ? "–" : cpuPercent.toFixed(0) },
      ...{ valueStyle: "bold", samples: cpu, least: Math.min(100, mostCpu) },
      styleOf: (value) => (value < 0.6 * mostCpu ? "good" : value < 0.85 * mostCpu ? "warn" : "bad"),
    },
    {
      ...{ title: "RSS", detail: pssText(status), value: size(status.rssBytes), valueStyle: "bold" },
      ...{ samples: memory, least: 10e6, styleOf: () => "memory", heightText: size },
    },
    ...(status.listen.length === 0 ? [] : [inFlightFigure(status, of(clients, "inFlight"))]),
  ];
}

function inFlightFigure({ traffic }: Status, samples: Float32Array): GraphFigure {
  return {
    ...{ title: "in flight", detail: `${count(traffic.connections)} connections`, value: count(traffic.inFlight) },
    ...{ valueStyle: "bold", samples, least: 10, styleOf: () => "accent" },
  };
}

/** Returns PSS and RSS at the same moment. */
function pssText({ pssBytes, pssOfRssBytes }: Status): string {
  if (pssBytes === null) return "";
  return pssOfRssBytes === null ? `PSS ${size(pssBytes)}` : `PSS ${size(pssBytes)} of ${size(pssOfRssBytes)}`;
}
