/** Maps keys and the mouse to actions. Pure. */

import { isFailing } from "../core/words.js";
import {
  drain,
  only,
  openLog,
  pressInQuestion,
  profile,
  reload,
  restart,
  runCommand,
  scale,
  steer,
  withNotice,
} from "./actions.js";
import { sortKeys, titleOf } from "./columns.js";
import { suggestionsFor } from "./command-line.js";
import { helpPages } from "./help.js";
import { ZOOMS } from "./history.js";
import type { Key, Mode, Model, MousePress, Step, View } from "./model.js";
import { overviewOf } from "./overview.js";
import { poolRows, selectable } from "./rows.js";
import { screenOf } from "./view.js";
import { copyToClipboard, pressInDeaths, pressInLog } from "./view-keys.js";

const PAGE = 10;
const MAX_TEXT = 400;

/** A key that comes within this time after another one, in milliseconds, belongs to a text that was sent as a whole. */
const TOGETHER_MS = 150;
const CONFIRMING = new Set<Key>(["y", "Y", "n", "N", "q"]);

/** Returns whether a key would answer a question that nobody can have read yet. */
export function isTooSoon({ mode, pressedAt }: Pick<Model, "mode" | "pressedAt">, key: Key, at: number): boolean {
  const asks = mode.kind === "question" || mode.kind === "quit";
  return asks && CONFIRMING.has(key) && Math.abs(at - pressedAt) < TOGETHER_MS;
}

export function pressKey(model: Model, key: Key, at: number): Step {
  if (key === "C-c") return interrupt(model);
  const { mode } = model;
  switch (mode.kind) {
    case "normal":
      return pressNormally(model, key, at);
    case "filter":
    case "search":
      return only(pressInText(model, mode, key));
    case "command":
      return pressInCommand(model, mode, key, at);
    case "question":
      return pressInQuestion(model, mode, key, at);
    case "quit":
      return pressInQuit(model, key);
    case "stopping":
      return only(model);
    default:
      return mode satisfies never;
  }
}

/** Inserts pasted text into a text field; without one, it has no effect. */
export function paste(model: Model, text: string, at: number): Step {
  const { mode } = model;
  // A line break would run a command that nobody has read.
  const [line = ""] = text.split(/[\r\n]/);
  const typed = [...line].filter((character) => character >= " " && character !== "\x7f").slice(0, MAX_TEXT);
  if (mode.kind === "filter" || mode.kind === "search" || mode.kind === "command")
    return typed.reduce<Step>((step, character) => pressKey(step.model, character, at), only(model));
  return only(withNotice(model, "pasted text does nothing here", at));
}

const MORE_HELP = new Set(["down", "j", "pagedown", "space", " "]);

function pressNormally(model: Model, key: Key, at: number): Step {
  if (model.view === "help") {
    const hasMore = model.helpPage + 1 < helpPages(model.ownership, model.size.width, model.size.height - 1);
    if (hasMore && MORE_HELP.has(key)) return only({ ...model, helpPage: model.helpPage + 1 });
    return key === "q" ? quit(model) : only({ ...model, view: model.helpFrom });
  }
  if (model.view === "log") {
    const step = pressInLog(model, key, at);
    if (step !== undefined) return step;
  }
  if (model.view === "canary") {
    const what = ({ p: "promote", b: "rollback", h: "hold", space: "hold", " ": "hold" } as const)[key as "p"];
    if (what !== undefined) return steer(model, what, at);
  }
  if (model.view === "deaths") {
    const deaths = pressInDeaths(model, key);
    if (deaths !== undefined) return deaths;
  }
  return pressAnywhere(model, key, at);
}

