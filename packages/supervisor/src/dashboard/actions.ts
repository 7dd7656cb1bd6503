/** The operator's actions on the fleet, each after a question. Pure. */

import { sortKeys } from "./columns.js";
import { type Command, commandOf } from "./command-line.js";
import type { Effect, LogView, Mode, Model, Notice, Step } from "./model.js";
import { poolOf, processOf } from "./rows.js";

/** How long a notice is shown, in milliseconds. */
const NOTICE_MS = 4_000;
const MAX_TYPED = 50;

type Question = Extract<Mode, { kind: "question" }>;

/** Asks before an action. */
function ask(model: Model, question: Omit<Question, "kind">, at: number): Step {
  if (model.connection.state !== "up") return only(withNotice(model, "no connection to the supervisor", at));
  return only({ ...model, mode: { kind: "question", ...question }, notice: null });
}

export function pressInQuestion(model: Model, question: Question, key: string, at: number): Step {
  switch (key) {
    case "y":
    case "Y":
      return operate({ ...model, mode: { kind: "normal" } }, question, at);
    case "+":
    case "=":
      return question.scaling === undefined ? only(model) : scale(model, 1, at);
    case "-":
      return question.scaling === undefined ? only(model) : scale(model, -1, at);
    case "n":
    case "N":
    case "q":
    case "escape":
      return only(withNotice({ ...model, mode: { kind: "normal" } }, "nothing was done", at));
    default:
      return only(model);
  }
}

export function scale(model: Model, by: 1 | -1, at: number): Step {
  const { selected, status, scaling, mode } = model;
  if (status === null || selected === null) return only(model);
  const asked = mode.kind === "question" ? mode.scaling : undefined;
  const name = asked?.pool ?? poolOf(selected);
  const pool = status.pools.find((each) => each.name === name);
  if (pool === undefined) return only(withNotice(model, "select a pool, or one of its instances, to scale it", at));
  const from = asked?.wanted ?? (scaling?.pool === name ? scaling.wanted : pool.wanted);
  const wanted = Math.max(0, from + by);
  if (wanted === from) return only(withNotice(model, `${name} has no instance left`, at));
  const text = `Scale ${name} from ${pool.wanted} to ${wanted} ${wanted === 1 ? "instance" : "instances"}`;
  const operation = { path: `/v1/pools/${encodeURIComponent(name)}/scale`, body: { instances: wanted } };
  return ask(
    model,
    { text, operation, label: `scale ${name} to ${wanted}`, target: name, scaling: { pool: name, wanted } },
    at,
  );
}

export function reload(model: Model, at: number): Step {
  const operation = { path: "/v1/reload", body: {} };
  return ask(model, { text: "Reload all pools", operation, label: "reload", target: "all pools" }, at);
}

export function restart(model: Model, at: number): Step {
  const { selected } = model;
  if (selected === null) return only(model);
  const isTemplate = model.status?.pools.some(({ templates }) => templates.some(({ name }) => name === selected));
  if (isTemplate) return only(withNotice(model, "a template is not restarted: a reload (r) makes a new one", at));
  const operation = { path: "/v1/restart", body: { target: selected } };
  return ask(model, { text: `Restart ${selected}`, operation, label: `restart ${selected}`, target: selected }, at);
}

/** Drains the selected instance, or puts it back into turn. */
export function drain(model: Model, at: number): Step {
  const process = processOf(model.status, model.selected);
  if (process === undefined || !("generation" in process))
    return only(withNotice(model, "select an instance to drain it", at));
  const { name } = process;
  const isDrained = process.outOfTurn === "drained";
  const what = isDrained ? "undrain" : "drain";
  const operation = {
    path: `/v1/instances/${encodeURIComponent(name)}/${what}`,
    body: isDrained ? {} : { wait: true },
  };
  const text = isDrained ? `Take ${name} back into turn` : `Drain ${name}: no new requests`;
  return ask(model, { text, operation, label: `${what} ${name}`, target: name }, at);
}

/** Steers the deploy in progress. */
export function steer(model: Model, what: "promote" | "rollback" | "hold", at: number): Step {
  const deploy = model.status?.pools.find((pool) => pool.deploy != null)?.deploy ?? null;
  if (deploy === null) return only(withNotice(model, "no deploy is under way", at));
  const isHeld = what === "hold" && deploy.isHeld;
  const command = commandOf(isHeld ? "resume" : what, model);
  return command.do === "operate" ? askFor(model, command, at) : only(model);
}

/** Writes a profile of the selected process into a file. */
export function profile(model: Model, at: number): Step {
  const process = processOf(model.status, model.selected);
  if (process === undefined) return only(withNotice(model, "select an instance or a balancer to profile it", at));
  const command = commandOf(`profile ${process.name}`, model);
  return command.do === "operate" ? askFor(model, command, at) : only(model);
}

function askFor(model: Model, command: Extract<Command, { do: "operate" }>, at: number): Step {
  const { question: text, label, target, path, body } = command;
  return ask(model, { text, operation: { path, body }, label, target }, at);
}

/** Runs a typed command. The caller handles `keys`. */
export function runCommand(before: Model, text: string, at: number): Step & { keys: readonly string[] } {
  const typed =
    text.trim() === "" ? before.typed : [...before.typed.filter((each) => each !== text), text].slice(-MAX_TYPED);
  const model: Model = { ...before, mode: { kind: "normal" }, typed };
  const command = commandOf(text, model);
  const done = (step: Step) => ({ ...step, keys: [] });
  switch (command.do) {
    case "operate":
      return done(askFor(model, command, at));
    case "filter":
      return done(only({ ...model, view: "overview", filter: command.text }));
    case "sort": {
      const key = sortKeys().find((each) => each === command.key || each.endsWith(`.${command.key}`));
      const found = key ?? sortKeys().find((each) => each.toLowerCase().startsWith(command.key.toLowerCase()));
      if (found === undefined) return done(only(withNotice(model, `no column ${command.key}`, at, "bad")));
      return done(only({ ...model, view: "overview", sort: { key: found, reversed: false } }));
    }
    case "log":
      return done(only(openLog(model, command.name, "all")));
    case "problem":
      return done(only(withNotice(model, command.text, at, "bad")));
    case "keys":
      return { ...only(model), keys: command.keys };
    default:
      return command satisfies never;
  }
}

export function openLog(model: Model, name: string | null, level: LogView["level"]): Model {
  const isSame = model.log.name === name;
  const lines = isSame ? model.log.lines : [];
  const log: LogView = {
    ...model.log,
    name,
    lines,
    loaded: isSame && model.log.loaded,
    ...{ level, opened: level, search: "" },
    follows: true,
    scrolled: 0,
  };
  return { ...model, view: "log", log };
}

/** Requests an operation. An earlier operation on the same target is no longer shown. */
function operate(model: Model, question: Question, at: number): Step {
  if (model.connection.state !== "up") return only(withNotice(model, "no connection to the supervisor", at));
  const { label, target, operation, scaling } = question;
  const id = model.nextOperation;
  const effect: Effect = { type: "operate", id, ...operation };
  const others = model.operations.filter((each) => each.target !== target);
  return {
    model: {
      ...model,
      nextOperation: id + 1,
      operations: [...others, { id, label, target, request: operation }],
      notice: { text: `${label} …`, tone: "info", until: null },
      scaling: scaling ?? model.scaling,
    },
    effects: [effect],
  };
}

export function withNotice(model: Model, text: string, at: number, tone: Notice["tone"] = "info"): Model {
  return { ...model, notice: { text, tone, until: at + NOTICE_MS } };
}

export function only(model: Model): Step {
  return { model, effects: [] };
}
