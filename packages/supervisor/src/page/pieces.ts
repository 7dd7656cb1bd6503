/** The parts that several views use: cards, states, buttons for actions, lists of events and lines. Pure. */
import type { BalancerStatus, FleetEvent, InstanceStatus, LogLine, PoolStatus, Status } from "../control/api.js";
import { type ChartOptions, chart } from "./charts.js";
import { type AttributeValue, type Child, h, type Node } from "./dom.js";
import { clock, type Tone, toneOf } from "./format.js";
import { type Change, type Level, levelOf, type Message, type Question, type State, shown } from "./model.js";

/** The actions of views. */
export interface On {
  send(message: Message): void;
  set(change: Change): void;
  /** Asks before an action. */
  ask(question: Question): void;
  decide(does: boolean): void;
  download(): void;
  /** Loads the page with another token. */
  enter(token: string): void;
}

export type Process = InstanceStatus | BalancerStatus;

/** The name of the series of all balancers together. */
export const BALANCERS = "balancer";

export function isInstance(process: Process): process is InstanceStatus {
  return "generation" in process;
}

/** Returns a process and its pool; undefined if there is none with that name. */
export function findProcess(
  { pools, balancers }: Status,
  name: string,
): { process: Process; pool: PoolStatus | null } | undefined {
  for (const pool of pools) {
    const process = pool.instances.find((each) => each.name === name);
    if (process !== undefined) return { process, pool };
  }
  const balancer = balancers.find((each) => each.name === name);
  return balancer && { process: balancer, pool: null };
}

/** Returns the word for a process's state: a ready one without new requests is `drained` or `ejected`. */
export function stateOf(process: Process): string {
  if (process.stalledMs !== null) return "stalled";
  const turn = isInstance(process) ? process.outOfTurn : null;
  return process.state === "ready" && turn !== null ? turn : process.state;
}

/** A sign, which does not depend on colour, and a word. */
const SIGNS: Record<Tone, string> = { good: "●", busy: "◐", bad: "▲", canary: "◆", plain: "○" };

export function stateBadge(state: string, word = state): Node {
  const tone = toneOf(state);
  return h(
    "span",
    { class: `state ${tone}` },
    h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[tone]),
    h("span", { class: tone === "good" ? "word usual" : "word" }, word),
  );
}

export function card(title: string, beside: Child, attributes: Record<string, string>, ...content: Child[]): Node {
  const { class: more = "", ...rest } = attributes;
  return h(
    "section",
    { key: title, class: `card ${more}`, "aria-label": title, ...rest },
    h("header", {}, h("h2", {}, title), h("span", { class: "beside" }, beside)),
    ...content,
  );
}

/** Returns a chart for the current zoom. */
export function chartOf(
  state: State,
  on: On,
  options: Pick<ChartOptions, "title" | "values" | "hue" | "text" | "beside" | "besideTitle" | "points"> & {
    /** The process whose deaths are marked; default: all. */
    name?: string;
  },
): Node {
  const series = shown(state);
  const { name, ...rest } = options;
  const marks = series.marks.filter((mark) => mark.kind !== "death" || name === undefined || mark.name === name);
  return chart({
    ...rest,
    ...{ now: series.now, everyMs: series.everyMs, marks, pointer: state.pointer },
    onPointer: (pointer) => on.set({ pointer }),
  });
}

export function button(content: Child, onclick: () => void, attributes: Record<string, AttributeValue> = {}): Node {
  return h("button", { type: "button", onclick, ...attributes }, content);
}

export function actButton(on: On, question: Question, kind = ""): Node {
  return button(question.action, () => on.ask(question), {
    class: question.isHarmful ? `harmful ${kind}` : kind,
  });
}

export function link(href: string, ...content: Child[]): Node {
  return h("a", { href }, ...content);
}

const LEVEL_SIGNS: Record<Level, string> = { info: "", warn: "!", error: "✗" };

function levelSign(level: Level): Node | false {
  if (level === "info") return false;
  return h(
    "span",
    { class: "level" },
    h("span", { "aria-hidden": "true" }, LEVEL_SIGNS[level]),
    h("span", { class: "unseen" }, level),
  );
}

