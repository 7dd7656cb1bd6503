/** Maps keys to actions. */
import type { Effect, Key, Mode, Model, Notice, Step } from "./model.js";
import { SORT_KEYS, type SortKey } from "./model.js";
import { poolOf, selectable } from "./rows.js";

/** How long a notice is shown, in milliseconds. */
const NOTICE_MS = 4_000;
const PAGE = 10;
const MAX_FILTER = 40;

/** The descriptions of sort orders. */
export const SORT_WORDS: Record<SortKey, string> = {
  name: "name",
  rate: "requests per second",
  memory: "memory",
  cpu: "CPU",
  latency: "p99",
  restarts: "restarts",
};

export function pressKey(model: Model, key: Key, at: number): Step {
  if (key === "C-c") return interrupt(model);
  const { mode } = model;
  switch (mode.kind) {
    case "normal":
      return pressNormally(model, key, at);
    case "help":
      return key === "q" ? quit({ ...model, mode: { kind: "normal" } }) : inMode(model, { kind: "normal" });
    case "filter":
      return only(pressInFilter(model, key, mode.before));
    case "quit":
      return pressInQuestion(model, key);
    case "stopping":
      return only(model);
    default:
      return mode satisfies never;
  }
}

function pressNormally(model: Model, key: Key, at: number): Step {
  switch (key) {
    case "up":
    case "k":
      return only(move(model, -1));
    case "down":
    case "j":
      return only(move(model, 1));
    case "pageup":
      return only(move(model, -PAGE));
    case "pagedown":
      return only(move(model, PAGE));
    case "home":
    case "g":
      return only(move(model, Number.NEGATIVE_INFINITY));
    case "end":
    case "G":
      return only(move(model, Number.POSITIVE_INFINITY));
    case "+":
    case "=":
      return scale(model, 1, at);
    case "-":
      return scale(model, -1, at);
    case "r":
      return operate(model, "reload", "all pools", "/v1/reload", {}, at);
    case "R":
      return restart(model, at);
    case "s":
      return only(sortByNext(model, at));
    case "/":
      return inMode(model, { kind: "filter", before: model.filter });
    case "l":
      return only({ ...model, pane: model.pane === "log" ? "events" : "log" });
    case "?":
    case "h":
      return inMode(model, { kind: "help" });
    case "escape":
      return only({ ...model, filter: "", notice: null });
    case "q":
      return quit(model);
    default:
      return only(model);
  }
}

function pressInFilter(model: Model, key: Key, before: string): Model {
  switch (key) {
    case "enter":
      return { ...model, mode: { kind: "normal" } };
    case "escape":
      return { ...model, mode: { kind: "normal" }, filter: before };
    case "backspace":
      return { ...model, filter: [...model.filter].slice(0, -1).join("") };
    case "C-u":
      return { ...model, filter: "" };
    case "up":
      return move(model, -1);
    case "down":
      return move(model, 1);
    default:
      // Names contain only these characters.
      return /^[\w.-]$/.test(key) && model.filter.length < MAX_FILTER
        ? { ...model, filter: model.filter + key }
        : model;
  }
}

function pressInQuestion(model: Model, key: Key): Step {
  switch (key) {
    case "y":
    case "Y":
      return stop(model);
    case "n":
    case "N":
      return { model, effects: [{ type: "quit" }] };
    case "escape":
      return inMode(model, { kind: "normal" });
    default:
      return only(model);
  }
}

function quit(model: Model): Step {
  return model.ownership === "started" ? inMode(model, { kind: "quit" }) : { model, effects: [{ type: "quit" }] };
}

/** Ctrl-C stops a fleet that was started here, as for any foreground program; a second one stops it at once. */
function interrupt(model: Model): Step {
  return model.ownership === "started" ? stop(model) : { model, effects: [{ type: "quit" }] };
}

function stop(model: Model): Step {
  return { model: { ...model, mode: { kind: "stopping" }, notice: null }, effects: [{ type: "stop" }] };
}

function move(model: Model, by: number): Model {
  const names = selectable(model);
  const at = names.indexOf(model.selected ?? "");
  const next = Math.min(Math.max(at + by, 0), names.length - 1);
  return { ...model, selected: names[next] ?? null };
}

function scale(model: Model, by: 1 | -1, at: number): Step {
  const { selected, status, scaling } = model;
  if (status === null || selected === null) return only(model);
  const name = poolOf(selected);
  const pool = status.pools.find((each) => each.name === name);
  if (pool === undefined) return only(withNotice(model, "select a pool, or one of its instances, to scale it", at));
  const from = scaling?.pool === name ? scaling.wanted : pool.wanted;
  const wanted = Math.max(0, from + by);
  if (wanted === from) return only(withNotice(model, `${name} has no instance left`, at));
  const path = `/v1/pools/${encodeURIComponent(name)}/scale`;
  const step = operate(model, `scale ${name} to ${wanted}`, name, path, { instances: wanted }, at);
  return { ...step, model: { ...step.model, scaling: { pool: name, wanted } } };
}

function restart(model: Model, at: number): Step {
  const { selected } = model;
  if (selected === null) return only(model);
  const isTemplate = model.status?.pools.some(({ templates }) => templates.some(({ name }) => name === selected));
  if (isTemplate) return only(withNotice(model, "a template is not restarted: a reload (r) makes a new one", at));
  return operate(model, `restart ${selected}`, selected, "/v1/restart", { target: selected }, at);
}

/** Requests an operation. An earlier operation on the same target is no longer shown. */
function operate(model: Model, label: string, target: string, path: string, body: object, at: number): Step {
  if (model.connection.state !== "up") return only(withNotice(model, "no connection to the supervisor", at));
  const id = model.nextOperation;
  const effect: Effect = { type: "operate", id, path, body };
  const others = model.operations.filter((each) => each.target !== target);
  return {
    model: {
      ...model,
      nextOperation: id + 1,
      operations: [...others, { id, label, target }],
      notice: { text: `${label} …`, tone: "info", until: null },
    },
    effects: [effect],
  };
}

function sortByNext(model: Model, at: number): Model {
  const next = SORT_KEYS[(SORT_KEYS.indexOf(model.sort) + 1) % SORT_KEYS.length] ?? "name";
  return withNotice({ ...model, sort: next }, `sorted by ${SORT_WORDS[next]}`, at);
}

function withNotice(model: Model, text: string, at: number, tone: Notice["tone"] = "info"): Model {
  return { ...model, notice: { text, tone, until: at + NOTICE_MS } };
}

function inMode(model: Model, mode: Mode): Step {
  return only({ ...model, mode });
}

function only(model: Model): Step {
  return { model, effects: [] };
}
