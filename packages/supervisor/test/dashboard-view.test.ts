/** The dashboard's drawing: never wider than the screen, for any content, and readable without colour. */
import fc from "fast-check";
import stringWidth from "string-width";
import { describe, expect, test } from "vitest";
import type { Status } from "../dist/control/api.js";
import { type Message, type Model, SORT_KEYS } from "../dist/dashboard/model.js";
import { cells, clean, type Line } from "../dist/dashboard/text.js";
import { plainView, view } from "../dist/dashboard/view.js";
import { after, balancer, instance, keys, pool, shows, status } from "./dashboard-models.js";

function text(lines: readonly Line[]): string[] {
  return lines.map((line) =>
    line
      .map((segment) => segment.text)
      .join("")
      .trimEnd(),
  );
}

function screen(model: Model, width = 80, height = 24): string[] {
  return text(view({ ...model, size: { width, height } }));
}

const FLEET = status([
  pool("web", [
    instance("web.1"),
    instance("web.2", {
      state: "draining",
      other: { role: "replacement", pid: 5, state: "starting", attempt: 2, generation: 4, isCanary: false },
    }),
    instance("web.3", { state: "backoff", pid: null, rssBytes: null, cpuPercent: null, restarts: 4 }),
  ]),
  pool("files", [instance("files.1", { requestsPerSecond: 310 })]),
]);

describe("at 80 × 24", () => {
  const lines = screen(after([shows(FLEET)]));

  test("the header has the totals", () => {
    expect(lines[0]).toBe(" shop · 1 in trouble      1,554 req/s  p99 1.8 ms  5xx 0  RSS 231 MB  PSS 61 MB");
  });

  test("every pool and process has a line with its numbers", () => {
    expect(lines[1]).toMatch(/^ NAME +STATE +PID +RSS +CPU +REQ\/S +MINUTE +FLY +P50 +P99 +RST +UP$/);
    expect(lines[2]).toMatch(/^ web {2}app {2}1\/3 ready {2}gen 3 .* 1,554 req\/s {2}\/$/);
    expect(lines[3]).toMatch(/^▸web\.1 +ready +31022 +28\.1 +41 +1,554 +█ +3 +0\.4 +1\.8 +0 +3d$/);
    expect(lines[4]).toMatch(/^ web\.2 +draining +31022 /);
    expect(lines[5]).toMatch(/^ └ next +starting +5$/);
    expect(lines[6]).toMatch(/^ web\.3 +backoff +– +– +– +– .* 4 +–$/);
    expect(lines.slice(7, 11).join("\n")).toMatch(
      /^ files .*\n files\.1 .*\n balancer .* 412 connections .*\n balancer\.1 /,
    );
  });

  test("the last line tells the keys", () => {
    expect(lines[23]).toBe(" ? help  + − scale  r reload  R restart  l log  s sort  / filter  q quit");
  });
});

test("at 200 columns the titles are whole and the name of the program is there", () => {
  const lines = screen(after([shows(FLEET)]), 200, 50);
  expect(lines[0]).toMatch(/^ paceline · shop · up 3d /);
  expect(lines[1]).toMatch(/RSS MB .* CPU % .* LAST MINUTE .* FLIGHT .* RESTARTS /);
});

test("what waits for slow clients is told in the lines of its pool and of the balancers, while something does", () => {
  const slow = status([pool("web", [instance("web.1")], { receiving: 12, sending: 3 })], {
    balancers: [balancer("balancer.1", { spoolBytes: 40_000_000 })],
  });
  const lines = screen(after([shows(slow)]), 160, 24).join("\n");
  expect(lines).toMatch(/ web {2}app .* gen 3 {2}receiving 12 {2}sending 3 .* req\/s/);
  expect(lines).toMatch(/ balancer .* connections {2}spool 40 MB /);
  const quiet = screen(after([shows(status([pool("web", [instance("web.1")])]))]), 160, 24).join("\n");
  expect(quiet).not.toMatch(/receiving|sending|spool/);
});

