/** The effects of keys and messages on the dashboard. */
import { describe, expect, test } from "vitest";
import type { OperationResult } from "../dist/control/api.js";
import { commandOf, suggestionsFor } from "../dist/dashboard/command-line.js";
import { samplesOf } from "../dist/dashboard/history.js";
import { followed, initialModel, type Message, type Model, type Ownership } from "../dist/dashboard/model.js";
import { selectable } from "../dist/dashboard/rows.js";
import { update } from "../dist/dashboard/update.js";
import { after, death, deploying, figureHistory, instance, keys, pool, shows, status } from "./dashboard-models.js";

const FLEET = status([
  pool("web", [
    instance("web.1", { requestsPerSecond: 5, restarts: 2 }),
    instance("web.2", { requestsPerSecond: 9, state: "draining" }),
    instance("web.10", { requestsPerSecond: 7 }),
  ]),
  pool("files", [instance("files.1")]),
]);

/** Returns a model of the fleet after these keys; `effects` are those of the last one. */
function press(names: string[], { ownership = "attached" as Ownership, model = fleetModel(ownership) } = {}) {
  let effects: ReturnType<typeof update>["effects"] = [];
  for (const message of keys(...names)) {
    const step = update(model, message);
    model = step.model;
    effects = step.effects;
  }
  return { model, effects };
}

function fleetModel(ownership: Ownership): Model {
  return after([shows(FLEET)], initialModel(ownership, { width: 80, height: 24 }));
}

describe("selection", () => {
  test("starts at the first instance and moves through pools and balancers, stopping at the ends", () => {
    expect(press([]).model.selected).toBe("web.1");
    expect(press(["j", "down"]).model.selected).toBe("web.10");
    expect(press(["k", "up", "k"]).model.selected).toBe("web");
    expect(press(["G"]).model.selected).toBe("balancer.1");
    expect(press(["G", "down", "g"]).model.selected).toBe("web");
  });

  test("stays on its instance while rows are sorted, and in its pool when the instance is removed", () => {
    const { model } = press(["j", "3"]);
    expect([model.selected, model.sort]).toEqual(["web.2", { key: "requestsPerSecond", reversed: false }]);
    expect(selectable(model).slice(0, 4)).toEqual(["web", "web.2", "web.10", "web.1"]);
    expect(selectable(press(["3"], { model }).model).slice(0, 4)).toEqual(["web", "web.1", "web.10", "web.2"]);
    const smaller = status([pool("web", [instance("web.1")], { wanted: 2 }), pool("files", [instance("files.1")])]);
    expect(after([shows(smaller)], model).selected).toBe("web.1");
    expect(after([shows(status([pool("web", [])]))], model).selected).toBe("web");
  });

  test("! goes to the next one that fails", () => {
    const failing = status([
      pool("web", [instance("web.1"), instance("web.2", { state: "backoff" }), instance("web.3", { state: "failed" })]),
    ]);
    const shown = after([shows(failing)]);
    expect(press(["!"], { model: shown }).model.selected).toBe("web.2");
    expect(press(["!", "!"], { model: shown }).model.selected).toBe("web.3");
    expect(press(["!", "!", "!"], { model: shown }).model.selected).toBe("web.2");
    expect(press(["!"]).model.notice?.text).toBe("nothing fails");
  });
});

