/** The address and the keys: which view is shown, and which element has the focus. */
import { follow, followView } from "./following.js";
import { hrefOf, parseRoute, type State } from "./model.js";
import { send, set, state } from "./store.js";

/** Moves the focus when a new view has been drawn. */
let moveFocus: (() => void) | undefined;
/** Whether the next view has a filter that should get the focus. */
let wantsFilter = false;

/** Called after each drawing. */
export function focusNewView(): void {
  moveFocus?.();
  moveFocus = undefined;
}

/** Returns the view that the address names. A token in it is stored for this tab, and removed from the address and its history. */
export function takeRoute(): State["route"] {
  const [, token] = /^#token=(.+)$/.exec(location.hash) ?? [];
  if (token !== undefined) {
    sessionStorage.setItem("token", decodeURIComponent(token));
    history.replaceState(null, "", "#/");
  }
  const route = parseRoute(location.hash);
  send({ type: "log", change: route.view === "log" && route.name !== "" ? { filter: `name:${route.name}` } : {} });
  return route;
}

addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  const hadToken = location.hash.startsWith("#token=");
  const before = state.route;
  const route = takeRoute();
  set({ route, pointer: null, open: [], unread: "" });
  if (hadToken) return void follow();
  followView();
  moveFocus = () => {
    const row = before.name === "" ? null : document.querySelector(`a[href="${hrefOf(before)}"]`);
    const target = wantsFilter ? document.getElementById("filter") : route.view === "overview" ? row : null;
    ((target ?? document.getElementById("main")) as HTMLElement | null)?.focus();
    if (target === null) scrollTo(0, 0);
    wantsFilter = false;
  };
});

const VIEW_KEYS: Readonly<Record<string, string>> = { o: "#/", l: "#/log", d: "#/deploy" };

/**
 * Listens to the keys.
 * @param does the actions of some keys
 */
export function listenToKeys(does: Readonly<Record<string, () => void>>): void {
  addEventListener("keydown", (event) => {
    const { key, target } = event;
    const isField = target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement;
    if (event.ctrlKey || event.metaKey || event.altKey || state.dialog !== null) return;
    if (key === "Escape" && state.route.view !== "overview") {
      if (isField && target.value !== "") return;
      location.hash = state.route.view === "deploy" && state.route.name !== "" ? "#/deploy" : "#/";
      return;
    }
    if (isField) return;
    const action = does[key] ?? keyAction(key);
    if (action === undefined) return;
    event.preventDefault();
    action();
  });
}

function keyAction(key: string): (() => void) | undefined {
  const view = VIEW_KEYS[key];
  if (view !== undefined)
    return () => {
      location.hash = view;
    };
  switch (key) {
    case "?":
      return () => set({ dialog: { kind: "keys" } });
    case "/":
      return () => {
        wantsFilter = state.route.view !== "log";
        if (wantsFilter) location.hash = "#/log";
        else document.getElementById("filter")?.focus();
      };
    case "!":
      return () => focusOn(document.querySelectorAll(".attention a"), 1);
    case "j":
    case "ArrowDown":
      return rowAction(key, 1);
    case "k":
    case "ArrowUp":
      return rowAction(key, -1);
    default:
      return undefined;
  }
}

/** Arrow keys scroll the page, unless a process has the focus. */
function rowAction(key: string, by: 1 | -1): (() => void) | undefined {
  const rows = document.querySelectorAll("tr.process a");
  const isOnRow = [...rows].includes(document.activeElement as Element);
  return rows.length > 0 && (key.length === 1 || isOnRow) ? () => focusOn(rows, by) : undefined;
}

function focusOn(elements: NodeListOf<Element>, by: 1 | -1): void {
  const at = [...elements].indexOf(document.activeElement as Element);
  const next = at < 0 ? (by > 0 ? 0 : elements.length - 1) : (at + by + elements.length) % elements.length;
  (elements[next] as HTMLElement | undefined)?.focus();
}
