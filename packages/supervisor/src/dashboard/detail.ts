/** The view of one instance, balancer or pool: what is unusual about it, its charts, latencies, open requests, last death and log. Pure. */
import type { InstanceStatus, Status } from "../control/api.js";
import { attentionOf } from "./attention.js";
import { bar, type Glyphs, SHAPE_WORDS, slowness } from "./chart.js";
import { clock, count, latency, longDuration, shortDuration, thousands } from "./format.js";
import { bareGraphs, boxedGraphs, figuresLine, ruled } from "./graphs.js";
import { highest, ZOOMS, type Zoom } from "./history.js";
import type { Model } from "./model.js";
import { logLines, sectionTitle } from "./pane.js";
import { poolOf } from "./rows.js";
import { figuresOf, type Subject, subjectOf } from "./subject.js";
import { padLine } from "./table.js";
import { clean, fit, fitLine, type Line, lineWidth, type Style, segment, shortName, widthOf } from "./text.js";
import { fleetName, itemLine, lossOf } from "./title.js";

/** Returns `height` lines, without the last line of the screen. */
export function detailOf(model: Model, width: number, height: number): Line[] {
  const { status, selected, at, log } = model;
  const subject = status === null || selected === null ? null : subjectOf(status, selected);
  if (status === null || subject === null)
    return [fitLine([segment(` ${selected ?? "nothing"} is gone`, "warn")], width)];
  const lines: Line[] = [pathLine(status, subject, at, width)];
  const loss = lossOf(model);
  const attention = attentionOf(model, subject, width, height >= 20 ? 3 : 2);
  if (loss !== null) lines.push([segment(` ${loss}; the last known values follow`, "warn")]);
  else lines.push(...(attention.length === 0 ? [[segment(` ${usualText(subject)}`, "dim")]] : attention));
  const figures = figuresOf(model, subject);
  if (height >= 30 && width >= 100) {
    lines.push(...boxedGraphs(model, figures.slice(0, 3), width, 4), ...boxedGraphs(model, figures.slice(3), width, 4));
  } else if (height >= 20) {
    lines.push(
      ...boxedGraphs(model, figures.slice(0, 2), width, 2),
      ...boxedGraphs(model, figures.slice(2, 4), width, 2),
    );
  } else if (height >= 12) {
    const first = figures.slice(0, 3);
    lines.push(figuresLine(first, width), ...bareGraphs(model, first, width, 2));
  }
  const half = Math.floor(width / 2) - 2;
  if (height >= 34) {
    const left = [
      sectionTitle("latency, last 10 s", "", half),
      ...shapeLines(subject.figures.latencyShape, half, model.glyphs),
    ];
    const right = [
      sectionTitle("open requests", openTitle(model, subject), width - half),
      ...openLines(model, subject, width - half, 10),
    ];
    for (let y = 0; y < left.length; y++) lines.push([...padLine(left[y] ?? [], half), ...(right[y] ?? [])]);
  } else if (height >= 22) {
    lines.push(shapeLine(subject.figures.latencyShape, width));
    const open = openLines(model, subject, width, 4);
    if (open.length > 0) lines.push(sectionTitle("open requests", openTitle(model, subject), width), ...open);
  }
  const ended = endLines(model, subject, width);
  if (height >= 18)
    lines.push(sectionTitle("how it ended before", "d", width), ...ended.slice(0, height >= 34 ? 4 : 1));
  const room = height - lines.length;
  if (room >= 2) {
    lines.push(sectionTitle(`log of ${subject.name}`, "l all of it, with search", width));
    lines.push(...logLines({ ...log, scrolled: 0 }, width, room - 1, subject.name, loss));
  }
  return lines.slice(0, height).map((line) => fitLine(line, width));
}