function pressAnywhere(model: Model, key: Key, at: number): Step {
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
    case "enter":
      return opens(model, "detail");
    case "l":
      return only(openLog(model, model.selected, "all"));
    case "e":
      return only(openLog(model, null, "error"));
    case "d":
      return opens(model, "deaths");
    case "c":
      return opens(model, "canary");
    case "!":
      return only(nextFailing(model, at));
    case "+":
    case "=":
      return scale(model, 1, at);
    case "-":
      return scale(model, -1, at);
    case "r":
      return reload(model, at);
    case "R":
      return restart(model, at);
    case "K":
      return drain(model, at);
    case "P":
      return profile(model, at);
    case "s":
      return only(sortBy(model, undefined, at));
    case "[":
    case "]":
      return only(zoomBy(model, key === "[" ? 1 : -1, at));
    case " ":
    case "space":
      return only(pause(model));
    case "m":
      return mouse(model, at);
    case "y":
      return copyToClipboard(model, at);
    case "/":
      return only({ ...model, view: "overview", mode: { kind: "filter", before: model.filter } });
    case ":":
      return only({ ...model, mode: { kind: "command", text: "", at: 0 } });
    case "?":
      return only({ ...model, view: "help", helpPage: 0, helpFrom: model.view });
    case "escape":
      if (model.view !== "overview") return only({ ...model, view: "overview", notice: null });
      return only({ ...model, filter: "", notice: null });
    case "q":
      return quit(model);
    default:
      return /^[1-9]$/.test(key) ? only(sortBy(model, Number(key), at)) : only(model);
  }
}

function opens(model: Model, view: View): Step {
  const next = { ...model, view: model.view === view ? ("overview" as const) : view };
  return { model: next, effects: next.view === "deaths" || next.view === "detail" ? [{ type: "loadDeaths" }] : [] };
}

function pressInText(model: Model, mode: Extract<Mode, { kind: "filter" | "search" }>, key: Key): Model {
  const text = mode.kind === "filter" ? model.filter : model.log.search;
  const put = (next: string): Model =>
    mode.kind === "filter" ? focused({ ...model, filter: next }) : { ...model, log: { ...model.log, search: next } };
  const normal = { kind: "normal" } as const;
  if (key === "enter") return { ...put(text), mode: normal };
  if (key === "escape") return { ...put(mode.before), mode: normal };
  if (mode.kind === "filter" && (key === "up" || key === "down")) return move(model, key === "up" ? -1 : 1);
  const edited = editedBy(text, key);
  return edited === undefined ? model : put(edited);
}

/** Selects the first match, unless the selected row is a match. */
function focused(model: Model): Model {
  const names = poolRows(model).flatMap(({ name }) => (name === null ? [] : [name]));
  if (model.selected !== null && names.includes(model.selected)) return model;
  return { ...model, selected: names.find((name) => name.includes(".")) ?? names[0] ?? model.selected };
}

/** Returns the text after a key; undefined if the key does not edit text. */
function editedBy(text: string, key: Key): string | undefined {
  if (key === "backspace") return [...text].slice(0, -1).join("");
  if (key === "C-u") return "";
  if (key === "C-w") return text.replace(/\S*\s*$/, "");
  const typed = key === "space" ? " " : key;
  return [...typed].length === 1 && text.length < MAX_TEXT ? text + typed : undefined;
}

function pressInCommand(model: Model, mode: Extract<Mode, { kind: "command" }>, key: Key, at: number): Step {
  const put = (text: string, chosen = 0): Step => only({ ...model, mode: { kind: "command", text, at: chosen } });
  const offered = suggestionsFor(mode.text, model);
  switch (key) {
    case "escape":
      return only({ ...model, mode: { kind: "normal" } });
    case "backspace":
      return mode.text === "" ? only({ ...model, mode: { kind: "normal" } }) : put(editedBy(mode.text, key) ?? "");
    case "tab": {
      const chosen = offered[Math.min(mode.at, offered.length - 1)];
      return chosen === undefined ? only(model) : put(`${chosen.text} `);
    }
    case "down":
      return put(mode.text, Math.max(0, Math.min(offered.length - 1, mode.at + 1)));
    case "up": {
      const last = model.typed.at(-1);
      return mode.text === "" && last !== undefined ? put(last) : put(mode.text, Math.max(0, mode.at - 1));
    }
    case "enter": {
      const { keys, ...step } = runCommand(model, mode.at > 0 ? (offered[mode.at]?.text ?? mode.text) : mode.text, at);
      return keys.reduce<Step>((before, each) => pressKey(before.model, each, at), step);
    }
    default: {
      const edited = editedBy(mode.text, key);
      return edited === undefined ? only(model) : put(edited);
    }
  }
}

