/** What the views say about a fleet: figures, marks, verdicts, questions. The document is only made in the browser's test. */
import { describe, expect, it } from "vitest";
import { after, balancer, deploying, instance, pool, shows, status } from "../../test/dashboard-models.js";
import type { DeployStatus } from "../control/api.js";
import { canaryOf } from "../dashboard/canary-view.js";
import { attentionOf, errorIn, markOf } from "./attention.js";
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

/** Returns every element below some. */
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
const slow = instance("web.3", { latencyMs: { p50: 2, p99: 54 }, slow: { by: "p99", ms: 54, usual: 2 } });
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
  it("is not known, rather than empty", () => {
    const link = { state: "lost", reason: "no connection: gone" } as const;
    const shown = draw({ link, route: { view: "log", name: "" } })
      .map(textOf)
      .join("\n");
    expect(shown).toContain("no connection: gone");
    expect(shown).not.toMatch(/0 of 0|nothing yet/);
  });
});

describe("the overview", () => {
  it("shows each process, and what is unknown is not zero", () => {
    const elements = draw();
    expect(textOf(rowOf(elements, "web.1"))).toMatch(/web\.1 .*ready .*1,554 .*400 µs .*1\.8 ms .*28\.1/);
    expect(textOf(rowOf(elements, "web.2"))).toMatch(/backoff – +– – – +0 – – +3 –/);
    expect(textOf(rowOf(elements, "balancer.1"))).toContain("ready");
    expect(textOf(rowOf(elements, "pool web"))).toContain("3 of 4");
  });

  it("marks a figure that is far from its pool's, also in words", () => {
    const cells = all([rowOf(draw(), "web.3")]).filter(({ attributes }) => String(attributes.class).includes("bad"));
    expect(cells.map(textOf)).toEqual([expect.stringMatching(/^54 ms 29×/)]);
    expect([markOf(54, 18, 5), markOf(30, 18, 5), markOf(20, 18, 5), markOf(4, 1, 5), markOf(6, 0, 5)]).toEqual([
      ...["bad", "busy", null, null, "bad"],
    ]);
  });

  it("has the worst of what needs attention first, with the app's own words", () => {
    const found = attentionOf(FIRST, { ...fleet, lock: { reason: "migration", by: "ann", since: 0 } });
    expect(found.map(({ key }) => key)).toEqual(["state web.2", "lock", "slow web.3"]);
    expect(found[0]).toMatchObject({ isBad: true, detail: "TypeError: no id", about: "web.2", mayRestart: true });
    expect(attentionOf(FIRST, status([pool("web", [instance("web.1")])]))).toEqual([]);
    expect([errorIn(["a", "b", ""]), errorIn([])]).toEqual(["b", ""]);
  });

  it("names the instance that has nearly all errors of its pool, and otherwise the pool", () => {
    const of = (...counts: number[]) =>
      attentionOf(
        FIRST,
        status([
          pool(
            "web",
            counts.map((errorsPerMinute, at) => instance(`web.${at + 1}`, { errorsPerMinute })),
            { errorsPerMinute: counts.reduce((a, b) => a + b), requestsPerSecond: 1 },
          ),
        ]),
      ).map(({ title }) => title);
    expect(of(90, 0, 1)).toEqual(["web.1 has 91 responses with 5xx a minute"]);
    expect(of(30, 31, 30)).toEqual(["web has 91 responses with 5xx a minute"]);
    expect(of(1, 1, 0)).toEqual([]);
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

  it("names a slow route", () => {
    const route = { route: "reads /", requestsTotal: 90, errorsTotal: 0, p50Ms: 0.6, p99Ms: 2, isSlow: false };
    const slowOne = { ...route, route: "reads /report/", p50Ms: 299, p99Ms: 302, isSlow: true };
    const found = attentionOf(FIRST, status([pool("web", [instance("web.1")], { routeClasses: [route, slowOne] })]));
    expect(found.map(({ title }) => title)).toEqual(["reads /report/ is slow: p99 302 ms"]);
  });

  it("names a crash loop as explain does: by deaths of the generation in service", () => {
    const dying = (id: number, generation: number) =>
      ({
        id,
        at: 50_000,
        name: "web.1",
        generation,
        running: null,
        lastLines: [],
      }) as unknown as State["deaths"][number];
    const found = (of: number[]) =>
      attentionOf(
        { ...FIRST, at: 60_000, deaths: of.map((generation, id) => dying(id, generation)) },
        status([pool("web", [instance("web.1", { restarts: 5, lastExit: died })], { generation: 2 })]),
      ).map(({ title }) => title);
    expect(found([2, 2, 2])).toEqual(["web.1 died 3 times in the last hour"]);
    expect(found([2, 2, 1, 1, 1])).toEqual([]);
  });

  it("names the request that kills: one that several processes were running, or that a balancer has found", () => {
    const dying = (id: number, running: string | null, at = 50_000) =>
      ({ id, at, running, lastLines: ["up", "RangeError: no"] }) as State["deaths"][number];
    const found = (deaths: State["deaths"], events: State["events"] = [], at = 60_000) =>
      attentionOf({ ...FIRST, at, deaths, events }, status([pool("web", [instance("web.1")])]));
    const kills = [dying(9, "GET /boom"), dying(8, "GET /"), dying(7, "GET /boom")];
    expect(found(kills)).toEqual([
      expect.objectContaining({
        ...{ title: "GET /boom crashes its processes: 2 in the last hour", detail: "RangeError: no", isBad: true },
        ...{ view: "death", about: "9", mayRestart: false },
      }),
    ]);
    expect(found([dying(9, "GET /boom"), dying(8, "GET /"), dying(7, null), dying(6, null)])).toEqual([]);
    expect(found(kills, [], 4_000_000)).toEqual([]);
    const message = "lost processes to GET /a: web.1#1 and web.1#2 exited while running it; for the next minute";
    const said = { sequence: 1, at: 50_000, level: "error", subject: "web", kind: "poison", message } as const;
    expect(found([], [said]).map(({ title }) => title)).toEqual([
      "web lost processes to GET /a: web.1#1 and web.1#2 exited while running it",
    ]);
    expect(found(kills, [said])).toHaveLength(1);
    const link = draw({ deaths: kills }).find(({ attributes }) => attributes["aria-label"] === "open 9");
    expect(link?.attributes.href).toBe("#/death/9");
  });

  it("compares the latencies of the routes, if there are several", () => {
    const route = { route: "reads /", requestsTotal: 1234, errorsTotal: 2, p50Ms: 0.6, p99Ms: 2, isSlow: false };
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

  it("sorts by a column, the highest first, and by number if by name", () => {
    const { instances } = fleet.pools[0] as (typeof fleet.pools)[0];
    const names = (key: string, isReversed = false) => sorted(instances, { key, isReversed }).map(({ name }) => name);
    expect(names("name")).toEqual(["web.1", "web.2", "web.3", "web.10"]);
    expect(names("latencyMs.p99")[0]).toBe("web.3");
    expect(names("requestsPerSecond", true)[0]).toBe("web.10");
  });

  it("has a column for each figure of the one list that some process has", () => {
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

  it("is not there unless the page may write", () => {
    expect(buttons(false)).toEqual([]);
    expect(buttons(false, { view: "instance", name: "web.1" })).toEqual([]);
    expect(buttons(true).length).toBeGreaterThan(2);
  });

  it("is asked for first", () => {
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

  it("has the time that is left, also when it is judged for longer than was wanted: here and in the terminal", () => {
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