function pathLine(status: Status, { name, process, state, style }: Subject, at: number, width: number): Line {
  const item = (text: string, drop: number, styled: Style = "plain", side: "left" | "right" = "left") => ({
    line: text === "" ? [] : [segment(text, styled)],
    ...{ drop, side },
  });
  const pool = poolOf(name);
  const before = [`${fleetName(status)} › ${pool === name ? "" : `${pool} › `}`, `${fleetName(status)} › `, ""];
  // The state also fits.
  const room = Math.max(1, width - 4 - widthOf(state));
  const parent = before.find((text) => widthOf(text) + widthOf(name) <= room) ?? "";
  const path: Line = [segment(parent, "dim"), segment(shortName(clean(name), room), "bold")];
  const facts =
    process === null
      ? []
      : [
          item(`pid ${process.pid ?? "–"}`, 4),
          item("generation" in process ? `generation ${process.generation}` : "", 5),
          item(clean(process.runtime), 7),
          item(process.pid === null ? "" : `up ${longDuration(process.uptimeSeconds)}`, 3),
          item(process.requestsTotal === null ? "" : `${thousands(process.requestsTotal)} requests`, 8),
          item("generation" in process ? responsesText(process) : "", 10, "dim"),
          item(
            `${process.restarts} ${process.restarts === 1 ? "restart" : "restarts"}`,
            6,
            process.restarts > 0 ? "warn" : "plain",
          ),
        ];
  return itemLine(
    [{ line: path, drop: 0, side: "left" }, item(state, 1, style), ...facts, item(clock(at), 9, "dim", "right")],
    width,
  );
}

/**
 * Returns responses by class, for example `2xx 1,234  4xx 3`, without 5xx, which has a chart. Empty if the supervisor is of an earlier
 * version.
 */
function responsesText({ responses }: Partial<Pick<InstanceStatus, "responses">>): string {
  return Object.entries(responses ?? {})
    .filter(([status, count]) => count > 0 && status !== "5xx")
    .map(([status, count]) => `${status} ${thousands(count)}`)
    .join("  ");
}

function usualText({ process }: Subject): string {
  return process === null ? "all instances together" : "nothing unusual beside the others of its pool";
}

/** Returns a bar for each bucket of latencies. */
export function shapeLines(shape: readonly number[], width: number, glyphs: Glyphs): Line[] {
  const total = shape.reduce((sum, each) => sum + each, 0);
  const most = shape.reduce((high, each) => Math.max(high, each), 0);
  const room = Math.max(1, width - 20);
  return SHAPE_WORDS.map((word, at) => {
    const part = shape[at] ?? 0;
    const share = total === 0 || part === 0 ? "–" : `${shareText((100 * part) / total)} %`;
    return fitLine(
      [
        segment(` ${fit(word, 6)} `, "dim"),
        segment(bar(most === 0 ? 0 : part / most, room, glyphs), slowness(at)),
        segment(fit(share, 8, "right")),
      ],
      width,
    );
  });
}

function shareText(percent: number): string {
  return percent >= 0.995 ? percent.toFixed(1) : percent.toFixed(2);
}

/** Returns the shares of the non-empty buckets, in one line. */
function shapeLine(shape: readonly number[], width: number): Line {
  const total = shape.reduce((sum, each) => sum + each, 0);
  const line: Line = [segment(" latency ", "dim")];
  for (const [at, word] of SHAPE_WORDS.entries())
    if (total > 0 && (shape[at] ?? 0) > 0)
      line.push(
        segment(`${word.replace(" ", "")} `, "dim"),
        segment(`${shareText((100 * (shape[at] ?? 0)) / total)}%  `, slowness(at)),
      );
  return fitLine(line, width);
}

function openTitle({ open }: Model, { figures, name }: Subject): string {
  const shown = open.name === name ? Math.min(10, open.requests.length) : 0;
  // The requests were read later than the figure.
  return `${count(Math.max(shown, figures.inFlight ?? 0))} in flight, ${shown} shown, oldest first`;
}

function openLines({ open }: Model, { name }: Subject, width: number, height: number): Line[] {
  const requests = open.name === name ? open.requests : [];
  const isPool = !name.includes(".");
  return requests.slice(0, height).map(({ name: of, request, ageMs, client }) => {
    const style: Style = ageMs >= 1000 ? "bad" : ageMs >= 200 ? "warn" : "plain";
    const who = isPool ? ` ${shortName(clean(of), Math.floor(width / 3))}` : "";
    const left: Line = [segment(fit(latency(ageMs), 9, "right"), style), segment(`${who} ${clean(request)}`)];
    const right = [segment(`${clean(client)} `, "dim")];
    const space = width - lineWidth(left) - lineWidth(right);
    return space > 0 ? [...left, segment(" ".repeat(space)), ...right] : fitLine(left, width);
  });
}

