/** What the views show about a fleet: figures, marks, verdicts, confirmations. The document itself is only created in the browser test. */
import { describe, expect, it } from "vitest";
import { after, balancer, deploying, instance, pool, shows, status } from "../../test/dashboard-models.js";
import type { DeployStatus } from "../control/api.js";
import type { Attention } from "../core/attention.js";
import { canaryOf } from "../dashboard/canary-view.js";
import { differenceText, testsText, verdictWord } from "./deploy.js";
import type { Node } from "./dom.js";
import { frame } from "./frame.js";
import { FIRST, type Question, type State } from "./model.js";
import { columnsOf, sorted } from "./processes.js";

const asked: Question[] = [];
const on = {
  ...{ send() {}, set() {}, decide() {}, download() {}, enter() {}, theme() {}, zoom() {} },
  ask: (question: Question) => void asked.push(question),
};

/** Returns all elements below the given ones. */
function all(children: readonly unknown[]): Node[] {
  return children.flatMap((child): Node[] => {
    if (Array.isArray(child)) return all(child);
    if (typeof child !== "object" || child === null) return [];
    return [child as Node, ...all((child as Node).children)];
  });
}

function textOf(child: unknown): string {
  if (typeof child === "string") return child;
  return ((child as Node).children ?? []).map(textOf).join(" ");
}

const died = {
  ...{ code: 1, signal: null, at: 0, reason: "exited with code 1 after 14 s" },
  lastLines: ["starting", "TypeError: no id", "    at cart.ts:3"],
};
const crashing = instance("web.2", { state: "backoff", pid: null, lastExit: died, restarts: 3 });
const slow = instance("web.3", {
  latencyMs: { p50: 2, p99: 54 },
  marks: { "latencyMs.p99": { times: 29, isBad: true }, inFlight: { times: null, isBad: true } },
});
const fleet = status([pool("web", [instance("web.1"), crashing, slow, instance("web.10", { requestsPerSecond: 9 })])]);
const live = (changes: Partial<State> = {}): State => ({
  ...FIRST,
  link: { state: "live" },
  status: fleet,
  at: 60_000,
  ...changes,
});
const draw = (changes: Partial<State> = {}) => all(frame(live(changes), on, "system"));
const rowOf = (elements: Node[], name: string) => elements.find(({ tag, key }) => tag === "tr" && key === name) as Node;

describe("the log of a fleet that has stopped", () => {
  it("is unknown, not empty", () => {
    const link = { state: "lost", reason: "no connection: gone" } as const;
    const shown = draw({ link, route: { view: "log", name: "" } })
      .map(textOf)
      .join("\n");
    expect(shown).toContain("no connection: gone");
    expect(shown).not.toMatch(/0 of 0|nothing yet/);
  });
});

