/** The view of deploys: the verdict of the one in progress with its steps, arms and tests, and earlier operations on the fleet. Pure. */
import type { ArmFigures, DeployStatus, PoolStatus, Status } from "../control/api.js";
import { callerText, changeText, type HistorySummary } from "../core/history.js";
import { bar, interval, latencyBars } from "./charts.js";
import { type Child, h, type Node } from "./dom.js";
import { age, clock, duration, megabytes, NONE, number, toneOf } from "./format.js";
import { hrefOf, type Question, type State } from "./model.js";
import {
  actButton,
  card,
  emptyText,
  eventRow,
  facts,
  lineList,
  link,
  numberCell,
  type On,
  ROLLBACK,
  stateBadge,
  table,
  timeOf,
} from "./pieces.js";

export function deploy(state: State, status: Status, on: On): Child[] {
  if (state.route.name !== "") return [operation(state)];
  const all = status.pools.filter((pool) => pool.deploy !== null);
  // A pool without requests has no canaries.
  const tried = all.filter(({ deploy: each }) => each?.tests.length !== 0 || each.canaries.length > 0);
  const running = tried.length > 0 ? tried : all;
  return [
    h("h1", { class: "unseen" }, "Deploys"),
    running.length === 0
      ? idle(state, status, on)
      : [running.map((pool) => ofPool(pool, pool.deploy as DeployStatus, state, on)), whatHappened(running, state)],
    history(state),
  ];
}

function idle({ operations, mayWrite, at }: State, { pools }: Status, on: On): Node {
  const last = operations.find(({ command }) => command === "deploy" || command === "rollback");
  return h(
    "section",
    { class: "card head", "aria-label": "deploy" },
    h(
      "div",
      { class: "title" },
      h("p", { class: "verdict" }, "No deploy is under way"),
      mayWrite && actButton(on, ROLLBACK),
    ),
    h(
      "p",
      { class: "dim" },
      last === undefined
        ? `Generation ${[...new Set(pools.map(({ generation }) => generation))].join(", ")} is in service.`
        : `The last one, ${age((at - last.at) / 1000)} ago: ${last.message || last.result}`,
    ),
  );
}

const PHASES: Record<DeployStatus["phase"], string> = {
  ...{ loading: "Loading", canary: "", rolling: "Rolling out", back: "Taking it back" },
};
const VERDICTS: Record<DeployStatus["verdict"], string> = { pass: "Passing", fail: "Failing", wait: "Judging" };

/** Returns a deploy's verdict in one word. */
export function verdictWord({ phase, verdict, leftMs }: DeployStatus): string {
  if (phase !== "canary") return PHASES[phase];
  return leftMs === null ? "Starting the canaries" : VERDICTS[verdict];
}

/** Returns `5 tests pass, 1 waits, none fails`. */
export function testsText({ tests }: Pick<DeployStatus, "tests">): string {
  const of = (verdict: string) => tests.filter((test) => test.verdict === verdict).length;
  const count = (some: number, one: string, more: string) => `${some === 0 ? "none" : some} ${some > 1 ? more : one}`;
  const passing = of("pass");
  return `${passing === 1 ? "1 test passes" : `${passing === 0 ? "no" : passing} tests pass`}, ${count(of("wait"), "waits", "wait")}, ${count(of("fail"), "fails", "fail")}`;
}

function ofPool(pool: PoolStatus, deploy: DeployStatus, state: State, on: On): Node {
  const { from, to, release, verdict, phase, leftMs, isHeld } = deploy;
  const word = verdictWord(deploy);
  const tone = phase === "back" ? "bad" : phase === "canary" && leftMs !== null ? toneOf(verdict) : "busy";
  return h(
    "div",
    { key: pool.name, class: "deploy" },
    h(
      "section",
      { class: `card head ${tone}`, "aria-label": `deploy of ${pool.name}` },
      h(
        "div",
        { class: "title" },
        h(
          "p",
          { class: `verdict ${tone}`, role: "status" },
          h("span", { class: "unseen" }, `${pool.name}: `),
          word,
          isHeld ? ", held" : "",
        ),
        h("p", {}, `${pool.name}: generation ${from} → ${to}`, h("br"), h("span", { class: "dim mono" }, release)),
        state.mayWrite && [steer("promote", on), steer(isHeld ? "resume" : "hold", on), actButton(on, ROLLBACK)],
      ),
      h("p", { class: "dim" }, `${testsText(deploy)}. ${nextText(deploy)}`),
    ),
    steps(pool, deploy),
    h("div", { class: "halves" }, arms(deploy), tests(deploy)),
    h(
      "div",
      { class: "halves" },
      armLatency("Latency of old", deploy.arms?.old),
      armLatency("Latency of new", deploy.arms?.new),
    ),
  );
}