function pressInQuit(model: Model, key: Key): Step {
  switch (key) {
    case "y":
    case "Y":
      return stop(model);
    case "n":
    case "N":
      return { model, effects: [{ type: "quit" }] };
    case "escape":
      return only({ ...model, mode: { kind: "normal" } });
    default:
      return only(model);
  }
}

function quit(model: Model): Step {
  if (model.ownership === "started") return only({ ...model, mode: { kind: "quit" } });
  return { model, effects: [{ type: "quit" }] };
}

/** Ctrl-C stops a fleet that this program has started, like any foreground program. A second one stops it at once. */
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

function nextFailing(model: Model, at: number): Model {
  const failing = poolRows(model).flatMap((row) =>
    row.kind === "process" && isFailing(row.process) ? [row.name] : [],
  );
  const next = failing[(failing.indexOf(model.selected ?? "") + 1) % Math.max(1, failing.length)];
  return next === undefined ? withNotice(model, "nothing fails", at) : { ...model, selected: next };
}

/** @param position the column's position on the screen; undefined: the next one */
function sortBy(model: Model, position: number | undefined, at: number): Model {
  const shown = (overviewOf(model, model.size.width, model.size.height).head?.columns ?? [])
    .map(({ key }) => key)
    .filter((key) => sortKeys().includes(key));
  const keys = position === undefined ? sortKeys() : shown;
  const index = position === undefined ? (keys.indexOf(model.sort.key) + 1) % keys.length : position - 1;
  const key = keys[index];
  if (key === undefined) return model;
  const reversed = position !== undefined && key === model.sort.key && !model.sort.reversed;
  const sorted = { ...model, sort: { key, reversed } };
  return withNotice(sorted, `sorted by ${titleOf(key)}${reversed ? ", reversed" : ""}`, at);
}

function zoomBy(model: Model, by: number, at: number): Model {
  const zoom = Math.max(0, Math.min(ZOOMS.length - 1, model.zoom + by));
  return withNotice({ ...model, zoom }, `charts show the last ${ZOOMS[zoom]?.title}`, at);
}

function pause(model: Model): Model {
  if (model.paused !== null) return { ...model, paused: null };
  const { status, at, history, events, deaths, connection } = model;
  return { ...model, paused: { status, at, history, events, deaths, connection } };
}

function mouse(model: Model, at: number): Step {
  const on = !model.mouse;
  const text = on ? "the mouse selects; m lets the terminal select text again" : "the terminal selects text";
  return { model: withNotice({ ...model, mouse: on }, text, at), effects: [{ type: "mouse", on }] };
}

/** Handles the mouse. A press selects a row, or opens the selected one; on a title it sorts. The wheel moves the selection. */
export function pressMouse(model: Model, { kind, x, y }: MousePress, at: number): Step {
  if (model.mode.kind !== "normal") return only(model);
  if (kind !== "press") {
    const key = kind === "wheelup" ? "up" : "down";
    return [1, 2, 3].reduce<Step>((step) => pressKey(step.model, key, at), only(model));
  }
  const { names, head } = screenOf(model);
  if (head !== null && y === head.y) {
    const column = head.columns.find(({ end }) => x < end);
    if (column === undefined || !sortKeys().includes(column.key)) return only(model);
    const reversed = column.key === model.sort.key && !model.sort.reversed;
    return only({ ...model, sort: { key: column.key, reversed } });
  }
  const name = names[y] ?? null;
  if (name === null) return only(model);
  return name === model.selected ? pressKey(model, "enter", at) : only({ ...model, selected: name });
}