/** Returns a row of a list of log lines. */
export function logRow(line: LogLine, now: number): Node {
  const level = levelOf(line);
  const about = line.subject ?? line.name;
  const text = line.subject === undefined ? line.text : line.text.replace(`${line.subject} `, "");
  return row(`${line.sequence}`, level, line.at, now, about, text);
}

export function eventRow({ sequence, at, level, subject, message }: FleetEvent, now: number): Node {
  return row(`${sequence}`, level, at, now, subject, message);
}

function row(key: string, level: Level, at: number, now: number, about: string, text: string): Node {
  return lineOf(key, timeOf(at, clock(at, now)), about, [levelSign(level), text], level);
}

/** Returns a line of a list: its time, its subject, and its text. */
export function lineOf(key: string, time: Node, about: Child, text: Child, kind = ""): Node {
  return h("li", { key, class: kind }, time, h("span", { class: "about" }, about), h("span", { class: "text" }, text));
}

export function timeOf(at: number, text: string): Node {
  return h("time", { datetime: new Date(at).toISOString() }, text);
}

/** Returns a table cell with a number. */
export function numberCell(text: string, tone = ""): Node {
  return h("td", { class: `num ${tone}` }, text);
}

/** Returns a list of facts: names and values. */
export function facts(...entries: (readonly [name: string, value: Child] | false)[]): Node {
  return h(
    "dl",
    { class: "facts" },
    entries.map((entry) => entry && h("div", {}, h("dt", {}, entry[0]), h("dd", {}, entry[1]))),
  );
}

/**
 * Returns a table with a heading for each column.
 * @param empty the text in place of a table without rows
 */
export function table(kind: string, titles: readonly string[], rows: readonly Node[], empty = ""): Node {
  if (rows.length === 0) return emptyText(empty);
  return h(
    "table",
    { class: kind },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        titles.map((title) => h("th", { scope: "col" }, title)),
      ),
    ),
    h("tbody", {}, rows),
  );
}

/**
 * Returns a list of lines that can be scrolled with the keyboard.
 * @param empty the text in place of a list without lines
 */
export function lineList(label: string, rows: readonly Node[], empty = "", kind = ""): Node {
  if (rows.length === 0) return emptyText(empty);
  return h("ol", { class: `lines ${kind}`, tabindex: 0, "aria-label": label }, rows);
}

export function textBlock(label: string, lines: readonly string[]): Node {
  return h("pre", { tabindex: 0, "aria-label": label }, lines.join("\n"));
}

export function emptyText(text: string): Node {
  return h("p", { class: "empty" }, text);
}

// Questions before actions that change the fleet:

export function restartQuestion(name: string): Question {
  return {
    title: `Restart ${name}?`,
    text: "It finishes its requests first. Others take the new ones.",
    ...{ action: "Restart", isHarmful: true, path: "/v1/restart", body: { target: name } },
  };
}

export function turnQuestion(name: string, isDrained: boolean): Question {
  const path = `/v1/instances/${encodeURIComponent(name)}/${isDrained ? "undrain" : "drain"}`;
  return isDrained
    ? { title: `Give ${name} requests again?`, text: "", action: "Undrain", isHarmful: false, path, body: {} }
    : {
        title: `Drain ${name}?`,
        text: "It finishes its requests and gets no new ones until it is undrained.",
        ...{ action: "Drain", isHarmful: true, path, body: {} },
      };
}

export function scaleQuestion(pool: PoolStatus, by: 1 | -1): Question {
  const next = pool.wanted + by;
  return {
    title: `Run ${next} instances of ${pool.name}?`,
    text: `It has ${pool.wanted} now.`,
    ...{ action: by > 0 ? "+ 1" : "− 1", isHarmful: by < 0 },
    ...{ path: `/v1/pools/${encodeURIComponent(pool.name)}/scale`, body: { by } },
  };
}

export function reloadQuestion(pool: string | null): Question {
  return {
    title: pool === null ? "Reload all pools?" : `Reload ${pool}?`,
    text: "The configuration and the code are read again. If the new version does not start, the old one keeps serving.",
    ...{ action: "Reload", isHarmful: true, path: "/v1/reload", body: pool === null ? {} : { pool } },
  };
}

export const ROLLBACK: Question = {
  title: "Roll back?",
  text: "The version before the last deploy serves again; a deploy under way is rolled back.",
  ...{ action: "Roll back", isHarmful: true, path: "/v1/rollback", body: {} },
};
