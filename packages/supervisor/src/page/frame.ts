/** The parts around every view: the head with the fleet's state, messages, the form for the token, and dialogs. Pure. */
import type { Status } from "../control/api.js";
import { hasStopped, isFailing } from "../core/words.js";
import { death } from "./death.js";
import { deploy } from "./deploy.js";
import { type Child, h, type Node } from "./dom.js";
import { clock } from "./format.js";
import { instance } from "./instance.js";
import { log } from "./log.js";
import type { Dialog, State, View } from "./model.js";
import { overview } from "./overview.js";
import { actButton, button, type On, reloadQuestion, stateBadge } from "./pieces.js";

/** The actions of the frame, in addition to those of views. */
export interface OnFrame extends On {
  theme(): void;
  zoom(): void;
}

export function frame(state: State, on: OnFrame, theme: string): Child[] {
  return [
    h("a", { class: "skip", href: "#main" }, "Skip to the content"),
    head(state, on, theme),
    h("main", { id: "main", tabindex: -1, class: state.link.state === "lost" ? "faded" : "" }, content(state, on)),
    h("p", { class: "unseen", role: "log", "aria-live": "polite" }, lastError(state)),
    notice(state, on),
    dialog(state.dialog, on),
  ];
}

function content(state: State, on: On): Child {
  const { status, link, route } = state;
  if (link.state === "locked") return locked(link.reason, on);
  if (status === null) return h("p", { class: "card empty" }, link.state === "lost" ? link.reason : "connecting…");
  switch (route.view) {
    case "overview":
      return overview(state, status, on);
    case "instance":
      return instance(state, status, on);
    case "log":
      return log(state, on);
    case "deploy":
      return deploy(state, status, on);
    case "death":
      return death(state, on);
    default:
      return route.view satisfies never;
  }
}

const VIEWS: readonly { view: View; title: string; href: string; key: string }[] = [
  { view: "overview", title: "Overview", href: "#/", key: "o" },
  { view: "log", title: "Log", href: "#/log", key: "l" },
  { view: "deploy", title: "Deploy", href: "#/deploy", key: "d" },
];

function head(state: State, { theme: changeTheme, zoom: changeZoom, ...on }: OnFrame, theme: string): Node {
  const { status, at, zoom, route, mayWrite } = state;
  const span = zoom === "seconds" ? "5 min" : "1 day";
  return h(
    "header",
    { class: "top" },
    h("strong", { class: "fleet" }, status?.name ?? "Paceline"),
    h("span", { class: "chips" }, chips(state)),
    h(
      "nav",
      { "aria-label": "views" },
      VIEWS.map(({ view, title, href, key }) => {
        const isNow =
          route.view === view || (view === "overview" && (route.view === "instance" || route.view === "death"));
        return h("a", { key: view, href, "aria-current": isNow ? "page" : undefined, "aria-keyshortcuts": key }, title);
      }),
    ),
    h(
      "span",
      { class: "tools" },
      mayWrite && actButton(on, reloadQuestion(null)),
      h("time", { class: "dim" }, at === 0 ? "" : clock(at)),
      button(span, changeZoom, { "aria-keyshortcuts": "z", "aria-label": `${span} in charts` }),
      button({ dark: "☾", light: "☀" }[theme] ?? "◐", changeTheme, {
        "aria-keyshortcuts": "t",
        "aria-label": `colours: ${theme}`,
        title: `colours: ${theme}`,
      }),
      button("?", () => on.set({ dialog: { kind: "keys" } }), { "aria-keyshortcuts": "?", "aria-label": "keys" }),
    ),
  );
}

