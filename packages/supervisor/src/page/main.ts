/** Runs the page: draws it after changes, and runs the actions of its buttons. */
import { show } from "./dom.js";
import { connection, follow, isFollowing, refresh, refreshHistory, releaseHeld, stopFollowing } from "./following.js";
import { failingOf, frame, type OnFrame } from "./frame.js";
import { focusNewView, listenToKeys, takeRoute } from "./keys.js";
import { filtered, type State } from "./model.js";
import { onChange, send, set, state } from "./store.js";

/** Nobody is looking at a page that has been hidden for this long, in milliseconds. */
const HIDDEN_MS = 30_000;

// Drawing:

const root = document.getElementById("app") as HTMLElement;
let isDrawing = false;
const atEnd = new WeakSet<Element>();

onChange((message) => {
  if (message.type === "log") releaseHeld();
  if (isDrawing || document.hidden) return;
  isDrawing = true;
  requestAnimationFrame(draw);
});

function draw(): void {
  isDrawing = false;
  const known = new Set(root.querySelectorAll(".follows"));
  for (const list of known) {
    if (list.scrollTop + list.clientHeight >= list.scrollHeight - 8) atEnd.add(list);
    else atEnd.delete(list);
  }
  show(root, frame(state, on, theme));
  for (const list of root.querySelectorAll(".follows"))
    if (!known.has(list) || (atEnd.has(list) && !state.log.isPaused)) list.scrollTop = list.scrollHeight;
  const dialog = document.getElementById("dialog") as HTMLDialogElement;
  if (state.dialog !== null && !dialog.open) dialog.showModal();
  else if (state.dialog === null && dialog.open) dialog.close();
  document.title = titleOf(state);
  focusNewView();
}

function titleOf({ status, link }: State): string {
  if (status === null) return "Paceline";
  const failing = failingOf(status);
  const sign = link.state === "lost" ? "? " : failing > 0 ? `▲ ${failing} ` : "";
  return `${sign}${status.name} · Paceline`;
}

// Colours:

let theme = localStorage.getItem("theme") ?? "system";
document.documentElement.dataset.theme = theme;

function changeTheme(): void {
  theme = { system: "dark", dark: "light" }[theme] ?? "system";
  localStorage.setItem("theme", theme);
  document.documentElement.dataset.theme = theme;
  set({});
}

// The actions of the views:

const on: OnFrame = {
  ...{ send, set, theme: changeTheme },
  ask: (question) => set({ dialog: { kind: "question", question } }),
  decide(does) {
    const { dialog } = state;
    if (dialog === null) return;
    set({ dialog: null });
    if (does && dialog.kind === "question") void operate(dialog.question.path, dialog.question.body);
  },
  enter(token) {
    sessionStorage.setItem("token", token);
    set({ link: { state: "connecting" } });
    void follow();
  },
  download() {
    const text = filtered(state.log).lines.map(
      ({ at, name, text }) => `${new Date(at).toISOString()} ${name} ${text}\n`,
    );
    const url = URL.createObjectURL(new Blob(text, { type: "text/plain" }));
    const a = document.createElement("a");
    a.href = url;
    a.download = `${state.status?.name ?? "paceline"}.log`;
    a.click();
    URL.revokeObjectURL(url);
  },
  zoom() {
    const zoom = state.zoom === "seconds" ? "minutes" : "seconds";
    set({ zoom });
    void refreshHistory(zoom);
  },
};

async function operate(path: string, body: object): Promise<void> {
  const say = (text: string, isBad = false) => set({ notice: { text, isBad } });
  say("asked");
  try {
    const result = await connection.operate(path, body, (text) => say(text));
    say(result.message, !result.ok);
  } catch (error) {
    say((error as Error).message, true);
  }
  void refresh("operations");
}

let hiding: ReturnType<typeof setTimeout> | undefined;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(stopFollowing, HIDDEN_MS);
  else if (isFollowing()) set({});
  else void follow();
});

listenToKeys({ t: changeTheme, z: on.zoom });
set({ route: takeRoute() });
void follow();
