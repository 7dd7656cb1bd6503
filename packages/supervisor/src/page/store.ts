/** The page's state, and the only way to change it. */
import { type Change, FIRST, type Message, reduce, type State } from "./model.js";

export let state: State = FIRST;

let changed = (_: Message): void => {};

/** Calls `does` after each change. */
export function onChange(does: (message: Message) => void): void {
  changed = does;
}

export function send(message: Message): void {
  state = reduce(state, message);
  changed(message);
}

export function set(change: Change): void {
  send({ type: "set", change });
}