function nextText({ phase, leftMs, onNoTraffic, isHeld }: DeployStatus & { onNoTraffic?: string }): string {
  if (phase === "back") return "The old version serves again soon.";
  if (phase === "rolling") return "The other instances follow.";
  if (leftMs === null) return "The canaries are being started.";
  if (isHeld) return "It waits for an operator; a failing test still rolls the release back.";
  const then = onNoTraffic === undefined ? "" : ` Without a verdict: ${onNoTraffic}.`;
  return `Up to ${age(leftMs / 1000)} more.${then} A failing test rolls the release back by itself.`;
}

const STEERING: Record<"promote" | "hold" | "resume", Omit<Question, "path" | "body">> = {
  promote: {
    title: "Promote the release?",
    text: "The other instances follow without waiting for the verdict, once gross faults are excluded, or after 15 s.",
    action: "Promote",
    isHarmful: true,
  },
  hold: {
    title: "Hold the deploy?",
    text: "It waits after its verdict until it is resumed.",
    action: "Hold",
    isHarmful: false,
  },
  resume: { title: "Resume the deploy?", text: "It goes on by its verdict.", action: "Resume", isHarmful: false },
};

function steer(what: "promote" | "hold" | "resume", on: On): Node {
  const request =
    what === "promote"
      ? { path: "/v1/deploy/promote", body: {} }
      : { path: "/v1/deploy/hold", body: { hold: what === "hold" } };
  return actButton(on, { ...STEERING[what], ...request });
}

function steps({ rollout, instances }: PoolStatus, deploy: DeployStatus): Node {
  const { phase, percent, judgeMs, leftMs, canaries } = deploy;
  const percentNow = deploy.percentNow ?? percent;
  const isJudged = phase === "canary" && leftMs !== null;
  const judged = isJudged
    ? Math.min(100, 100 * (1 - leftMs / Math.max(judgeMs, leftMs, 1)))
    : phase === "rolling"
      ? 100
      : 0;
  const rolled = phase === "rolling" && rollout !== null ? (100 * rollout.done) / Math.max(1, rollout.total) : 0;
  const step = (title: string, more: string, filled: number, isNow: boolean) =>
    h(
      "li",
      { "aria-current": isNow ? "step" : undefined },
      h("p", {}, title, h("span", { class: "dim" }, more === "" ? "" : `, ${more}`)),
      bar(filled, "magenta"),
    );
  const of = `${canaries.length} of ${instances.length}`;
  const time = isJudged ? `${age(leftMs / 1000)} left` : "";
  return card(
    "Steps",
    phase === "back" ? "being rolled back" : `canaries get ${number(percentNow)} % of the requests`,
    {},
    h(
      "ol",
      { class: "steps" },
      step(
        "1. Start the canaries",
        isJudged || phase === "rolling" ? of : "",
        isJudged || phase === "rolling" ? 100 : 30,
        phase === "loading" || (phase === "canary" && !isJudged),
      ),
      step("2. Compare them", time, judged, isJudged),
      step(
        "3. All instances",
        phase === "rolling" && rollout !== null ? `${rollout.done} of ${rollout.total}` : "",
        rolled,
        phase === "rolling",
      ),
    ),
  );
}

/** The figures of each process of an arm that are compared. */
const ARM_FIGURES: readonly {
  title: string;
  of(arm: ArmFigures): number | null;
  text(value: number): string;
  isTotal?: true;
}[] = [
  { title: "processes", of: ({ processes }) => processes, text: number, isTotal: true },
  { title: "requests", of: ({ requestsTotal }) => requestsTotal, text: number, isTotal: true },
  { title: "req/s", of: ({ requestsPerSecond }) => requestsPerSecond, text: number },
  { title: "p50", of: ({ latencyMs }) => latencyMs.p50, text: duration },
  { title: "p99", of: ({ latencyMs }) => latencyMs.p99, text: duration },
  { title: "5xx", of: ({ errorsTotal }) => errorsTotal, text: number, isTotal: true },
  { title: "CPU %", of: ({ cpuPercent }) => cpuPercent, text: number },
  { title: "RSS MB", of: ({ rssBytes }) => rssBytes, text: megabytes },
];

function arms({ arms: both }: DeployStatus): Node {
  const before = both?.old ?? null;
  const after = both?.new ?? null;
  const cell = (value: number | null, most: number, hue: string, text: (value: number) => string) => [
    numberCell(value === null ? NONE : text(value)),
    h("td", { class: "room" }, bar(value === null || most === 0 ? 0 : (100 * value) / most, hue)),
  ];
  return card(
    "Old and new",
    "a process on average",
    {},
    h(
      "table",
      { class: "arms" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("td", {}),
          h("th", { scope: "colgroup", colspan: 2, class: "cyan" }, "old"),
          h("th", { scope: "colgroup", colspan: 2, class: "magenta" }, "new"),
          h("th", { scope: "col", class: "num" }, "difference"),
        ),
      ),
      h(
        "tbody",
        {},
        ARM_FIGURES.map(({ title, of, text, isTotal }) => {
          const [a, b] = [before, after].map((arm) => (arm === null ? null : of(arm))) as [
            number | null,
            number | null,
          ];
          const most = Math.max(a ?? 0, b ?? 0);
          return h(
            "tr",
            {},
            h("th", { scope: "row" }, title),
            cell(a, most, "cyan", text),
            cell(b, most, "magenta", text),
            numberCell(isTotal ? "" : differenceText(a, b)),
          );
        }),
      ),
    ),
  );
}

