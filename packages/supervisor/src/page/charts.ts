/** The charts: lines, sparklines, distributions of latencies and intervals, as SVG. Pure. */
import type { HistoryMark } from "../control/api.js";
import { SHAPE_BOUNDS_MS } from "../core/slowness.js";
import { h, type Node } from "./dom.js";
import { clock, percent } from "./format.js";
import { squeezed, type Values } from "./series.js";

const HEIGHT = 100;

/** Returns the lines of known values; unknown ones are gaps. `closed` fills each line down to the bottom. */
export function pathOf(values: Values, max: number, closed = false): string {
  let path = "";
  let from = -1;
  const y = (value: number) => Math.round(10 * HEIGHT * (1 - Math.min(1, Math.max(0, value / max)))) / 10;
  for (let at = 0; at <= values.length; at++) {
    const value = values[at];
    if (value != null) {
      path += `${from < 0 ? "M" : "L"}${at} ${y(value)}`;
      if (from < 0) from = at;
      continue;
    }
    if (from < 0) continue;
    // The line of a single value would have no length.
    if (from === at - 1) path += `h.5`;
    if (closed) path += `V${HEIGHT}H${from}Z`;
    from = -1;
  }
  return path;
}

/** Returns the smallest of 1, 1.5, 2, 3, 5, 7.5 times a power of ten that is not below the value. */
export function niceMax(value: number): number {
  if (!(value > 0)) return 1;
  const ten = 10 ** Math.floor(Math.log10(value));
  const step = [1, 1.5, 2, 3, 5, 7.5, 10].find((each) => each * ten >= value * 0.999) ?? 10;
  return Number((step * ten).toPrecision(3));
}

export function highest(...series: Values[]): number {
  let most = 0;
  for (const values of series) for (const value of values) if (value !== null && value > most) most = value;
  return most;
}

export interface ChartOptions {
  /** The shown figure, for example `requests/s`. */
  title: string;
  values: Values;
  /** A second line, in grey. */
  beside?: Values | undefined;
  besideTitle?: string | undefined;
  /** The colour of the line. */
  hue: string;
  text(value: number): string;
  /** The Unix time in milliseconds of the newest value, and the time between two values. */
  now: number;
  everyMs: number;
  marks: readonly HistoryMark[];
  /** The position of the pointer, from 0 to 1; null if it is elsewhere. */
  pointer: number | null;
  onPointer(at: number | null): void;
  /** The maximum number of points. */
  points?: number;
}

/** Returns a chart with its scale, its marks, and the values at the pointer. */
export function chart(options: ChartOptions): Node {
  const { beside, hue, text, now, everyMs, pointer, points = 300 } = options;
  const values = squeezed(options.values, points);
  const grey = beside === undefined ? undefined : squeezed(beside, points);
  const max = niceMax(highest(values, grey ?? []));
  const last = Math.max(1, values.length - 1);
  const spanMs = options.values.length * everyMs;
  const index = pointer === null ? null : Math.round(pointer * last);
  const at = index === null ? now : now - spanMs * (1 - index / last);
  return h(
    "div",
    {
      class: "chart",
      onpointermove: (event: PointerEvent) => options.onPointer(placeOf(event)),
      onpointerleave: () => options.onPointer(null),
    },
    h("span", { class: "scale" }, text(max)),
    index !== null &&
      h(
        "span",
        { class: "reading" },
        `${clock(at)} ${textOf(values[index], text)}`,
        grey && ` (${textOf(grey[index], text)})`,
      ),
    h(
      "svg",
      {
        viewBox: `0 0 ${last} ${HEIGHT}`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": labelOf(options, max),
      },
      h("line", { class: "half", x1: 0, x2: last, y1: HEIGHT / 2, y2: HEIGHT / 2 }),
      h("path", { class: `area ${hue}`, d: pathOf(values, max, true) }),
      grey && h("path", { class: "line grey", d: pathOf(grey, max) }),
      h("path", { class: `line ${hue}`, d: pathOf(values, max) }),
      marksOf(options.marks, { now, spanMs, last }),
      index !== null && h("line", { class: "pointer", x1: index, x2: index, y1: 0, y2: HEIGHT }),
    ),
  );
}

function placeOf(event: PointerEvent): number {
  const { left, width } = (event.currentTarget as Element).getBoundingClientRect();
  return Math.min(1, Math.max(0, (event.clientX - left) / Math.max(1, width)));
}

function textOf(value: number | null | undefined, text: (value: number) => string): string {
  return value == null ? "nothing known" : text(value);
}

