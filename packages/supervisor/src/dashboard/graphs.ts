/** Graphs of figures side by side, with or without frames, and the gauges below them. Pure. */
import { bar, type Chart, graph, roundedUp } from "./chart.js";
import { count, size } from "./format.js";
import { highest, median, ZOOMS, type Zoom } from "./history.js";
import type { Model } from "./model.js";
import { fitLine, type Line, lineWidth, type Segment, type Style, segment } from "./text.js";

/** A figure with its history, for a graph. */
export interface GraphFigure {
  title: string;
  /** The text beside the title, for example `p50 1.8`. */
  detail: string;
  value: string;
  valueStyle: Style;
  samples: Float32Array;
  /** The minimum value at the top of the graph, and the highest value that the figure can have. */
  least: number;
  most?: number;
  styleOf(value: number): Style;
  /** The value at the top as text. */
  heightText?(most: number): string;
}

/** Returns the style of a value, compared with the usual value of its window. */
export function besideUsual(samples: Float32Array, least: number): (value: number) => Style {
  const usual = median(samples);
  return (value) => (value < least || value < 1.5 * usual ? "good" : value < 2 * usual || usual === 0 ? "warn" : "bad");
}

/** Returns one line with the figures, each in its part of the width. */
export function figuresLine(figures: readonly GraphFigure[], width: number): Line {
  const part = Math.floor((width - 1) / Math.max(1, figures.length));
  const line: Segment[] = [segment(" ")];
  for (const { title, detail, value, valueStyle } of figures) {
    const cells = [segment(`${title} `, "dim"), segment(`${value} `, valueStyle), segment(detail, "dim")];
    const cut = lineWidth(cells) < part ? cells : cells.slice(0, 2);
    line.push(...fitLine(cut, part - 1));
    line.push(segment(" ".repeat(Math.max(0, part - Math.min(part - 1, lineWidth(cut))))));
  }
  return fitLine(line, width);
}

/** Returns graphs side by side without frames. */
export function bareGraphs(model: Model, figures: readonly GraphFigure[], width: number, height: number): Line[] {
  const part = Math.floor((width - 1) / Math.max(1, figures.length));
  const drawn = figures.map((figure) => graph(chartOf(model, figure), part - 2, height));
  return Array.from({ length: height }, (_, y) =>
    fitLine([segment(" "), ...drawn.flatMap((lines) => [...(lines[y] ?? []), segment("  ")])], width),
  );
}

/** Returns framed graphs side by side, `height` lines each without the frame. */
export function boxedGraphs(model: Model, figures: readonly GraphFigure[], width: number, height: number): Line[] {
  const part = Math.floor(width / Math.max(1, figures.length));
  const boxes = figures.map((figure, at) => {
    // The last graph gets the remaining width.
    const cells = at === figures.length - 1 ? width - at * part : part;
    return boxOf(model, figure, cells, height);
  });
  return Array.from({ length: height + 2 }, (_, y) => boxes.flatMap((box) => box[y] ?? []));
}

function boxOf(model: Model, figure: GraphFigure, width: number, height: number): Line[] {
  const { title, detail, value, valueStyle } = figure;
  const zoom = ZOOMS[model.zoom] as Zoom;
  const chart = chartOf(model, figure);
  const most = figure.heightText?.(chart.most) ?? count(chart.most);
  const head = detail === "" || width < title.length + detail.length + value.length + 13 ? "" : `─ ${detail} `;
  return [
    ruled(
      [segment("╭─ ", "dim"), segment(title, "plain"), segment(` ${head}`, "dim")],
      [...[segment(" ", "dim"), segment(value, valueStyle), segment(" ─╮", "dim")]],
      width,
    ),
    ...graph(chart, width - 2, height).map((line) => [segment("│", "dim"), ...line, segment("│", "dim")]),
    ruled([segment(`╰─ ${zoom.title} `, "dim")], [segment(` ${most} max ─╯`, "dim")], width),
  ];
}

/** Puts two texts at the ends of a rule of `width` cells. If they do not fit, only the last piece of the right text is kept. */
export function ruled(left: Line, right: Line, width: number): Line {
  const space = width - lineWidth(left) - lineWidth(right);
  if (space >= 0) return [...left, segment("─".repeat(space), "dim"), ...right];
  const end = right.slice(-1);
  const cut = fitLine(left, Math.max(0, width - lineWidth(end)));
  const rest = width - lineWidth(cut) - lineWidth(end);
  return fitLine([...cut, segment("─".repeat(Math.max(0, rest)), "dim"), ...end], width);
}

function chartOf({ history, zoom: zoomed, glyphs }: Model, figure: GraphFigure): Chart {
  const zoom = ZOOMS[zoomed] as Zoom;
  const { samples, least, most, styleOf } = figure;
  return {
    ...{ samples, newest: history[zoom.from]?.newest ?? 0, window: zoom.graph, glyphs, styleOf },
    most: most ?? roundedUp(highest(samples), least),
  };
}

/** Returns how much of the machine and of the limits is used. */
export function gauges({ status, glyphs }: Model, figures: readonly GraphFigure[], width: number): Line {
  if (status === null) return [];
  const { machine, limits, traffic } = status;
  const cpu = figures.find(({ title }) => title === "cpu %");
  const used = machine.memoryBytes === null ? null : machine.memoryBytes - (machine.availableBytes ?? 0);
  const all: { title: string; share: number; text: string; style: Style }[] = [
    {
      ...{ title: "cpu", share: Number(cpu?.value) / (100 * machine.cpus), style: "good" },
      text: `${cpu?.value} of ${100 * machine.cpus} %`,
    },
    ...(used === null || machine.memoryBytes === null
      ? []
      : [
          {
            ...{ title: "memory", share: used / machine.memoryBytes, style: "memory" as const },
            text: `${size(used)} of ${size(machine.memoryBytes)}`,
          },
        ]),
    ...(status.listen.length === 0
      ? []
      : [
          {
            ...{ title: "connections", share: traffic.connections / limits.connections, style: "accent" as const },
            text: `${count(traffic.connections)} of ${count(limits.connections)}`,
          },
          {
            ...{ title: "queue", share: traffic.queued / limits.queue, style: "warn" as const },
            text: count(traffic.queued),
          },
        ]),
  ];
  const barWidth = width >= 160 ? 18 : 12;
  const line: Line = [segment(" ")];
  for (const { title, share, text, style } of all) {
    const filled = bar(share, barWidth, glyphs, "░");
    const full = share >= 0.9 ? "bad" : style;
    const cells: Line = [
      segment(`${title} `, "dim"),
      segment(filled.replace(/[░.]+$/, ""), full),
      segment(/[░.]*$/.exec(filled)?.[0] ?? "", "dim"),
      segment(` ${text}   `),
    ];
    if (lineWidth(line) + lineWidth(cells) > width) break;
    line.push(...cells);
  }
  return fitLine(line, width);
}