describe("destructive actions need a confirmation", () => {
  test.each([
    [["+"], { path: "/v1/pools/web/scale", body: { instances: 4 } }],
    [["+", "+"], { path: "/v1/pools/web/scale", body: { instances: 5 } }],
    [["+", "-", "-"], { path: "/v1/pools/web/scale", body: { instances: 2 } }],
    [["r"], { path: "/v1/reload", body: {} }],
    [["R"], { path: "/v1/restart", body: { target: "web.1" } }],
    [["g", "R"], { path: "/v1/restart", body: { target: "web" } }],
    [["K"], { path: "/v1/instances/web.1/drain", body: { wait: true } }],
    [[":", ..."stop", "enter"], { path: "/v1/stop", body: {} }],
    [[":", ..."scale web 7", "enter"], { path: "/v1/pools/web/scale", body: { instances: 7 } }],
  ])("%j", (pressed, operation) => {
    const asked = press(pressed);
    expect(asked.effects).toEqual([]);
    expect(asked.model.mode.kind).toBe("question");
    for (const key of ["x", "enter", " "]) expect(press([key], { model: asked.model }).effects).toEqual([]);
    expect(press(["y"], { model: asked.model }).effects).toEqual([{ type: "operate", id: 1, ...operation }]);
    for (const key of ["n", "escape"]) {
      const refused = press([key, "y"], { model: asked.model });
      expect(refused.effects.filter(({ type }) => type === "operate")).toEqual([]);
      expect(refused.model.mode.kind).toBe("normal");
    }
  });

  test("a further + continues from the last requested number", () => {
    const first = press(["+", "y"]);
    expect(press(["+", "y"], { model: first.model }).effects).toMatchObject([{ body: { instances: 5 } }]);
  });

  test("only the outcome of the newest operation is shown", () => {
    const { model } = press(["+", "y", "+", "y"]);
    const overtaken: Message = {
      type: "result",
      id: 1,
      at: 1_000,
      result: { ok: false, code: "failed", message: "another command has scaled web in the meantime" },
    };
    const first = after([overtaken], model);
    expect(first.notice?.text).toBe("scale web to 5 …");
    const progress = after([{ type: "progress", id: 2, message: "web.5 is ready" }], first);
    expect(progress.notice?.text).toBe("scale web to 5: web.5 is ready");
    const done = after([{ type: "result", id: 2, at: 1_000, result: { ok: true, message: "web: 5" } }], progress);
    expect(done.notice).toMatchObject({ text: "web: 5", tone: "good" });
    expect(after([shows(FLEET, 60_000)], done).notice).toBeNull();
  });

  test("a failure shows its reason", () => {
    const message = "web.4 failed to start: exited with code 1: Error: b";
    const result: OperationResult = { ok: false, code: "failed", message, lastLines: ["Error: b", "Node.js v20"] };
    const { notice } = after([{ type: "result", id: 1, at: 0, result }], press(["+", "y"]).model);
    expect(notice).toMatchObject({ text: `scale web to 4 failed: ${message}`, tone: "bad" });
  });

  test("without a target nothing is requested", () => {
    expect(press(["G", "+"]).model).toMatchObject({ mode: { kind: "normal" }, notice: { text: /select a pool/ } });
    expect(press(["G", "K"]).model).toMatchObject({ mode: { kind: "normal" }, notice: { text: /select an instance/ } });
    const none = after([shows(status([pool("web", [])]))]);
    expect(press(["-"], { model: { ...none, selected: "web" } }).model.mode.kind).toBe("normal");
    const lost = after([{ type: "lost", at: 5 }], fleetModel("attached"));
    expect(press(["+"], { model: lost }).model.mode.kind).toBe("normal");
    expect(press(["+"], { model: initialModel("attached", { width: 1, height: 1 }) }).model.mode.kind).toBe("normal");
    const asked = press(["R"]).model;
    expect(after([{ type: "lost", at: 5 }], asked).mode.kind).toBe("normal");
  });

  test("a template is not restarted", () => {
    const template = { name: "web.template", pid: 7, state: "ready" as const, generation: 1 };
    const figures = { uptimeSeconds: 1, rssBytes: 1, pssBytes: 1 };
    const shown = after([
      shows(status([pool("web", [instance("web.1")], { templates: [{ ...template, ...figures }] })])),
    ]);
    const { model } = press(["down", "R"], { model: shown });
    expect([model.selected, model.mode.kind]).toEqual(["web.template", "normal"]);
    expect(model.notice?.text).toBe("a template is not restarted: a reload (r) makes a new one");
  });
});