function labelOf({ title, values, beside, besideTitle, text, everyMs, marks }: ChartOptions, max: number): string {
  const minutes = Math.round((values.length * everyMs) / 60_000);
  const span = minutes < 120 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`;
  const newest = textOf(values.at(-1), text);
  const compared = beside === undefined ? "" : `; ${besideTitle}: ${textOf(beside.at(-1), text)}`;
  const deaths = marks.filter(({ kind }) => kind === "death").length;
  const dead = deaths === 0 ? "" : `; ${deaths === 1 ? "1 death" : `${deaths} deaths`}`;
  return `${title}, last ${span}: now ${newest}, highest ${text(highest(values))}, full height ${text(max)}${compared}${dead}`;
}

const MARK_WORDS: Record<HistoryMark["kind"], string> = { death: "died", deploy: "deploy", reload: "reload" };

function marksOf(marks: readonly HistoryMark[], { now, spanMs, last }: { now: number; spanMs: number; last: number }) {
  return marks.flatMap(({ at, kind, name }) => {
    const x = Math.round(10 * last * (1 - (now - at) / spanMs)) / 10;
    if (x < 0 || x > last) return [];
    return h(
      "line",
      { class: `mark ${kind}`, x1: x, x2: x, y1: 0, y2: HEIGHT },
      h("title", {}, `${clock(at)} ${name} ${MARK_WORDS[kind]}`),
    );
  });
}

const SPARK_POINTS = 100;

/** Returns a line without a scale of its own. */
export function sparkline(values: Values, { max, hue, label }: { max: number; hue: string; label: string }): Node {
  const few = squeezed(values, SPARK_POINTS);
  const last = Math.max(1, few.length - 1);
  return h(
    "svg",
    {
      class: "spark",
      viewBox: `0 -4 ${last} ${HEIGHT + 8}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    },
    h("path", { class: `area ${hue}`, d: pathOf(few, max, true) }),
    h("path", { class: `line ${hue}`, d: pathOf(few, max) }),
  );
}

/** The upper bounds of the parts of a latency distribution; the last one has none. */
const BOUNDS = [...SHAPE_BOUNDS_MS.map((bound) => `≤ ${bound}`), "> 250"];

function hueOf(part: number): string {
  return part < 5 ? "green" : part < 7 ? "yellow" : "red";
}

/** Returns ten cells from fast to slow; a stronger colour means more responses. */
export function shape(counts: readonly number[]): Node | string {
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (all === 0) return "–";
  const most = Math.max(...counts);
  const slowest = counts.findLastIndex((count) => count > 0);
  const label = `most responses ${BOUNDS[counts.indexOf(most)]} ms, the slowest ${BOUNDS[slowest]} ms`;
  return h(
    "svg",
    { class: "shape", viewBox: "0 0 120 14", role: "img", "aria-label": label },
    counts.map((count, at) => {
      const strength = count === 0 ? 0.09 : 0.28 + 0.72 * Math.sqrt(count / most);
      return h("rect", {
        ...{ class: hueOf(at), x: at * 12, y: 1, width: 10.5, height: 12, rx: 2 },
        "fill-opacity": Math.round(100 * strength) / 100,
      });
    }),
  );
}

/** Returns a bar for each part of a latency distribution. */
export function latencyBars(counts: readonly number[]): Node {
  const all = counts.reduce((sum, count) => sum + count, 0);
  const most = Math.max(1, ...counts);
  return h(
    "table",
    { class: "bars" },
    h("caption", { class: "unseen" }, "responses by latency in milliseconds"),
    h(
      "tbody",
      {},
      counts.map((count, at) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, BOUNDS[at]),
          h("td", { class: "room" }, bar((100 * count) / most, hueOf(at))),
          h("td", {}, percent(count, all)),
        ),
      ),
    ),
  );
}

/** Returns a bar for a percentage. */
export function bar(filled: number, hue: string): Node {
  const width = Math.round(10 * Math.min(100, Math.max(0, filled))) / 10;
  return h(
    "svg",
    { class: "bar", "aria-hidden": "true", height: 9, width: "100%" },
    h("rect", { class: `${hue} faint`, width: "100%", height: 9, rx: 2 }),
    h("rect", { class: hue, width: `${width}%`, height: 9, rx: 2 }),
  );
}

interface IntervalOptions {
  /** The ends of the interval of a difference; null if unknown. */
  interval: readonly [low: number | null, high: number | null];
  /** The largest difference that is allowed. */
  most: number;
  verdict: string;
}

const ZERO = 40;
const LIMIT = 80;

/** Returns the position of a difference on a scale from 0 to 100: zero is at 40, the limit at 80. */
export function placeOnScale(value: number, most: number): number {
  const room = most > 0 ? (LIMIT - ZERO) / most : 0;
  const place = most > 0 ? ZERO + value * room : ZERO + Math.sign(value) * 50;
  return Math.round(10 * Math.min(100, Math.max(0, place))) / 10;
}

/** Returns an interval of a difference with its limit; an unknown end reaches the edge. */
export function interval({ interval: [low, high], most, verdict }: IntervalOptions): Node {
  const limit = placeOnScale(most, most);
  const from = low === null ? 0 : placeOnScale(low, most);
  const to = high === null ? 100 : placeOnScale(high, most);
  const hue = verdict === "pass" ? "green" : verdict === "fail" ? "red" : "yellow";
  const isKnown = low !== null || high !== null;
  return h(
    "svg",
    { class: "interval", "aria-hidden": "true", width: "100%", height: 16 },
    h("rect", { class: "track", x: 0, y: 7, width: "100%", height: 2, rx: 1 }),
    h("rect", { class: "zero", x: `${ZERO}%`, y: 3, width: 1, height: 10 }),
    isKnown &&
      h("rect", {
        class: hue,
        x: `${from}%`,
        y: 5.5,
        width: `${Math.max(0.6, to - from).toFixed(1)}%`,
        height: 5,
        rx: 2.5,
      }),
    h("rect", { class: "limit", x: `${limit}%`, y: 1, width: 2, height: 14 }),
  );
}