function chips({ status, link, events }: State): Child[] {
  if (link.state === "lost") return [stateBadge("error", hasStopped(events) ? "has stopped" : "connection lost")];
  if (status === null || link.state === "locked") return [];
  const wanted = status.pools.reduce((sum, pool) => sum + pool.wanted, 0);
  const ready = status.pools.reduce((sum, pool) => sum + pool.ready, 0);
  const failing = failingOf(status);
  const deploys = status.pools.flatMap(({ deploy: each }) => each ?? []);
  const canaries = deploys.reduce((sum, each) => sum + each.canaries.length, 0);
  const hasCanary = deploys.some(({ phase }) => phase === "canary");
  return [
    stateBadge(ready < wanted ? "starting" : "ready", `${ready} of ${wanted} ready`),
    failing > 0 && stateBadge("failed", `${failing} failing`),
    hasCanary && stateBadge("canary", canaries === 1 ? "1 canary" : `${canaries} canaries`),
    deploys.length > 0 && !hasCanary && stateBadge("starting", "deploy"),
    status.state !== "running" && stateBadge("starting", status.state),
    status.lock !== null && stateBadge("warn", "locked"),
  ];
}

/** Returns how many processes have problems. */
export function failingOf({ pools, balancers }: Status): number {
  return [...pools.flatMap(({ instances }) => instances), ...balancers].filter(isFailing).length;
}

/** Returns the last error as text for screen readers, which announce no other change. */
function lastError({ events }: State): string {
  const last = events.findLast(({ level }) => level === "error");
  return last === undefined ? "" : `${last.subject}: ${last.message}`;
}

function notice({ notice: said }: State, on: On): Node {
  return h(
    "div",
    { class: "notice", role: "status", hidden: said === null },
    said !== null && [
      h("p", { class: said.isBad ? "bad" : "" }, said.isBad && "✗ ", said.text),
      button("×", () => on.set({ notice: null }), { "aria-label": "close" }),
    ],
  );
}

function locked(reason: string, on: On): Node {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const field = (event.target as HTMLFormElement).elements.namedItem("token") as HTMLInputElement;
    on.enter(field.value.trim());
  };
  return h(
    "section",
    { class: "card locked", "aria-label": "token" },
    h("h1", {}, "This page needs the fleet's token"),
    h(
      "p",
      {},
      "On the machine of the fleet, run ",
      h("code", {}, "paceline page"),
      " and open the address that it prints, or enter the token:",
    ),
    h(
      "form",
      { onsubmit: submit },
      h("label", { for: "token" }, "token"),
      h("input", { id: "token", name: "token", type: "password", autocomplete: "current-password", required: true }),
      h("button", { type: "submit" }, "Open"),
    ),
    reason !== "" && h("p", { class: "bad", role: "alert" }, reason),
  );
}

const KEYS: readonly (readonly [keys: string, does: string])[] = [
  ["o", "overview"],
  ["l, d", "log, deploys"],
  ["/", "search the log"],
  ["j, k", "next and previous process"],
  ["Enter", "open it"],
  ["!", "what needs attention"],
  ["z", "charts of 5 minutes or a day"],
  ["t", "dark, light, or as the system"],
  ["Esc", "back"],
  ["?", "this list"],
];

function dialog(open: Dialog | null, on: On): Node {
  const close = () => on.decide(false);
  const title = open?.kind === "question" ? open.question.title : "Keys";
  return h(
    "dialog",
    { id: "dialog", "aria-label": title, onclose: close },
    open?.kind === "keys" && [
      h("h2", {}, "Keys"),
      h(
        "dl",
        { class: "keys" },
        KEYS.map(([keys, does]) => h("div", {}, h("dt", {}, h("kbd", {}, keys)), h("dd", {}, does))),
      ),
      h("p", { class: "buttons" }, button("Close", close)),
    ],
    open?.kind === "question" && [
      h("h2", {}, open.question.title),
      h("p", {}, open.question.text),
      h(
        "p",
        { class: "buttons" },
        button("Cancel", close, { autofocus: true }),
        button(open.question.action, () => on.decide(true), {
          class: open.question.isHarmful ? "harmful" : "main",
        }),
      ),
    ],
  );
}