describe("a text that a terminal sends as keys", () => {
  /** Returns whether anything was done after keys at these times. */
  function acts(pressed: readonly (readonly [key: string, at: number])[], ownership: Ownership = "attached") {
    let model = fleetModel(ownership);
    return pressed.some(([key, at]) => {
      const step = update(model, { type: "key", key, at });
      model = step.model;
      return step.effects.length > 0;
    });
  }
  const together = (text: string[], everyMs = 0) => text.map((key, n) => [key, 5_000 + n * everyMs] as const);

  test.each([
    ["attached", ["R", "y"]],
    ["attached", ["R", "x", "Y"]],
    ["attached", ["+", "+", "y"]],
    ["attached", [":", ..."restart web.2", "enter", "y"]],
    ["attached", ["K", ..."a long text, then y"]],
    ["started", ["q", "y"]],
    ["started", ["q", "n"]],
  ] as const)("%s: %j answers no question", (ownership, text) => {
    for (const everyMs of [0, 1, 149]) expect(acts(together([...text], everyMs), ownership)).toBe(false);
    expect(acts(together([...text], 150), ownership)).toBe(true);
  });

  test("a later key answers, even after the clock was set back; an escape is never too soon", () => {
    expect(acts([...together(["R", "y"]), ["y", 5_150]])).toBe(true);
    expect(acts([...together(["R"]), ["y", 1_000]])).toBe(true);
    expect(press(["escape"], { model: press(["R"]).model }).model.mode.kind).toBe("normal");
    const asked = update(press(["R"]).model, { type: "pasted", text: "a", at: 9_000_000 }).model;
    expect(update(asked, { type: "key", key: "y", at: 9_000_001 }).effects).toEqual([]);
  });
});

describe("pasted text", () => {
  const paste = (model: Model, text: string) => update(model, { type: "pasted", text, at: 1 });

  test("never acts", () => {
    const { model, effects } = paste(fleetModel("attached"), "see a+b\nRy:stop\ny");
    expect(effects).toEqual([]);
    expect(model).toMatchObject({ mode: { kind: "normal" }, view: "overview", notice: { text: /does nothing/ } });
    const asked = paste(press(["R"]).model, "yyy");
    expect(asked).toMatchObject({ effects: [], model: { mode: { kind: "question" } } });
    const leaving = paste(press(["q"], { ownership: "started" }).model, "y");
    expect(leaving).toMatchObject({ effects: [], model: { mode: { kind: "quit" } } });
  });

  test("is typed into a text, without its line breaks", () => {
    expect(paste(press(["/"]).model, "web.1\nR").model.filter).toBe("web.1");
    const { model, effects } = paste(press([":"]).model, "stop\ny");
    expect([model.mode, effects]).toEqual([{ kind: "command", text: "stop", at: 0 }, []]);
  });
});

describe("the command line", () => {
  const model = fleetModel("attached");

  test("completes commands by their letters, and names", () => {
    const offered = (text: string) => suggestionsFor(text, model).map((each) => each.text);
    expect(offered("")).toContain("scale");
    expect(offered("rst")[0]).toBe("restart");
    expect(offered("restart w1")).toEqual(["restart web.1", "restart web.10"]);
    expect(offered("drain fi")).toEqual(["drain files.1"]);
    expect(press([":", "r", "s", "tab", "w", "tab"]).model.mode).toMatchObject({ text: "restart web " });
  });

  test.each([
    ["frobnicate", /no command frobnicate/],
    ["scale web", /POOL NUMBER/],
    ["scale web many", /needs a number/],
    ["restart wbe", /no pool or instance named wbe/],
    ["drain web", /no instance named web/],
    ["deploy releases/8", /absolute path/],
  ])("says what is wrong with %s", (text, problem) => {
    expect(commandOf(text, model)).toEqual({ do: "problem", text: expect.stringMatching(problem) });
  });

  test("filters, sorts and opens", () => {
    expect(press([":", ..."filter web !10", "enter"]).model.filter).toBe("web !10");
    expect(press([":", ..."sort p99", "enter"]).model.sort.key).toBe("latencyMs.p99");
    expect(press([":", ..."log web.2", "enter"]).model).toMatchObject({ view: "log", log: { name: "web.2" } });
    expect(press([":", ..."deaths", "enter"]).model.view).toBe("deaths");
    expect(press([":", ..."deaths", "enter"]).effects).toEqual([{ type: "loadDeaths" }]);
    expect(press([":", "enter"]).model.mode.kind).toBe("normal");
  });
});