describe("a pool with a template", () => {
  const template = {
    ...{ name: "web.template", pid: 31_020, state: "ready" as const, generation: 3 },
    ...{ uptimeSeconds: 61, rssBytes: 40_200_000, pssBytes: 9_000_000 },
  };
  const old = { ...template, pid: 30_000, generation: 2, uptimeSeconds: 400 };
  const fleet = (templates = [template]) => status([pool("web", [instance("web.1")], { kind: "wsgi", templates })]);

  test("has a line for it below its instances, with its state, pid, memory and age", () => {
    const lines = screen(after([shows(fleet())]));
    expect(lines[4]).toMatch(/^ template +ready +31020 +40\.2 +1m$/);
    expect(screen(after([shows(fleet())]), 20, 12)[4]).toBe(" template   ready");
    expect(screen(after([shows(fleet([{ ...template, state: "loading" as never }]))]))[4]).toContain(" loading ");
  });

  test("during a reload has a line for each, and every line below can be reached", () => {
    let model = after([shows(fleet([old, template]))]);
    const selected = [model.selected];
    for (let step = 0; step < 4; step++) {
      model = after(keys("down"), model);
      selected.push(model.selected);
    }
    expect(selected).toEqual(["web.1", "web.template", "balancer", "balancer.1", "balancer.1"]);
    expect(screen(model).slice(4, 6).join("\n")).toMatch(/^ template .* 30000 .*\n template .* 31020 /);
  });
});

test("an autoscaled pool shows its bounds, and why it has its size where there is room", () => {
  const last = { at: 0, from: 1, to: 2, reason: "requests wait 180 ms, the target is 50" };
  const scaling = { min: 1, max: 8, floor: null, target: { metric: "queueMs" as const, value: 50 }, figure: 12, last };
  const fleet = status([pool("web", [instance("web.1"), instance("web.2")], { scaling })]);
  const textOf = (width: number) => screen(after([shows(fleet)]), width, 24).join("\n");
  expect(textOf(80)).toMatch(/ web {2}app {2}2\/2 ready \(1–8\) {2}gen 3 .* req\/s/);
  expect(textOf(80)).not.toContain("wait");
  expect(textOf(120)).toMatch(/ready \(1–8\) {2}gen 3 {2}1 → 2: requests wait 180 ms, the target is 50 .* req\/s/);
});

test("jobs that were deferred are told where an app has any: in the pool's line, and in a column where there is room", () => {
  const deferring = status([
    pool("web", [
      instance("web.1", { deferred: { jobs: 1200, oldestMs: 6_100 } }),
      instance("web.2", { deferred: { jobs: 0, oldestMs: 0 } }),
      instance("web.3", { pid: null }),
    ]),
    pool("files", [instance("files.1")]),
  ]);
  const narrow = screen(after([shows(deferring)]));
  expect(narrow[2]).toMatch(/ gen 3 {2}1,200 deferred, oldest 6s .* req\/s/);
  expect(narrow[1]).not.toContain("DEFER");
  const wide = screen(after([shows(deferring)]), 160, 24);
  expect(wide[1]).toMatch(/ P99 +DEFERRED +RESTARTS /);
  expect(wide.slice(3, 6).join("\n")).toMatch(/ 1\.8 +1,200 6s +0 .*\n.* 1\.8 +0 +0 .*\n web\.3 /);
  expect(wide[6]).not.toContain("deferred");
  const unused = status([pool("web", [instance("web.1"), instance("web.2", { pid: null, state: "backoff" })])]);
  expect(screen(after([shows(unused)]), 160, 24)[1]).not.toContain("DEFER");
});

test("at 20 columns the name and the state are left", () => {
  const lines = screen(after([shows(FLEET)]), 20, 12);
  expect(lines[1]).toBe(" NAME       STATE");
  expect(lines.join("\n")).toMatch(/▸web\.1 +ready\n web\.2 +draining/);
});

