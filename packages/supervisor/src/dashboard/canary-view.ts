/** The view of a deploy that is being judged: its steps, the verdict, both generations side by side, and the tests. Pure. */
import type { ArmFigures, DeployStatus, PoolStatus } from "../control/api.js";
import type { TestResult } from "../core/deploy.js";
import { bar } from "./chart.js";
import { shapeLines } from "./detail.js";
import { clock, count, milliseconds } from "./format.js";
import { ruled } from "./graphs.js";
import type { Model } from "./model.js";
import { eventLines, sectionTitle } from "./pane.js";
import { padLine } from "./table.js";
import { clean, fit, fitLine, type Line, lineWidth, type Style, segment } from "./text.js";
import { fleetName, itemLine } from "./title.js";

/** Returns the pool whose deploy is shown: the selected row's pool, or the first pool with a deploy. */
function deployingPool({ status, selected }: Pick<Model, "status" | "selected">): PoolStatus | undefined {
  const pools = (status?.pools ?? []).filter(({ deploy }) => deploy != null);
  return pools.find(({ name }) => selected === name || selected?.startsWith(`${name}.`)) ?? pools[0];
}

/** Returns `height` lines, without the last line of the screen. */
export function canaryOf(model: Model, width: number, height: number): Line[] {
  const { status, at } = model;
  const pool = deployingPool(model);
  const deploy = pool?.deploy ?? null;
  const path = (rest: Line): Line => [segment(`${fleetName(status)} › `, "dim"), ...rest];
  const title = (rest: Line, more: Line = []) =>
    itemLine(
      [
        { line: path(rest), drop: 0, side: "left" },
        { line: more, drop: 2, side: "left" },
        { line: [segment(clock(at), "dim")], drop: 1, side: "right" },
      ],
      width,
    );
  if (pool === undefined || deploy === null) {
    const said = model.events.filter(({ message }) => /deploy|rolled back|generation/.test(message));
    return [
      title([segment("deploy", "bold")]),
      [],
      fitLine([segment(" no deploy is under way; :deploy /FOLDER begins one", "dim")], width),
      [],
      sectionTitle("what happened", "", width),
      ...eventLines({ ...model, events: said }, width, Math.max(0, height - 5)),
    ].slice(0, height);
  }
  const generations: Line = [
    ...[segment("deploy of ", "dim"), segment(pool.name, "bold"), segment("  generation ")],
    ...[segment(`${deploy.from}`, "accent"), segment(" → "), segment(`${deploy.to}`, "canary")],
  ];
  const lines: Line[] = [title(generations, [segment(clean(deploy.release), "dim")])];
  if (height >= 16) lines.push([]);
  lines.push(...stepLines(pool, deploy, width, model));
  if (height >= 20) lines.push([]);
  lines.push(...verdictBox(deploy, width));
  const isTall = height >= 34;
  lines.push(...arms(deploy, width, isTall, model));
  lines.push(sectionTitle("tests", width >= 60 ? "interval of the difference; │ 0, ┃ the limit" : "", width));
  const room = Math.max(1, height - lines.length - (isTall ? 2 : 0));
  lines.push(
    ...byVerdict(deploy.tests)
      .slice(0, room)
      .map((test) => testLine(test, width)),
  );
  if (deploy.tests.length === 0) lines.push(fitLine([segment(" the canaries have had no request yet", "dim")], width));
  const left = height - lines.length;
  if (left >= 2) lines.push(sectionTitle("what happened", "", width), ...eventLines(model, width, left - 1));
  return lines.slice(0, height).map((line) => fitLine(line, width));
}

/** Failed tests come first, then undecided ones, because they decide the verdict. */
function byVerdict(tests: readonly TestResult[]): TestResult[] {
  const rank = { fail: 0, wait: 1, pass: 2 };
  return [...tests].sort((a, b) => rank[a.verdict] - rank[b.verdict]);
}