describe("the filter", () => {
  test("shows names and states that contain its words, and not those that contain words after a !", () => {
    const typing = press(["/", "q", "backspace", "d", "r", "a"]).model;
    expect(typing).toMatchObject({ mode: { kind: "filter" }, filter: "dra", selected: "web.2" });
    expect(selectable(typing)).toEqual(["web", "web.2", "balancer.1"]);
    expect(press(["enter"], { model: typing }).model).toMatchObject({ mode: { kind: "normal" }, filter: "dra" });
    expect(press(["escape"], { model: typing }).model).toMatchObject({ mode: { kind: "normal" }, filter: "" });
    expect(press(["enter", "escape"], { model: typing }).model.filter).toBe("");
    const both = press(["/", ..."web !drain", "enter"]).model;
    expect(selectable(both)).toEqual(["web", "web.1", "web.10", "balancer.1"]);
  });

  test("matches states as they are shown", () => {
    const instances = [
      instance("web.1"),
      instance("web.2", { outOfTurn: "drained", weight: 10 }),
      instance("web.3", { outOfTurn: "ejected" }),
    ];
    const filtered = (filter: string) =>
      selectable({ status: status([pool("web", instances)]), filter, sort: { key: "name", reversed: false } }).filter(
        (name) => /^web\./.test(name),
      );
    expect(["drained", "ejected", "w10"].map(filtered)).toEqual([["web.2"], ["web.3"], ["web.2"]]);
    expect(filtered("ready")).toEqual(["web.1"]);
  });
});

describe("the log", () => {
  const line = (text: string) => ({ sequence: 1, at: 0, name: "web.1", text });

  test("is that of the selected row, and drops lines that were requested before", () => {
    const { model } = press(["l"]);
    expect(followed(model)).toBe("web.1");
    const read = after([{ type: "log", name: "web.1", lines: [line("a")], fresh: true }], model);
    const more = after([{ type: "log", name: "web.1", lines: [line("b")], fresh: false }], read);
    expect(more.log.lines.map(({ text }) => text)).toEqual(["a", "b"]);
    const moved = press(["escape", "j", "l"], { model: more }).model;
    expect(followed(moved)).toBe("web.2");
    expect(moved.log.lines).toEqual([]);
    expect(after([{ type: "log", name: "web.1", lines: [line("late")], fresh: false }], moved).log.lines).toEqual([]);
    expect(followed(press(["escape"], { model: moved }).model)).toBeUndefined();
    expect(followed(press(["e"]).model)).toBeNull();
  });

  test("y copies what is shown", () => {
    const read = after(
      [{ type: "log", name: "web.1", lines: [line("a"), line("b")], fresh: true }],
      press(["l"]).model,
    );
    expect(press(["y"], { model: read }).effects).toEqual([
      { type: "copy", text: "1970-01-01T00:00:00.000Z web.1 a\n1970-01-01T00:00:00.000Z web.1 b" },
    ]);
  });

  test("lines are bounded", () => {
    const lines = Array.from({ length: 9_000 }, (_, at) => line(`${at}`));
    const { log } = after([{ type: "log", name: "web.1", lines, fresh: false }], press(["l"]).model);
    expect(log.lines.length).toBeLessThanOrEqual(3_000);
    expect(log.lines.at(-1)?.text).toBe("8999");
  });
});

test("deaths are loaded when they are shown, and again when there is a new one", () => {
  expect(press(["d"]).effects).toEqual([{ type: "loadDeaths" }]);
  const model = after(
    [{ type: "deaths", deaths: [death(2, "web.2", "b"), death(1, "web.1", "a")] }],
    press(["d"]).model,
  );
  expect(press(["j", "enter"], { model }).model).toMatchObject({ view: "detail", selected: "web.1" });
  // A new death does not change which one is selected, unless the newest is selected.
  const newer = { type: "deaths", deaths: [3, 2, 1].map((id) => death(id, `web.${id}`, "")) } as const;
  expect([press(["j"], { model }).model, model].map((each) => after([newer], each).deaths.selected)).toEqual([2, 0]);
  const lastDeath = { id: 3, at: 0, name: "web.1", how: "exit 1", reason: "" };
  const next: Message = shows({ ...FLEET, lastDeath });
  expect(update(model, next).effects).toEqual([{ type: "loadDeaths" }]);
  expect(update(update(model, next).model, next).effects).toEqual([]);
});

test("in a deploy, p promotes, b rolls back, h holds: each asks first", () => {
  const deploy = status([pool("web", [instance("web.1")], { deploy: deploying() })]);
  const model = press(["c"], { model: after([shows(deploy)]) }).model;
  const paths = ["p", "b", "h"].map((key) => press([key, "y"], { model }).effects);
  expect(paths).toMatchObject([
    [{ path: "/v1/deploy/promote" }],
    [{ path: "/v1/rollback" }],
    [{ path: "/v1/deploy/hold", body: { hold: true } }],
  ]);
  const held = status([pool("web", [instance("web.1")], { deploy: deploying({ isHeld: true }) })]);
  expect(press(["h", "y"], { model: after([shows(held)], model) }).effects).toMatchObject([{ body: { hold: false } }]);
});