test("a rollout, what is in trouble and a fleet that is not running yet are told in words", () => {
  const failed = instance("web.2", { state: "failed", pid: null });
  const rollout = { kind: "reload", done: 5, total: 8 } as const;
  const fleet = status([pool("web", [instance("web.1"), failed], { rollout })], {
    state: "starting",
    errorsTotal: 12_345,
  });
  const lines = screen(after([shows(fleet)]), 160, 24);
  expect(lines[0]).toMatch(/ starting · 1 in trouble .* 5xx 12,345 .* reload 5\/8 ▓▓▓▓▓░░░$/);
  expect(lines[2]).toMatch(/ reload 5\/8 ▓▓▓▓▓░░░$/);
});

test("a supervisor that is gone is told in the first line, and what was known stays", () => {
  const lines = screen(after([shows(FLEET), { type: "lost", at: 2_000 }]));
  expect(lines[0]).toMatch(/ shop · connection lost at \d\d:\d\d:\d\d, reconnecting$/);
  expect(lines[3]).toMatch(/^▸web\.1 /);
});

test("before the first status it connects", () => {
  expect(screen(after([]))[0]).toBe(" paceline · connecting …");
});

test("the selected row is seen, wherever it is", () => {
  const many = status([
    pool(
      "web",
      Array.from({ length: 60 }, (_, at) => instance(`web.${at + 1}`)),
    ),
  ]);
  let model = after([shows(many)]);
  for (let step = 0; step < 65; step++) {
    expect(screen(model).some((line) => line.startsWith("▸"))).toBe(true);
    expect(screen(model).some((line) => /\d+–\d+ of 63 ─$/.test(line))).toBe(true);
    model = after(keys("down"), model);
  }
  expect(screen(model).some((line) => line.startsWith("▸balancer.1"))).toBe(true);
});

test("charts of a pool have one scale and the same seconds below each other", () => {
  const first = status([pool("web", [instance("web.1", { requestsPerSecond: 100 })])]);
  const second = status([
    pool("web", [instance("web.1", { requestsPerSecond: 100 }), instance("web.2", { requestsPerSecond: 40 })]),
  ]);
  const lines = screen(after([...Array(30).fill(shows(first)), ...Array(10).fill(shows(second))]), 200, 20);
  expect(lines[3]).toMatch(/ {22}█{40} /);
  expect(lines[4]).toMatch(/ {52}▄{10} /);
});

test("the title of the events has the last death, if there is room", () => {
  const lastDeath = { id: 17, at: 0, name: "web.5", how: "exit 1", reason: "exited with code 1" };
  const model = after([shows(status([pool("web", [instance("web.1")])], { lastDeath }))]);
  const title = (width: number) => screen(model, width).find((line) => line.startsWith("── events"));
  expect(title(80)).toMatch(/^── events ─+ last death \d\d:\d\d:\d\d: web\.5 exit 1 · paceline deaths show 17 ─$/);
  expect(title(60)).toMatch(/^── events ─+$/);
});

test("the pane shows the newest events, or the log of what is selected", () => {
  const events = Array.from({ length: 50 }, (_, at) => ({
    ...{ sequence: at, at: 0, level: at === 49 ? ("error" as const) : ("info" as const), subject: "web.1" },
    message: at === 49 ? "exited with code 1 \x1b[31mred\x1b[2J" : `event ${at}`,
  }));
  const told = after([shows(FLEET), { type: "events", events, fresh: true }]);
  const lines = screen(told);
  expect(lines.at(-3)).toMatch(/ web\.1 event 48$/);
  expect(lines.at(-2)).toMatch(/ !web\.1 exited with code 1 red$/);
  const line = { sequence: 1, at: 0, name: "web.1", text: "tab\there 日本 🎉" };
  const log = after([...keys("l"), { type: "log", name: "web.1", lines: [line], fresh: true }], told);
  expect(screen(log).join("\n")).toMatch(/── log of web\.1 ─+\n \d\d:\d\d:\d\d tab {2}here 日本 □\n/);
});