/** Returns how the last process in the slot exited, and its last lines. */
function endLines({ status, at, deaths }: Model, { name, process }: Subject, width: number): Line[] {
  const all = status === null ? [] : [...status.pools.flatMap(({ instances }) => instances), ...status.balancers];
  // For a pool, takes the last exit of all its processes.
  const [ended] = all
    .filter((each) => (each.name === name || poolOf(each.name) === name) && each.lastExit !== null)
    .sort((a, b) => (b.lastExit?.at ?? 0) - (a.lastExit?.at ?? 0));
  const last = ended?.lastExit ?? null;
  // The newest report may be about another process of the slot, for example a replacement that did not start.
  const death = deaths.list.find((each) => each.name === ended?.name && each.at === last?.at);
  const who = process === null ? `${ended?.name}: ` : "";
  if (last === null) {
    const since = status === null ? "" : ` since the supervisor started ${longDuration(status.uptimeSeconds)} ago`;
    return [fitLine([segment(` never${since}`, "good")], width)];
  }
  const ago = shortDuration(Math.max(0, at - last.at) / 1000);
  const lost = death === undefined ? "" : `; requests: ${death.lost} lost, ${death.reassigned} sent elsewhere`;
  const words = death?.lastLines ?? last.lastLines;
  return [
    fitLine([segment(` ${ago} ago  `, "warn"), segment(clean(`${who}${last.reason}${lost}`), "bad")], width),
    ...words.slice(-3).map((line) => fitLine([segment(`   ${clean(line)}`, "dim")], width)),
  ];
}

/** Returns the pane for the selected row beside a wide overview: charts, latencies, open requests. */
export function sidePane(model: Model, width: number, height: number): Line[] {
  const { status, selected } = model;
  const subject = status === null || selected === null ? null : subjectOf(status, selected);
  if (subject === null || height < 6) return [];
  const inner = width - 4;
  const { process } = subject;
  const facts =
    process === null
      ? ""
      : `  pid ${process.pid ?? "–"}  ${process.runtime}  up ${longDuration(process.uptimeSeconds)}`;
  const content: Line[] = [[segment(subject.state, subject.style), segment(clean(facts))]];
  content.push(...attentionOf(model, subject, inner, 3));
  const zoom = ZOOMS[model.zoom] as Zoom;
  for (const figure of figuresOf(model, subject).filter(({ title }) =>
    ["req/s", "p99", "cpu %", "RSS"].includes(title),
  )) {
    const top = highest(figure.samples);
    const most = `last ${zoom.title}, highest ${figure.heightText?.(top) ?? count(top)}`;
    const left = fit(`${figure.title}  ${figure.value}  ${figure.detail}`, inner - most.length);
    content.push(
      [],
      [segment(left), segment(most, "dim")],
      ...bareGraphs(model, [figure], inner + 3, 2).map((line) => fitLine(line.slice(1), inner)),
    );
  }
  content.push(
    [],
    [segment("latency of the last 10 s", "dim")],
    ...shapeLines(subject.figures.latencyShape, inner, model.glyphs),
  );
  content.push(
    [],
    [segment(`in flight (${count(subject.figures.inFlight)})`, "dim")],
    ...openLines(model, subject, inner, 8),
  );
  const rows = Array.from({ length: height - 2 }, (_unused, y) => content[y] ?? []);
  const end: Line = [segment(" Enter for more ─╮", "dim")];
  return [
    ruled([segment("╭─ ", "dim"), segment(clean(subject.name), "bold"), segment(" ", "dim")], end, width),
    ...rows.map((line) => [segment("│ ", "dim"), ...padLine(fitLine(line, inner), inner), segment(" │", "dim")]),
    ruled([segment("╰", "dim")], [segment("╯", "dim")], width),
  ];
}