/** Returns for example `+5.6 %`; empty unless both are known. */
export function differenceText(before: number | null, after: number | null): string {
  if (before === null || after === null || before === 0) return "";
  const percent = (100 * (after - before)) / before;
  const text = Math.abs(percent) < 9.95 ? percent.toFixed(1) : String(Math.round(percent));
  return `${percent > 0 ? "+" : ""}${text.replace("-", "−")} %`;
}

const VERDICT_WORDS: Record<DeployStatus["verdict"], string> = { pass: "passes", fail: "fails", wait: "waits" };

function tests({ tests: all }: DeployStatus): Node {
  return card(
    "Tests",
    "interval of the difference; red line: the limit",
    {},
    table(
      "tests",
      ["test", "difference", "limit", "interval", "verdict"],
      all.map(({ name, verdict, difference, limit, interval: range, most }) =>
        h(
          "tr",
          { key: name },
          h("th", { scope: "row" }, name),
          numberCell(difference || NONE),
          numberCell(limit, "dim"),
          h(
            "td",
            { class: "room" },
            range === undefined || (range[0] === null && range[1] === null)
              ? h("span", { class: "dim" }, "needs more requests")
              : interval({ interval: range, most, verdict }),
          ),
          h("td", {}, stateBadge(verdict, VERDICT_WORDS[verdict])),
        ),
      ),
      "nothing yet",
    ),
  );
}

function armLatency(title: string, arm: ArmFigures | null | undefined): Node {
  const isEmpty = arm == null || arm.latencyShape.every((count) => count === 0);
  return card(title, "last 10 s, ms", {}, isEmpty ? emptyText("no response yet") : latencyBars(arm.latencyShape));
}

function whatHappened(pools: readonly PoolStatus[], { events, at }: State): Node {
  const names = pools.map(({ name }) => name);
  const about = events.filter(
    ({ subject, message }) =>
      names.some((name) => subject === name || subject.startsWith(`${name}.`)) || /deploy|canar/i.test(message),
  );
  const newestFirst = about.slice(-12).reverse();
  return card(
    "What happened",
    "the newest first",
    {},
    lineList(
      "what happened",
      newestFirst.map((event) => eventRow(event, at)),
      "nothing yet",
    ),
  );
}

function history({ operations, at }: State): Node {
  return card(
    "History",
    "who changed the fleet",
    { class: "scroller" },
    table(
      "history",
      ["when", "what", "by", "result", "took", "message"],
      operations.slice(0, 50).map((entry) => historyRow(entry, at)),
      "nothing yet",
    ),
  );
}

function resultTone(result: string): string {
  return result === "done" ? "ready" : result === "under way" ? "starting" : "failed";
}

function historyRow(
  { id, at, command, target, detail, by, result, durationMs, message }: HistorySummary,
  now: number,
): Node {
  const what = [command, target, detail].filter((part) => part !== null).join(" ");
  return h(
    "tr",
    { key: `${id}` },
    h("td", {}, timeOf(at, clock(at, now))),
    h("th", { scope: "row" }, link(hrefOf({ view: "deploy", name: `${id}` }), what)),
    h("td", {}, callerText(by)),
    h("td", {}, stateBadge(resultTone(result), result)),
    numberCell(durationMs === null ? NONE : duration(durationMs)),
    h("td", { class: "dim message" }, message),
  );
}

function operation({ operation: entry, route, at, unread }: State): Node {
  if (entry === null || String(entry.id) !== route.name) return h("p", { class: "card empty" }, unread || "reading…");
  const { command, target, detail, by, result, message, pools, steps: done, stepsOmitted, durationMs } = entry;
  return h(
    "div",
    {},
    h(
      "section",
      { class: "card head", "aria-label": command },
      h(
        "div",
        { class: "title" },
        h("h1", {}, [command, target, detail].filter((part) => part !== null).join(" ")),
        stateBadge(resultTone(result), result),
      ),
      facts(
        ["when", clock(entry.at, at)],
        ["by", callerText(by)],
        durationMs !== null && ["took", duration(durationMs)],
        by.job !== null && ["job", by.job],
        by.from !== null && ["from", by.from],
      ),
      message !== "" && h("p", { class: "reason" }, message),
      pools.map((change) => h("p", { class: "dim" }, changeText(change))),
    ),
    card(
      "Steps",
      stepsOmitted === 0 ? "" : `${stepsOmitted} left out`,
      {},
      lineList(
        "steps",
        done.map(({ afterMs, text }) =>
          h("li", {}, h("time", {}, `+ ${duration(afterMs)}`), h("span", { class: "text" }, text)),
        ),
        "it has no steps",
        "tall",
      ),
    ),
    h("p", {}, link("#/deploy", "All deploys and operations")),
  );
}
