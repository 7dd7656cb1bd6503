/** The effects of keys and messages on the dashboard. */
import { describe, expect, test } from "vitest";
import type { OperationResult } from "../dist/control/api.js";
import { followed, initialModel, type Message, type Model, type Ownership } from "../dist/dashboard/model.js";
import { selectable } from "../dist/dashboard/rows.js";
import { update } from "../dist/dashboard/update.js";
import { after, instance, keys, pool, shows, status } from "./dashboard-models.js";

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
  test("begins at the first instance and goes through pools and balancers, stopping at the ends", () => {
    expect(press([]).model.selected).toBe("web.1");
    expect(press(["j", "down"]).model.selected).toBe("web.10");
    expect(press(["k", "up", "k"]).model.selected).toBe("web");
    expect(press(["G"]).model.selected).toBe("balancer.1");
    expect(press(["G", "down", "g"]).model.selected).toBe("web");
  });

  test("stays on its instance while rows are sorted, and in its pool when the instance goes", () => {
    const { model } = press(["j", "s"]);
    expect([model.selected, model.sort]).toEqual(["web.2", "rate"]);
    expect(selectable(model).slice(0, 4)).toEqual(["web", "web.2", "web.10", "web.1"]);
    const smaller = status([pool("web", [instance("web.1")]), pool("files", [instance("files.1")])]);
    expect(after([shows(smaller)], model).selected).toBe("web.1");
    expect(after([shows(status([pool("web", [])]))], model).selected).toBe("web");
    expect(after([shows(status([], { balancers: [] }))], model).selected).toBe("balancer");
  });
});

