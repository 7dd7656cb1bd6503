/** The subject of the detail view: an instance, a balancer or a pool, and its charts. Pure. */
import type { HistoryFigure, InstanceStatus, Status } from "../control/api.js";
import { stateStyle } from "./columns.js";
import { count, latency, milliseconds, perSecond, size } from "./format.js";
import { besideUsual, type GraphFigure } from "./graphs.js";
import { median, samplesOf, ZOOMS, type Zoom } from "./history.js";
import type { Model } from "./model.js";
import { type Process, poolOf, processOf, stateText } from "./rows.js";
import type { Style } from "./text.js";

/** The values that the view shows of a process, or of a pool as a whole. */
export interface Subject {
  name: string;
  process: Process | null;
  figures: {
    requestsPerSecond: number | null;
    inFlight: number | null;
    latencyMs: { p50: number | null; p99: number | null };
    latencyShape: number[];
    errorsPerMinute: number | null;
    errorsTotal: number | null;
    cpuPercent: number | null;
    rssBytes: number | null;
  };
  state: string;
  style: Style;
}

export function subjectOf(status: Status, name: string): Subject | null {
  const process = processOf(status, name);
  if (process !== undefined) {
    const outOfTurn = "outOfTurn" in process ? process.outOfTurn : null;
    const style = stateStyle(process.state, process.stalledMs, outOfTurn);
    return { name, process, figures: process, state: stateText(process), style };
  }
  if (name === "balancer") {
    const { traffic, errorsTotal } = status;
    const state = `${status.balancers.filter((each) => each.state === "ready").length}/${status.balancers.length} ready`;
    return { name, process: null, figures: { ...traffic, errorsTotal }, state, style: "good" };
  }
  const pool = status.pools.find((each) => each.name === name);
  if (pool === undefined) return null;
  const style: Style = pool.ready < pool.wanted ? "warn" : "good";
  return { name, process: null, figures: pool, state: `${pool.ready}/${pool.wanted} ready`, style };
}

/** Returns the charts of one name, most important first. */
export function figuresOf(
  { history, zoom: zoomed, status }: Model,
  { name, figures, process }: Subject,
): GraphFigure[] {
  const zoom = ZOOMS[zoomed] as Zoom;
  const record = history[zoom.from];
  const of = (figure: HistoryFigure) => samplesOf(record, name, figure, zoom.graph);
  const p99 = of("p99");
  const [cpu, memory] = [of("cpuPercent"), of("rssBytes")];
  const usualMemory = median(memory);
  const pool = poolOf(name);
  const usual = status?.pools.find((each) => each.name === pool)?.medians?.["latencyMs.p99"];
  const { heapBytes = null, eventLoopLagMs = null } = (process ?? {}) as Partial<InstanceStatus>;
  const charts: GraphFigure[] = [
    {
      ...{ title: "req/s", detail: "", value: count(figures.requestsPerSecond), valueStyle: "bold" },
      ...{ samples: of("requests"), least: 5, styleOf: () => "accent" },
    },
    {
      ...{ title: "p99", value: latency(figures.latencyMs.p99), valueStyle: "bold", samples: p99, least: 1 },
      detail: `p50 ${milliseconds(figures.latencyMs.p50)}${usual === undefined ? "" : `  pool ${milliseconds(usual)}`}`,
      styleOf:
        usual === undefined
          ? besideUsual(p99, 5)
          : (value) => (value < Math.max(5, 1.5 * usual) ? "good" : value < 2 * usual ? "warn" : "bad"),
      heightText: (most) => latency(most),
    },
    {
      ...{ title: "5xx/s", value: perSecond(figures.errorsPerMinute) },
      detail: `${count(figures.errorsPerMinute)} a minute, of ${count(figures.errorsTotal)}`,
      ...{ valueStyle: (figures.errorsPerMinute ?? 0) > 0 ? "warn" : "bold", samples: of("errors5xx"), least: 3 },
      styleOf: () => "bad",
    },
    {
      ...{
        title: "cpu %",
        value: figures.cpuPercent === null ? "–" : figures.cpuPercent.toFixed(0),
        valueStyle: "bold",
      },
      ...{ detail: eventLoopLagMs === null ? "" : `loop lag ${latency(eventLoopLagMs)}`, samples: cpu, least: 100 },
      styleOf: (value) => (value < 60 ? "good" : value < 90 ? "warn" : "bad"),
    },
    {
      ...{ title: "RSS", value: figures.rssBytes === null ? "–" : size(figures.rssBytes), valueStyle: "bold" },
      ...{ detail: heapBytes === null ? "" : `heap ${size(heapBytes)}`, samples: memory, least: 10e6 },
      styleOf: (value) => (value > 1.5 * usualMemory ? "warn" : "memory"),
      heightText: size,
    },
    {
      ...{ title: "in flight", detail: "", value: count(figures.inFlight), valueStyle: "bold" },
      ...{ samples: of("inFlight"), least: 5, styleOf: () => "accent" },
    },
  ];
  return figures.requestsPerSecond === null ? charts.slice(3, 5) : charts;
}