describe("the overview", () => {
  it("shows each process, and unknown values are not zero", () => {
    const elements = draw();
    expect(textOf(rowOf(elements, "web.1"))).toMatch(/web\.1 .*ready .*1,554 .*400 µs .*1\.8 ms .*28\.1/);
    expect(textOf(rowOf(elements, "web.2"))).toMatch(/backoff – +– – – +0 – – +3 –/);
    expect(textOf(rowOf(elements, "balancer.1"))).toContain("ready");
    expect(textOf(rowOf(elements, "pool web"))).toContain("3 of 4");
  });

  it("marks a figure that is far from that of its pool, also in words", () => {
    const cells = all([rowOf(draw(), "web.3")]).filter(({ attributes }) => /\bbad\b/.test(String(attributes.class)));
    expect(cells.map(textOf)).toEqual(["3", expect.stringMatching(/^54 ms 29×$/)]);
  });

  it("lists what needs attention, with evidence, advice and a link", () => {
    const finding = (severity: Attention["severity"], kind: string, about: string, what: string): Attention => ({
      ...{ severity, kind, about, what, evidence: [], todo: "", mayRestart: about.includes(".") },
    });
    const killer = finding("fault", "killer", "web", "GET /boom ends its processes");
    const found = [
      { ...killer, evidence: ["web.1#7: RangeError: no"], todo: "Correct its handler", death: 9 },
      finding("warning", "slow", "web.3", "web.3 is slow"),
      finding("warning", "slow-route", "web", "reads /report/ is slow"),
    ];
    const strip = (changes: Partial<State>, attention: Attention[] = found) =>
      draw({ ...changes, status: { ...fleet, attention } }).find(({ key }) => key === "attention");
    const items = all([strip({ mayWrite: true })]).filter(({ tag }) => tag === "li");
    expect(items.map(textOf).map((text) => text.replace(/ +/g, " "))).toEqual([
      "▲ GET /boom ends its processes web.1#7: RangeError: no Correct its handler Open",
      "◐ web.3 is slow Restart Open",
      "◐ reads /report/ is slow",
    ]);
    expect(items.map(({ attributes }) => attributes.class)).toEqual(["bad", "busy", "busy"]);
    const links = all(items).filter(({ tag }) => tag === "a");
    expect(links.map(({ attributes }) => attributes.href)).toEqual(["#/death/9", "#/instance/web.3"]);
    expect(textOf(strip({}))).not.toContain("Restart");
    expect(strip({}, [])).toBeUndefined();
    const many = Array.from({ length: 8 }, (_, at) => finding("warning", "slow", `web.${at + 20}`, "slow"));
    expect(textOf(strip({}, many))).toContain("and 2 more");
  });

  it("says that the fleet has stopped, and that a report does not exist", () => {
    const stopped = { sequence: 9, at: 1_000, level: "info", subject: "paceline", message: "has stopped" } as const;
    const lost = draw({ link: { state: "lost", reason: "x" }, events: [stopped] }).map(textOf);
    expect(lost.some((text) => text.includes("has stopped"))).toBe(true);
    expect(lost.some((text) => text.includes("connection lost"))).toBe(false);
    const missing = draw({ route: { view: "death", name: "999" }, unread: "there is no report 999" }).map(textOf);
    expect(missing).toContain("there is no report 999");
    expect(missing).not.toContain("reading…");
  });

  it("lists the certificates that expire first", () => {
    const certificate = (name: string, days: number) =>
      ({ name, source: "automatic", notAfter: 60_000 + days * 86_400_000 }) as const;
    const certificates = {
      count: 2,
      soonest: [certificate("a.example", 5), certificate("b.example", 60)],
      problems: [],
    };
    const card = draw({ status: { ...fleet, certificates } }).find(
      ({ attributes }) => attributes["aria-label"] === "Certificates",
    );
    expect(textOf(card)).toMatch(/2 +5 d left automatic a\.example 60 d left automatic b\.example/);
    expect(draw().some(({ attributes }) => attributes["aria-label"] === "Certificates")).toBe(false);
  });

  it("compares the latencies of the routes, if there are several", () => {
    const counts = { requestsTotal: 1234, recentRequests: 90, errorsTotal: 2 };
    const route = { ...counts, route: "reads /", p50Ms: 0.6, p99Ms: 2, isSlow: false };
    const cards = (routeClasses: (typeof route)[]) =>
      draw({ status: status([pool("web", [instance("web.1")], { routeClasses })]) }).filter(
        ({ key }) => key === "Routes",
      );
    expect(cards([route])).toEqual([]);
    const [card] = cards([
      route,
      { ...route, route: "reads /report/", errorsTotal: 0, p50Ms: 299, p99Ms: 302, isSlow: true },
    ]);
    expect(textOf(card)).toMatch(/reads \/ +1,234 +2 +600 µs +2\.0 ms .*reads \/report\/ .*302 ms/);
    const bars = all([card]).filter(({ tag, attributes }) => tag === "rect" && attributes.class === "red");
    expect(bars.map(({ attributes }) => attributes.width)).toEqual(["100%"]);
  });

  it("sorts by a column, highest first, and by number within names", () => {
    const { instances } = fleet.pools[0] as (typeof fleet.pools)[0];
    const names = (key: string, isReversed = false) => sorted(instances, { key, isReversed }).map(({ name }) => name);
    expect(names("name")).toEqual(["web.1", "web.2", "web.3", "web.10"]);
    expect(names("latencyMs.p99")[0]).toBe("web.3");
    expect(names("requestsPerSecond", true)[0]).toBe("web.10");
  });

  it("has a column for each figure in the list that some process has", () => {
    const keys = columnsOf([instance("web.1"), balancer("balancer.1")]).map(({ key }) => key);
    expect(keys.slice(0, 2)).toEqual(["requestsPerSecond", "inFlight"]);
    expect(keys).not.toContain("deferred");
    expect(columnsOf([instance("web.1", { deferred: { jobs: 1, oldestMs: 1 } })]).map(({ key }) => key)).toContain(
      "deferred",
    );
  });
});