/** Returns the steps: the canaries are judged, then all instances follow. */
function stepLines(pool: PoolStatus, deploy: DeployStatus, width: number, { glyphs }: Model): Line[] {
  const { phase, canaries, leftMs, judgeMs, percent, percentNow } = deploy;
  const { rollout, wanted } = pool;
  const total = rollout?.total ?? wanted;
  const judged = leftMs === null ? 0 : judgeMs - Math.min(judgeMs, leftMs);
  const isOver = phase === "rolling" || phase === "back";
  const share = percentNow === null ? "" : `, ${percentNow} of ${percent} % of the requests`;
  const steps: [text: string, part: number, style: Style][] = [
    [
      isOver
        ? `judged for ${Math.round(judged / 1000)} s`
        : `${canaries.length} of ${total} judged${leftMs === null ? "" : `, ${Math.ceil(leftMs / 1000)} s left`}${share}`,
      isOver ? 1 : judgeMs === 0 ? 0 : judged / judgeMs,
      "canary",
    ],
    phase === "back"
      ? ["rolled back", 1, "bad"]
      : [
          `then all ${total}${isOver ? `: ${rollout?.done ?? 0} done` : ""}`,
          isOver ? (rollout?.done ?? 0) / Math.max(1, total) : 0,
          "canary",
        ],
  ];
  const part = Math.floor((width - 3) / steps.length);
  const line = (of: (step: (typeof steps)[number]) => Line): Line => [
    segment(" "),
    ...steps.flatMap((step) => padLine(fitLine(of(step), part - 2), part)),
  ];
  return [
    line(([text, done, style]) => [segment(text, done > 0 ? style : "dim")]),
    line(([, done, style]) => {
      const drawn = bar(done, part - 2, glyphs, "░");
      const full = drawn.replace(/[░.]+$/, "");
      return [segment(full, style), segment(drawn.slice(full.length), "dim")];
    }),
  ];
}

const VERDICTS: Record<DeployStatus["verdict"], [word: string, style: Style]> = {
  pass: ["PASSES", "good"],
  wait: ["WAITS", "warn"],
  fail: ["FAILS", "bad"],
};

function verdictBox({ verdict, tests, leftMs, phase, isHeld }: DeployStatus, width: number): Line[] {
  const [word, style] = VERDICTS[verdict];
  const of = (wanted: string) => tests.filter((test) => test.verdict === wanted).length;
  const left =
    phase === "rolling"
      ? "rolling out to all instances"
      : phase === "back"
        ? "is rolled back; no request is lost"
        : leftMs === null
          ? "the first instances start"
          : isHeld
            ? "held by an operator"
            : `at most ${Math.ceil(leftMs / 1000)} s more`;
  const line: Line = [
    ...[segment("│ ", "canary"), segment(word, style), segment(` · ${left} · `)],
    segment(`${of("pass")} pass, ${of("wait")} wait, ${of("fail")} fail`, "dim"),
    segment(width >= 110 ? " · a failure rolls back by itself, and no request is lost" : "", "dim"),
  ];
  const inner = fitLine(line, width - 2);
  return [
    coloured(
      ruled([segment("╭─ ", "dim"), segment("verdict", "bold"), segment(" ", "dim")], [segment("╮", "dim")], width),
    ),
    [...inner, segment(" ".repeat(Math.max(0, width - 1 - lineWidth(inner)))), segment("│", "canary")],
    coloured(ruled([segment("╰", "dim")], [segment("╯", "dim")], width)),
  ];
}

function coloured(line: Line): Line {
  return line.map(({ text, style }) => segment(text, style === "dim" ? "canary" : style));
}

/** Returns both generations side by side, each figure per process on average. */
function arms({ arms: both, from, to }: DeployStatus, width: number, isTall: boolean, { glyphs }: Model): Line[] {
  const half = Math.floor(width / 2);
  const left = armBox("old", from, both.old, both.new, half, isTall, glyphs);
  const right = armBox("new", to, both.new, both.old, width - half, isTall, glyphs);
  return left.map((line, y) => [...line, ...(right[y] ?? [])]);
}