test("P asks, then profiles the selected process; a pool has none", () => {
  const at = (selected: string, ...names: string[]) => press(names, { model: { ...press([]).model, selected } });
  expect(at("web.1", "P", "y").effects).toMatchObject([
    { path: "/v1/dump", body: { target: "web.1", what: "cpu", durationMs: 10_000 } },
  ]);
  expect(at("web", "P")).toMatchObject({
    effects: [],
    model: { notice: { text: expect.stringContaining("to profile it") } },
  });
});

test("Space pauses the screen, not the keys", () => {
  const paused = press([" "]).model;
  const later = after([shows({ ...FLEET, name: "later" })], paused);
  expect([later.paused?.status?.name, later.status?.name]).toEqual(["shop", "later"]);
  expect(press([" "], { model: later }).model.paused).toBeNull();
});

describe("quitting", () => {
  test("a fleet that does not depend on the dashboard continues to run", () => {
    for (const key of ["q", "C-c"]) expect(press([key]).effects).toEqual([{ type: "quit" }]);
  });

  test("for a fleet that was started here, quitting needs a confirmation; Ctrl-C stops it immediately, twice without a drain", () => {
    const asked = press(["q"], { ownership: "started" });
    expect(asked).toMatchObject({ effects: [], model: { mode: { kind: "quit" } } });
    expect(press(["x"], asked)).toMatchObject({ effects: [], model: { mode: { kind: "quit" } } });
    expect(press(["escape"], asked).model.mode.kind).toBe("normal");
    expect(press(["n"], asked).effects).toEqual([{ type: "quit" }]);
    expect(press(["y"], asked)).toMatchObject({ effects: [{ type: "stop" }], model: { mode: { kind: "stopping" } } });
    const interrupted = press(["C-c"], { ownership: "started" });
    expect(interrupted.effects).toEqual([{ type: "stop" }]);
    expect(press(["C-c"], interrupted).effects).toEqual([{ type: "stop" }]);
    expect(press(["q"], interrupted).effects).toEqual([]);
  });
});

test("a new supervisor starts with an empty history", () => {
  const event = { sequence: 1, at: 0, level: "info", subject: "web", message: "old" } as const;
  const model = after([{ type: "events", events: [event], fresh: true }], fleetModel("attached"));
  const lost = after(
    [
      { type: "lost", at: 5_000 },
      { type: "lost", at: 9_000 },
    ],
    model,
  );
  expect(lost.connection).toEqual({ state: "lost", since: 5_000 });
  const back = after([shows({ ...FLEET, pid: 99 }, 10_000), { type: "events", events: [], fresh: true }], lost);
  expect(back).toMatchObject({ connection: { state: "up" }, notice: { text: "connected again" }, events: [] });
});

test("figures are combined from responses that each have only the new ones", () => {
  const all = figureHistory(FLEET, 100);
  const { now, series } = all.history;
  const last = { ...all.history, now: now + 2_000, length: 2 };
  last.series = Object.fromEntries(
    Object.entries(series).map(([name, values]) => [name, { ...values, requests: [7, 8] }]),
  );
  const model = after([all, { ...all, history: last }]);
  const samples = [...samplesOf(model.history.seconds, "web.1", "requests", 4)];
  expect(samples).toEqual([...(series["web.1"]?.requests.slice(-2) ?? []), 7, 8]);
  const gone = { ...last, now: now + 4_000, length: 1, series: { web: { ...series.web, requests: [1] } } };
  const later = after([{ ...all, history: gone as never }], model);
  expect([...(later.history.seconds?.series.keys() ?? [])]).toEqual(["web"]);
  // A second that no response had is unknown, not zero.
  expect([...samplesOf(later.history.seconds, "web", "requests", 3)]).toEqual([8, Number.NaN, 1]);
});

test("the status of an earlier version's supervisor can be shown", () => {
  const { traffic: _, machine: __, limits: ___, ...old } = FLEET;
  const model = after([shows(old as never)]);
  expect(model.status?.traffic.requestsPerSecond).toBe(1554.4);
});