describe("what changes the fleet", () => {
  const buttons = (mayWrite: boolean, route: State["route"] = FIRST.route) =>
    draw({ mayWrite, route }).filter(
      ({ tag, attributes }) => tag === "button" && String(attributes.class).includes("harmful"),
    );

  it("is not shown unless the page may write", () => {
    expect(buttons(false)).toEqual([]);
    expect(buttons(false, { view: "instance", name: "web.1" })).toEqual([]);
    expect(buttons(true).length).toBeGreaterThan(2);
  });

  it("needs a confirmation", () => {
    const [restart] = buttons(true, { view: "instance", name: "web.1" }).filter((each) => textOf(each) === "Restart");
    expect(restart).toBeDefined();
    (restart as unknown as { attributes: { onclick(): void } }).attributes.onclick();
    expect(asked.at(-1)).toMatchObject({ title: "Restart web.1?", path: "/v1/restart", body: { target: "web.1" } });
  });
});

const deploy = (changes: Partial<DeployStatus>) =>
  ({ phase: "canary", verdict: "wait", leftMs: 1000, tests: [], ...changes }) as DeployStatus;

describe("a deploy", () => {
  it.each([
    [{}, "Judging"],
    [{ leftMs: null }, "Starting the canaries"],
    [{ verdict: "pass" }, "Passing"],
    [{ verdict: "fail" }, "Failing"],
    [{ phase: "rolling", verdict: "pass" }, "Rolling out"],
    [{ phase: "back", verdict: "fail" }, "Taking it back"],
  ] as const)("%j: %s", (changes, word) => {
    expect(verdictWord(deploy(changes))).toBe(word);
  });

  it("shows the remaining time, even if it is judged for longer than requested: here and in the terminal", () => {
    const judged = status([
      pool("web", [instance("web.1")], { deploy: deploying({ judgeMs: 12_000, leftMs: 47_000 }) }),
    ]);
    const page = frame(live({ route: { view: "deploy", name: "" }, status: judged }), on, "dark")
      .map(textOf)
      .join(" ");
    expect(page).toContain("2. Compare them , 47 s left");
    const terminal = canaryOf(after([shows(judged)]), 120, 30).map((line) => line.map(({ text }) => text).join(""));
    expect(terminal.join("\n")).toContain("1 of 1 judged, 47 s left");
  });

  it("counts its tests in words", () => {
    const tests = (...verdicts: DeployStatus["verdict"][]) =>
      testsText({ tests: verdicts.map((verdict) => ({ verdict })) as DeployStatus["tests"] });
    expect(tests("pass", "pass", "wait")).toBe("2 tests pass, 1 waits, none fails");
    expect(tests("pass", "wait", "wait", "fail", "fail")).toBe("1 test passes, 2 wait, 2 fail");
    expect(tests()).toBe("no tests pass, none waits, none fails");
  });

  it.each([
    [100, 105.6, "+5.6 %"],
    [100, 98.7, "−1.3 %"],
    [10, 20, "+100 %"],
    [0, 5, ""],
    [null, 5, ""],
  ])("%s → %s: %s", (before, after, text) => {
    expect(differenceText(before, after)).toBe(text);
  });
});

describe("without a status", () => {
  it("asks for the token, or says what is missing", () => {
    const texts = (link: State["link"]) =>
      frame(live({ link, status: null }), on, "dark")
        .map(textOf)
        .join(" ");
    expect(texts({ state: "locked", reason: "" })).toContain("needs the fleet's token");
    expect(texts({ state: "lost", reason: "no connection" })).toContain("no connection");
  });
});