function armBox(
  word: "old" | "new",
  generation: number,
  arm: ArmFigures | null,
  other: ArmFigures | null,
  width: number,
  isTall: boolean,
  glyphs: Model["glyphs"],
): Line[] {
  const style: Style = word === "new" ? "canary" : "accent";
  const responses = arm === null ? "" : ` ${count(arm.requestsTotal)} responses, ${arm.processes}× `;
  const inner = width - 4;
  const rows = FIGURES.map(({ title, of, text }) => {
    const [value, beside] = [arm === null ? null : of(arm), other === null ? null : of(other)];
    const most = Math.max(value ?? 0, beside ?? 0);
    const room = Math.max(1, inner - 18);
    return [
      segment(fit(title, 9), "dim"),
      segment(fit(value === null ? "–" : text(value), 7, "right"), "bold"),
      segment("  "),
      segment(bar(most === 0 ? 0 : (value ?? 0) / most, room, glyphs), style),
    ];
  });
  const shape = isTall ? shapeLines(arm?.latencyShape ?? [], inner, glyphs) : [];
  const content: Line[] = [...rows, ...(isTall ? [[segment("latency of the last 10 s", "dim")]] : []), ...shape];
  return [
    ruled(
      [segment("╭─ ", "dim"), segment(`${word} · generation ${generation}`, style), segment(" ", "dim")],
      [segment(responses, "plain"), segment("─╮", "dim")],
      width,
    ),
    ...content.map((line) => [segment("│ ", "dim"), ...padLine(fitLine(line, inner), inner), segment(" │", "dim")]),
    ruled([segment("╰", "dim")], [segment("╯", "dim")], width),
  ];
}

const FIGURES: readonly { title: string; of(arm: ArmFigures): number | null; text(value: number): string }[] = [
  { title: "req/s", of: ({ requestsPerSecond }) => requestsPerSecond, text: count },
  { title: "p50", of: ({ latencyMs }) => latencyMs.p50, text: milliseconds },
  { title: "p99", of: ({ latencyMs }) => latencyMs.p99, text: milliseconds },
  {
    title: "5xx %",
    of: ({ errorsTotal, requestsTotal }) => (requestsTotal === 0 ? null : (100 * errorsTotal) / requestsTotal),
    text: (value) => value.toFixed(value < 9.95 ? 2 : 0),
  },
  { title: "CPU %", of: ({ cpuPercent }) => cpuPercent, text: (value) => value.toFixed(1) },
  { title: "RSS MB", of: ({ rssBytes }) => rssBytes, text: (value) => (value / 1e6).toFixed(1) },
];

const MARKS: Record<TestResult["verdict"], [mark: string, word: string, style: Style]> = {
  pass: ["✓", "passes", "good"],
  wait: ["…", "waits", "warn"],
  fail: ["✗", "fails", "bad"],
};

function testLine(test: TestResult, width: number): Line {
  const { name, verdict, difference, limit } = test;
  const [mark, word, style] = MARKS[verdict];
  const nameWidth = width >= 100 ? 22 : 14;
  const left: Line = [
    ...[segment(` ${mark} `, style), segment(fit(clean(name), nameWidth))],
    segment(fit(clean(difference), 12, "right"), "bold"),
    segment(fit(clean(limit), 14, "right"), "dim"),
    segment("  "),
  ];
  const right: Line = [segment(fit(word, 8, "right"), style), segment(" ")];
  const room = width - lineWidth(left) - lineWidth(right);
  if (room < 8) return fitLine([...left, ...right], width);
  return [...left, ...intervalLine(test, room, style), ...right];
}

/** Draws the interval between the lowest and the highest relevant value, with marks at zero and at the limit. */
function intervalLine({ interval, most }: TestResult, width: number, style: Style): Line {
  const [low, high] = interval;
  if ((low === null && high === null) || !(most > 0)) return [segment(" ".repeat(width))];
  const from = Math.min(-0.25 * most, low ?? -0.25 * most);
  const to = Math.max(1.25 * most, high ?? 0);
  const cellOf = (value: number) =>
    Math.min(width - 1, Math.max(0, Math.round(((value - from) / (to - from)) * (width - 1))));
  const [start, end] = [low === null ? 0 : cellOf(low), high === null ? width - 1 : cellOf(high)];
  const [zero, limit] = [cellOf(0), cellOf(most)];
  return Array.from({ length: width }, (_, x) => {
    if (x === limit) return segment("┃", "bad");
    if (x >= start && x <= end) return segment("━", style);
    return x === zero ? segment("│") : segment("·", "dim");
  });
}