test("what is long goes on in the next lines, and is cut in the end", () => {
  const message = `exited with code 1; restarts in 0.3 s: ${"an error that takes many words to tell ".repeat(9)}`;
  const event = { sequence: 1, at: 0, level: "warn", subject: "web.1", message } as const;
  const lines = screen(after([shows(FLEET), { type: "events", events: [event], fresh: true }]));
  const at = lines.findIndex((line) => line.includes("exited"));
  expect(lines.slice(at, at + 4).map((line) => line.slice(17))).toEqual([
    "exited with code 1; restarts in 0.3 s: an error that takes many",
    "words to tell an error that takes many words to tell an error",
    expect.stringMatching(/^that takes .*…$/),
    "",
  ]);
});

test("plain text has the header and every row, and no selection", () => {
  const lines = text(plainView(after([shows(FLEET)]), 120));
  expect(lines).toHaveLength(11);
  expect(lines.join("\n")).not.toContain("▸");
});

/** Names and texts of every kind: wide, joined, combining, control characters and halves of pairs. */
const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.string({ unit: "grapheme", maxLength: 40 }),
  fc.constantFrom(
    "日本語".repeat(20),
    "👩‍👩‍👧‍👦🇩🇪❤️",
    "é".normalize("NFD"),
    "\x1b]0;title\x07\x1b[2J",
    "ｆｕｌｌ",
    "กำ",
    "⚡️⌚",
  ),
);
const anyNumber = fc.oneof(fc.double({ min: 0, max: 1e12, noNaN: true }), fc.constant(0));
const orNull = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: null });
const anyState = fc.constantFrom("stopped", "starting", "ready", "draining", "killing", "backoff", "failed");
const anyProcess = fc.record({
  state: anyState,
  pid: orNull(fc.nat(4_194_304)),
  uptimeSeconds: anyNumber,
  rssBytes: orNull(anyNumber),
  cpuPercent: orNull(anyNumber),
  requestsPerSecond: anyNumber,
  inFlight: fc.nat(),
  latencyMs: fc.record({ p50: orNull(anyNumber), p99: orNull(anyNumber) }),
  restarts: fc.nat(),
  deferred: orNull(fc.record({ jobs: fc.nat(), oldestMs: fc.nat() })),
  other: orNull(
    fc.record({
      role: fc.constantFrom("replacement", "outgoing"),
      pid: orNull(fc.nat(4_194_304)),
      state: anyState,
      attempt: fc.nat(),
    }),
  ),
}) as fc.Arbitrary<Partial<ReturnType<typeof instance>>>;
const anyPool = fc.record({
  name: fc.stringMatching(/^[a-z][a-z0-9-]{0,31}$/),
  processes: fc.array(anyProcess, { maxLength: 8 }),
  rollout: orNull(fc.record({ kind: fc.constantFrom("reload", "restart"), done: fc.nat(20), total: fc.nat(20) })),
  routes: fc.array(anyText, { maxLength: 3 }),
});
const anyStatus: fc.Arbitrary<Status> = fc
  .record({ name: anyText, listen: fc.array(anyText), pools: fc.array(anyPool, { maxLength: 4 }), total: anyNumber })
  .map(({ name, listen, pools, total }) =>
    status(
      pools.map((each) =>
        pool(
          each.name,
          each.processes.map((more, at) => instance(`${each.name}.${at + 1}`, more)),
          { rollout: each.rollout as never, routes: each.routes },
        ),
      ),
      {
        name,
        listen,
        errorsTotal: total,
        rssBytes: total,
        balancers: [balancer("balancer.1"), balancer("balancer.2")],
      },
    ),
  );