describe("scaling", () => {
  test("works on the pool of the selected row and goes on from what was asked for last", () => {
    const first = press(["+"]);
    const path = "/v1/pools/web/scale";
    expect(first.effects).toEqual([{ type: "operate", id: 1, path, body: { instances: 4 } }]);
    const second = press(["+"], { model: first.model });
    expect(second.effects).toMatchObject([{ body: { instances: 5 } }]);
    expect(press(["-", "-"], { model: second.model }).effects).toMatchObject([{ body: { instances: 3 } }]);
  });

  test("the outcome of the newest is told, of those before it nothing", () => {
    const { model } = press(["+", "+"]);
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

  test("a failure tells why", () => {
    const message = "web.4 failed to start: exited with code 1: Error: b";
    const result: OperationResult = { ok: false, code: "failed", message, lastLines: ["Error: b", "Node.js v20"] };
    const { notice } = after([{ type: "result", id: 1, at: 0, result }], press(["+"]).model);
    expect(notice).toMatchObject({ text: `scale web to 4 failed: ${message}`, tone: "bad" });
  });

  test("nothing is asked for where there is nothing to scale", () => {
    expect(press(["G", "+"])).toMatchObject({ effects: [], model: { notice: { text: /select a pool/ } } });
    const none = after([shows(status([pool("web", [])]))]);
    expect(press(["-"], { model: { ...none, selected: "web" } }).effects).toEqual([]);
    const lost = after([{ type: "lost", at: 5 }], fleetModel("attached"));
    expect(press(["+"], { model: lost }).effects).toEqual([]);
    expect(press(["+"], { model: initialModel("attached", { width: 1, height: 1 }) }).effects).toEqual([]);
  });
});

test("r reloads all, R restarts what is selected", () => {
  expect(press(["r"]).effects).toEqual([{ type: "operate", id: 1, path: "/v1/reload", body: {} }]);
  expect(press(["R"]).effects).toMatchObject([{ path: "/v1/restart", body: { target: "web.1" } }]);
  expect(press(["g", "R"]).effects).toMatchObject([{ body: { target: "web" } }]);
  expect(press(["G", "k", "R"]).effects).toMatchObject([{ body: { target: "balancer" } }]);
});

test("R on a template says what to do instead", () => {
  const template = { name: "web.template", pid: 7, state: "ready" as const, generation: 1 };
  const figures = { uptimeSeconds: 1, rssBytes: 1, pssBytes: 1 };
  const shown = after([
    shows(status([pool("web", [instance("web.1")], { templates: [{ ...template, ...figures }] })])),
  ]);
  const { model, effects } = update(after(keys("down"), shown), { type: "key", key: "R", at: 1_000 });
  expect([model.selected, effects]).toEqual(["web.template", []]);
  expect(model.notice?.text).toBe("a template is not restarted: a reload (r) makes a new one");
});

describe("the filter", () => {
  test("shows names and states that have it; keys are letters while it is typed", () => {
    const typing = press(["/", "q", "backspace", "d", "r", "a"]).model;
    expect(typing).toMatchObject({ mode: { kind: "filter" }, filter: "dra", selected: "web.2" });
    expect(selectable(typing)).toEqual(["web", "web.2"]);
    expect(press(["enter"], { model: typing }).model).toMatchObject({ mode: { kind: "normal" }, filter: "dra" });
    expect(press(["escape"], { model: typing }).model).toMatchObject({ mode: { kind: "normal" }, filter: "" });
    expect(press(["enter", "escape"], { model: typing }).model.filter).toBe("");
  });

  test("looks at states as they are shown", () => {
    const instances = [
      instance("web.1"),
      instance("web.2", { outOfTurn: "drained", weight: 10 }),
      instance("web.3", { outOfTurn: "ejected" }),
    ];
    const filtered = (filter: string) =>
      selectable({ status: status([pool("web", instances)]), filter, sort: "name" }).filter((name) =>
        /^web\./.test(name),
      );
    expect(["drained", "ejected", "w10"].map(filtered)).toEqual([["web.2"], ["web.3"], ["web.2"]]);
    expect(filtered("ready")).toEqual(["web.1"]);
  });

  test("that nothing is like leaves nothing to select or to work on", () => {
    const { model } = press(["/", "z", "z", "enter"]);
    expect(model.selected).toBeNull();
    expect(press(["+"], { model }).effects).toEqual([]);
    expect(press(["R"], { model }).effects).toEqual([]);
    expect(press(["j"], { model }).model.selected).toBeNull();
  });
});

describe("the log", () => {
  const line = (text: string) => ({ sequence: 1, at: 0, name: "web.1", text });

  test("follows the selection, and forgets lines that were asked for before", () => {
    const { model } = press(["l"]);
    expect(followed(model)).toBe("web.1");
    const read = after([{ type: "log", name: "web.1", lines: [line("a")], fresh: true }], model);
    const more = after([{ type: "log", name: "web.1", lines: [line("b")], fresh: false }], read);
    expect(more.log.lines.map(({ text }) => text)).toEqual(["a", "b"]);
    const moved = press(["j"], { model: more }).model;
    expect(followed(moved)).toBe("web.2");
    expect(moved.log.lines).toEqual([]);
    expect(after([{ type: "log", name: "web.1", lines: [line("late")], fresh: false }], moved).log.lines).toEqual([]);
    expect(followed(press(["l"], { model: moved }).model)).toBeNull();
  });

  test("lines and events are bounded", () => {
    const lines = Array.from({ length: 5_000 }, (_, at) => line(`${at}`));
    const { log } = after([{ type: "log", name: "web.1", lines, fresh: false }], press(["l"]).model);
    expect(log.lines.length).toBeLessThan(1_000);
    expect(log.lines.at(-1)?.text).toBe("4999");
  });
});

describe("leaving", () => {
  test("a fleet that runs without us runs on", () => {
    for (const key of ["q", "C-c"]) expect(press([key]).effects).toEqual([{ type: "quit" }]);
  });

  test("for a fleet that was started here it is asked; Ctrl-C stops it at once, twice without grace", () => {
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

test("a supervisor that comes back begins anew", () => {
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
  expect(back.histories.get("web.1")).toEqual([5]);
});

test("rates are kept for a minute, of what is there", () => {
  const model = after(Array.from({ length: 100 }, () => shows(FLEET)));
  expect(model.histories.get("web.1")).toHaveLength(60);
  expect([...after([shows(status([]))], model).histories.keys()]).toEqual(["balancer.1"]);
});