const anyMessage: fc.Arbitrary<Message> = fc.oneof(
  anyStatus.map((document) => shows(document)),
  fc.constantFrom<Message>({ type: "lost", at: 5 }),
  fc
    .constantFrom("up", "down", "j", "k", "g", "G", "+", "-", "r", "R", "s", "l", "/", "?", "q", "y", "n")
    .map((key): Message => ({ type: "key", key, at: 9 })),
  fc
    .constantFrom("enter", "escape", "backspace", "C-u", "C-c", "w")
    .map((key): Message => ({ type: "key", key, at: 9 })),
  anyText.map((message): Message => {
    const event = { sequence: 1, at: 1, level: "warn" as const, subject: message, message };
    return { type: "events", events: [event, event], fresh: false };
  }),
  anyText.map(
    (line): Message => ({
      ...{ type: "log", name: "web.1", fresh: false },
      lines: [{ sequence: 1, at: 1, name: line, text: line }],
    }),
  ),
  anyText.map((message): Message => ({ type: "progress", id: 1, message })),
  anyText.map((message): Message => ({ type: "result", id: 1, at: 9, result: { ok: false, code: "failed", message } })),
);

test("what some terminals draw wider than others is replaced", () => {
  expect(clean("a©b®c🙂d")).toBe("a□b□c□d");
});

test("a mark without its letter is left out, so that it joins nothing before it", () => {
  expect(cells("\u0cbcx\u0301\u0300y")).toEqual(["x\u0301\u0300", "y"]);
  expect(clean("\u0cbc\u0301")).toBe("");
});

test("whatever happens, at any size, every line is exactly as wide as the screen", () => {
  const size = fc.record({
    width: fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 300 })),
    height: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 100 })),
  });
  fc.assert(
    fc.property(fc.array(anyMessage, { maxLength: 12 }), size, fc.boolean(), (messages, { width, height }, started) => {
      const model = after(messages);
      const lines = view({ ...model, size: { width, height }, ownership: started ? "started" : "attached" });
      expect(lines).toHaveLength(height);
      for (const line of lines) {
        const whole = line.map((segment) => segment.text).join("");
        expect(stringWidth(whole)).toBe(width);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not reach the terminal
        expect(whole).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
      }
    }),
    { numRuns: 150 },
  );
});

test.each(SORT_KEYS)("sorted by %s all rows are there", (sort) => {
  const model = { ...after([shows(FLEET)]), sort };
  const names = screen(model).flatMap((line) => /^.(web\.\d|files\.\d)/.exec(line)?.[1] ?? []);
  expect(names.sort()).toEqual(["files.1", "web.1", "web.2", "web.3"]);
});

test("a fleet that gets no requests shows none; a schedule shows its pattern, its last run and the next at 80 columns", () => {
  const nothing = { requestsTotal: null, requestsPerSecond: null, inFlight: null, latencyMs: { p50: null, p99: null } };
  const last = { at: 0, durationSeconds: 2.3, code: 0, signal: null, failure: null };
  const schedule = { nextAt: 1, nextInSeconds: 240, runningSeconds: null, last, runs: 3, failures: 1, skipped: 0 };
  const pools = [
    { ...pool("jobs", [instance("jobs.1", nothing)]), ...nothing, inFlight: 0, kind: "worker", routes: [] },
    {
      ...pool("nightly", [instance("nightly.1", { ...nothing, schedule })]),
      ...nothing,
      inFlight: 0,
      routes: [],
      cron: "0 3 * * *",
    },
  ];
  const alone = screen(after([shows({ ...status(pools), listen: [], balancers: [] })]));
  expect(alone.join("\n")).not.toMatch(/req\/s|REQ|5xx|p99|P99|FLY|MINUTE|balancer/);
  expect(alone[1]).toMatch(/^ NAME +STATE +PID +RSS +CPU +RUN, NEXT +RST +UP$/);
  expect(alone[4]).toMatch(/^ nightly {2}.* cron 0 3 \* \* \*$/);
  expect(alone[5]).toMatch(/ ok 2s, 4m /);
  const mixed = screen(after([shows(status([...pools, pool("web", [instance("web.1")])]))]));
  expect(mixed[1]).toMatch(/ REQ\/S .* RUN, NEXT /);
  expect(mixed[3]).toMatch(/^▸jobs\.1 +ready +.* – /);
  expect(mixed[5]).toMatch(/^ nightly\.1 .* ok 2s, 4m /);
});
