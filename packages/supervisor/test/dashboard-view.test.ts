/** The dashboard's drawing: never wider than the screen for any content, aligned at every size, readable without colour. */
import fc from "fast-check";
import stringWidth from "string-width";
import { describe, expect, test } from "vitest";
import type { PoolStatus, Status } from "../dist/control/api.js";
import { sortKeys } from "../dist/dashboard/columns.js";
import type { Message, Model, View } from "../dist/dashboard/model.js";
import { cells, clean, type Line, placed } from "../dist/dashboard/text.js";
import { plainView, screenOf, view } from "../dist/dashboard/view.js";
import {
  after,
  balancer,
  death,
  deploying,
  figureHistory,
  instance,
  keys,
  pool,
  shows,
  status,
} from "./dashboard-models.js";

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

/** Returns the styles of the pieces of a line that have this text. */
function stylesOf(model: Model, row: RegExp, piece: RegExp, width = 120, height = 40): string[] {
  const lines = view({ ...model, size: { width, height } });
  const line = lines.find((each) => row.test(each.map((segment) => segment.text).join("")));
  return (line ?? []).flatMap((segment) => (piece.test(segment.text) ? [segment.style] : []));
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

function fleetOf(count: number): Status {
  const ofWeb = Math.max(1, count - Math.floor(count / 4));
  const web = Array.from({ length: ofWeb }, (_, at) => {
    const isSick = at === 2;
    const latencyShape = isSick ? [60, 0, 8, 2, 0, 0, 30, 0, 0, 0] : [60, 30, 8, 2, 0, 0, 0, 0, 0, 0];
    const more = {
      latencyShape,
      inFlight: 3,
      latencyMs: { p50: 1.8, p99: isSick ? 54 : 12 },
      errorsPerMinute: isSick ? 31 : 9,
    };
    return at === 4
      ? instance(`web.${at + 1}`, { state: "backoff", pid: null, rssBytes: null, cpuPercent: null, restarts: 3 })
      : instance(`web.${at + 1}`, more);
  });
  const api = Array.from({ length: count - ofWeb }, (_, at) => instance(`api.${at + 1}`));
  return status([pool("web", web), ...(api.length === 0 ? [] : [pool("api", api, { routes: ["/api/"] })])]);
}

const SIZES = [
  [60, 15],
  [80, 24],
  [120, 40],
  [200, 60],
] as const;

describe.each(SIZES)("the overview at %d × %d", (width, height) => {
  test.each([1, 4, 30, 64])("of %d instances: aligned, the balancer and the keys visible", (count) => {
    const model = after([shows(fleetOf(count)), figureHistory(fleetOf(count), 300)]);
    const lines = screen(model, width, height);
    expect(lines).toHaveLength(height);
    const head = lines.findIndex((line) => /^.NAME +STATE/.test(line));
    const rows = lines.slice(head + 1).filter((line) => /^.(web|api|balancer)\.\d/.test(line));
    expect(rows.some((line) => line.startsWith(" balancer.1"))).toBe(true);
    expect(lines.at(-1)).toMatch(/^ \? help {2}Enter detail/);
    // Each right-aligned title ends where its figures end.
    for (const title of ["REQ/S", "FLY", "P99", "5XX", "CPU%"]) {
      const end = (lines[head] ?? "").indexOf(title) + title.length;
      expect(end).toBeGreaterThan(title.length);
      for (const row of rows)
        expect([title, row.slice(end - 1, end + 1)]).toEqual([title, expect.stringMatching(/^[\dµs–G]( |$)/)]);
    }
    // States begin in the same column.
    const state = (lines[head] ?? "").indexOf("STATE");
    for (const row of rows) expect(row.slice(state - 1, state + 1)).toMatch(/^ [a-z]$/);
  });
});

describe.each(SIZES)("a long name of a pool at %d × %d", (width, height) => {
  const name = "checkout-and-payments-of-a-store";
  const rows = [1, 2, 10].map((number) => `${name}.${number}`);
  const fleet = status([pool(name, [...rows.map((each) => instance(each))]), pool("web", [instance("web.1")])]);
  const events = rows.map((subject, at) => ({ sequence: at, at: 0, level: "info" as const, subject, message: "said" }));
  const model = after([shows(fleet), { type: "events", events, fresh: true }]);

  test("is cut before the number, or whole, and moves no column", () => {
    const lines = screen(model, width, height);
    const head = lines.findIndex((line) => /^.NAME +STATE/.test(line));
    for (const title of ["REQ/S", "P99", "5XX", "CPU%"]) expect(lines[head]).toContain(title);
    const state = (lines[head] as string).indexOf("STATE");
    const shown = lines.slice(head + 1).filter((line) => /^.(checkout|web|balancer)/.test(line));
    expect(shown.map((line) => /^\S*(\.\d+ )/.exec(line.slice(1))?.[1] ?? "").join("")).toBe(".1 .2 .10 .1 .1 ");
    for (const line of shown) expect(line.slice(state - 1, state + 1)).toMatch(/^ [a-z\d]$/);
    // Events have a column of names, too.
    const said = lines.flatMap((line) => {
      const [, before = "", number] = /^(.*\.(\d+) +)said/.exec(line) ?? [];
      return number === undefined ? [] : [{ number, begins: before.length }];
    });
    expect(said.at(-1)?.number).toBe("10");
    expect(new Set(said.map(({ begins }) => begins)).size).toBe(1);
  });

  test("leaves room for the state in the title of its details", () => {
    expect(screen({ ...model, view: "detail", selected: rows[2] as string }, width, height)[0]).toMatch(/\.10 +ready/);
  });
});

test("the frame at 80 × 24", () => {
  const model = after([shows(fleetOf(8)), figureHistory(fleetOf(8), 300)]);
  const lines = screen(model).map((line) => line.replace(/[▁▂▃▄▅▆▇█⠀-⣿]/g, "#"));
  expect(lines.join("\n").replace(/\d\d:\d\d:\d\d/, "00:00:00")).toMatchInlineSnapshot(`
    " shop  7/8 ready  1 failing  up 3d 4h           http://127.0.0.1:8080  00:00:00
     req/s 1,554        p99 1.8 ms         5xx/s 0 of 0       cpu % 136 of 400
     ###   #####   ###  ###    ###    ###  ###    ###    ###  ###    ###    ###
     #################  #################  #################  #################
     NAME       STATE    REQ/S 2 MINUTES        FLY  P50  P99  5XX CPU%  RSS RST  UP
     web        5/6      1,554 /                  3 400µ  1.8    0   41 28.1   3
    ▸web.1      ready    1,554 ################   3  1.8   12    9   41 28.1   0  3d
     web.2      ready    1,554 ################   3  1.8   12    9   41 28.1   0  3d
     web.3      ready    1,554 ################   3  1.8   54   31   41 28.1   0  3d
     web.4      ready    1,554 ################   3  1.8   12    9   41 28.1   0  3d
     web.5      backoff      – ################   –    –    –    0    –    –   3   –
     web.6      ready    1,554 ################   3  1.8   12    9   41 28.1   0  3d
     api        2/2      1,554 /api/              3 400µ  1.8    0   41 28.1   0
     api.1      ready    1,554 ################   3 400µ  1.8    0   41 28.1   0  3d
     api.2      ready    1,554 ################   3 400µ  1.8    0   41 28.1   0  3d
     balancer.1 ready    1,554 ################   3 400µ  1.8    0   41 28.1   0  3d
    ── attention (3), events ───────────────────────────────────────────────────────
     ✗ web.5 exited, and waits for its next start
     ! 5 of 6 instances of web are ready  web.5 is waiting for its next start
     ! web.3 is slow: p99 54 ms, the pool's median is 12 ms  CPU 41 %, event loop l…



     ? help  Enter detail  l log  e errors  d deaths  c canary  q quit  + − scale"
  `);
});

test("the frame at 60 × 15", () => {
  const model = after([shows(fleetOf(8)), figureHistory(fleetOf(8), 300)]);
  const lines = screen(model, 60, 15).map((line) => line.replace(/[▁▂▃▄▅▆▇█⠀-⣿]/g, "#"));
  expect(lines.join("\n").replace(/\d\d:\d\d:\d\d/, "00:00:00")).toMatchInlineSnapshot(`
    " shop  7/8 ready  1 failing http://127.0.0.1:8080  00:00:00
     req/s 1,554   p99 1.8 ms    5xx/s 0 of 0  cpu % 136
     NAME       STATE    REQ/S 2 MINUTES      FLY  P99  5XX CPU%
     web        5/6      1,554 /                3  1.8    0   41
    ▸web.1      ready    1,554 ##############   3   12    9   41
     web.2      ready    1,554 ##############   3   12    9   41
     web.3      ready    1,554 ##############   3   54   31   41
     web.4      ready    1,554 ##############   3   12    9   41
     web.5      backoff      – ##############   –    –    0    –
     web.6      ready    1,554 ##############   3   12    9   41
     balancer.1 ready    1,554 ##############   3  1.8    0   41
    ── attention (2 of 3), events ──────────── 1–7 of 10 rows ──
     ✗ web.5 exited, and waits for its next start
     ! 5 of 6 instances of web are ready  web.5 is waiting for …
     ? help  Enter detail  l log  e errors  d deaths  c canary"
  `);
});

test("at 20 columns the name and the state are left", () => {
  const lines = screen(after([shows(FLEET)]), 20, 12);
  expect(lines[1]).toBe(" NAME       STATE");
  expect(lines.join("\n")).toMatch(/▸web\.1 +ready\n web\.2 +draining/);
});

test("the second process of a slot has a line; a canary has figures and its own name", () => {
  const lines = screen(after([shows(FLEET)]), 120, 30).join("\n");
  expect(lines).toMatch(/web\.2 +draining .*\n └ next +starting /);
  const canary = { role: "replacement", pid: 7, state: "ready", attempt: 2, generation: 8, isCanary: true } as const;
  const figures = { ...instance("web.1"), requestsPerSecond: 12, inFlight: 1, requestsTotal: 1, errorsPerMinute: 0 };
  const tried = status([pool("web", [instance("web.1", { other: { ...figures, ...canary } as never })])]);
  expect(screen(after([shows(tried)]), 120, 30).join("\n")).toMatch(/▸web\.1 +ready .*\n web\.1 +canary +12 /);
});

test("a pool of one instance has no separate line; a pool's figures are sums, and its latencies its own", () => {
  const lines = screen(after([shows(FLEET)]), 120, 30);
  expect(lines.filter((line) => /^.files/.test(line))).toHaveLength(1);
  const row = lines.find((line) => /^ web +1\/3 /.test(line));
  expect(row).toMatch(/^ web +1\/3 +1,554 +\/ .* 3 +400µ +1\.8 .* 0 +41 +28\.1 +4 +3$/);
});

test("figures that stand out within their pool are marked, and nothing else", () => {
  const model = after([shows(fleetOf(8))]);
  expect(stylesOf(model, /web\.3 /, /^ *54$/)).toEqual(["bad"]);
  expect(stylesOf(model, /web\.3 /, /^ *31$/)).toEqual(["bad"]);
  expect(stylesOf(model, /web\.2 /, /^ *12$/)).toEqual(["plain"]);
  expect(stylesOf(model, /web\.5 /, /backoff/)).toEqual(["bad"]);
});

test("a pool shows how one of its instances exited", () => {
  const lastExit = { code: 7, signal: null, at: 0, reason: "exited with code 7 after 3 s", lastLines: ["bad file"] };
  const fleet = status([pool("web", [instance("web.1"), instance("web.2", { lastExit })])]);
  const lines = screen(after([shows(fleet), ...keys("up", "enter")]), 120, 40).join("\n");
  expect(lines).toMatch(/web\.2: exited with code 7 after 3 s\n {3}bad file/);
});

test("a lost supervisor is shown in the first line, and the last known values stay", () => {
  const lines = screen(after([shows(FLEET), { type: "lost", at: 2_000 }]));
  expect(lines[0]).toMatch(/ shop · connection lost at \d\d:\d\d:\d\d, reconnecting/);
  expect(lines.some((line) => line.startsWith("▸web.1 "))).toBe(true);
});

test("a fleet that has stopped is not a lost connection", () => {
  const stopped = { sequence: 9, at: 1_000, level: "info", subject: "paceline", message: "has stopped" } as const;
  const events = { type: "events", events: [stopped], fresh: false } as const;
  const [line] = screen(after([shows(FLEET), events, { type: "lost", at: 2_000 }]));
  expect(line).toMatch(/ shop · has stopped at \d\d:\d\d:\d\d, waiting for its start/);
});

test.each([
  [
    "an instance",
    keys("enter"),
    /shop › web\.1 · has stopped at /,
    "the fleet has stopped; the last known values follow",
  ],
  [
    "a pool",
    keys("up", "enter"),
    /shop › web · has stopped at /,
    "the fleet has stopped; the last known values follow",
  ],
  [
    "a log",
    keys("l"),
    /shop › log of web\.1 · has stopped at /,
    "the fleet has stopped; paceline logs prints its log file",
  ],
  [
    "the deaths",
    keys("d"),
    /shop › deaths · has stopped at /,
    "the fleet has stopped; paceline deaths reads the reports",
  ],
  ["the deploy", keys("c"), /shop › deploy · has stopped at /, ""],
])(
  "of a stopped fleet the screen of %s says so, and unknown values are not shown as none",
  (_, pressed, first, says) => {
    const stopped = { sequence: 9, at: 1_000, level: "info", subject: "paceline", message: "has stopped" } as const;
    const events = { type: "events", events: [stopped], fresh: false } as const;
    const loaded = { type: "deaths", deaths: [] } as const;
    const lines = screen(after([shows(FLEET), loaded, events, { type: "lost", at: 2_000 }, ...pressed]), 120, 40);
    expect(lines[0]).toMatch(first);
    const all = lines.join("\n");
    expect(all).toContain(says);
    expect(all).not.toMatch(/follows|nothing unusual|\d\/\d ready|no process of this fleet|no output yet/);
  },
);

test("deaths that are known stay on the screen of a stopped fleet", () => {
  const deaths = { type: "deaths", deaths: [death(1, "web.1", "out of memory")] } as const;
  const lines = screen(after([shows(FLEET), deaths, { type: "lost", at: 2_000 }, ...keys("d")]));
  expect(lines[0]).toMatch(/shop › deaths · connection lost at /);
  expect(lines.join("\n")).toMatch(/web\.1 +exit 1 /);
});

test("before the first status it connects", () => {
  expect(screen(after([]))[0]).toBe(" paceline · connecting …");
});

test("the selected row is visible, wherever it is", () => {
  const many = status([
    pool(
      "web",
      Array.from({ length: 60 }, (_, at) => instance(`web.${at + 1}`)),
    ),
  ]);
  let model = after([shows(many)]);
  for (let step = 0; step < 62; step += 1) {
    const lines = screen(model);
    expect(lines.filter((line) => line.startsWith("▸"))).toHaveLength(1);
    expect(lines.some((line) => /\d+–\d+ of 61 rows ──$/.test(line))).toBe(true);
    model = after(keys("down"), model);
  }
  expect(screen(model).some((line) => line.startsWith("▸balancer.1"))).toBe(true);
});

test("a death is marked in its second, a time without a process is blank, and no traffic is a faint line", () => {
  const history = figureHistory(FLEET, 120);
  const marked = {
    ...history,
    history: {
      ...history.history,
      marks: [{ at: history.history.now - 5_000, kind: "death", name: "web.1", id: 1 } as const],
    },
  };
  const model = after([shows(FLEET), marked]);
  const row = screen(model, 200, 30).find((line) => line.startsWith("▸web.1"));
  expect(row).toMatch(/✗/);
  const stopped = { ...history.history, series: { ...history.history.series } };
  const nothing = Array.from({ length: 120 }, () => null);
  const calm = Array.from({ length: 120 }, () => 0);
  const values = history.history.series["web.1"] as (typeof stopped.series)[string];
  stopped.series["web.1"] = { ...values, requests: nothing };
  stopped.series["web.2"] = { ...values, requests: calm };
  const lines = screen(after([shows(FLEET), { ...history, history: stopped }]), 200, 30);
  expect(lines.find((line) => line.startsWith("▸web.1"))).toMatch(/^▸web\.1 +ready +1,554 {20,}/);
  expect(lines.find((line) => line.startsWith(" web.2"))).toMatch(/ ▁{20,} /);
});

test("the pane shows the newest events, and long ones continue in the next lines", () => {
  const events = Array.from({ length: 50 }, (_, at) => ({
    ...{ sequence: at, at: 0, level: at === 49 ? ("error" as const) : ("info" as const), subject: "web.1" },
    message: at === 49 ? "exited with code 1 \x1b[31mred\x1b[2J" : `event ${at}`,
  }));
  const lines = screen(after([shows(FLEET), { type: "events", events, fresh: true }]));
  expect(lines.at(-3)).toMatch(/ web\.1 event 48$/);
  expect(lines.at(-2)).toMatch(/ !web\.1 exited with code 1 red$/);
  // If there is no room for the whole message, its beginning is shown.
  const long = events.map((each) => ({ ...each, message: `begins ${"and goes on ".repeat(9)}` }));
  const small = screen(after([shows(FLEET), { type: "events", events: long, fresh: true }]), 60, 15);
  expect(small.at(-2)).toMatch(/^ \d\d:\d\d:\d\d !web\.1 begins and goes on/);
});

describe("the log", () => {
  const lines = Array.from({ length: 100 }, (_, at) => ({
    ...{ sequence: at, at: 0, name: "web.1" },
    text: at % 10 === 0 ? `Error: number ${at}` : `line ${at}`,
  }));
  const log = after([...keys("l"), { type: "log", name: "web.1", lines, fresh: true }], after([shows(FLEET)]));

  test("follows, scrolls, and shows only errors", () => {
    expect(screen(log).at(-2)).toMatch(/line 99$/);
    expect(screen(after(keys("up", "up"), log)).at(-2)).toMatch(/line 97$/);
    expect(
      screen(after(keys("3"), log))
        .filter(Boolean)
        .at(-2),
    ).toMatch(/!Error: number 90$/);
    const more = {
      type: "log",
      name: "web.1",
      lines: [{ sequence: 200, at: 0, name: "web.1", text: "new" }],
      fresh: false,
    } as const;
    expect(screen(after([...keys("up"), more], log)).at(-2)).toMatch(/line 98$/);
    expect(screen(after([more], log)).at(-2)).toMatch(/new$/);
  });

  test("finds", () => {
    const found = after(keys("/", ..."number 5", "enter", "n"), log);
    expect(screen(found).at(-2)).toMatch(/Error: number 50$/);
  });
});

test("the detail of an instance: what is unusual, charts, latency, open requests, its log", () => {
  const fleet = fleetOf(8);
  const base = after([shows(fleet), figureHistory(fleet, 300)]);
  const model = after(
    [
      ...keys("down", "down", "enter"),
      {
        type: "open",
        name: "web.3",
        requests: [{ name: "web.3", request: "GET /export", ageMs: 4_200, client: "203.0.113.9" }],
      },
    ],
    base,
  );
  const lines = screen(model, 120, 40).join("\n");
  expect(lines).toMatch(/^ shop › web › web\.3 {2}ready {2}pid 31022 /);
  expect(lines).toMatch(/ ! p99 is 4\.5× the median of web; /);
  expect(lines).toMatch(/─ req\/s .*─ p99 .*pool 12 .*─ 5xx\/s /);
  expect(lines).toMatch(/4\.2 s GET \/export .* 203\.0\.113\.9/);
  expect(lines).toMatch(/ ≤ \.5 +█+/);
  expect(screen(model, 60, 15)[3]).toMatch(/^ req\/s 1,554 +p99 54 ms +5xx\/s /);
});

test("what needs attention goes before events, of which the newest keeps its first line", () => {
  const instances = Array.from({ length: 12 }, (_, at) =>
    instance(`web.${at + 1}`, { stalledMs: at < 9 ? 4000 : null }),
  );
  const message = `is ready ${"and more ".repeat(30)}`;
  const events = [1, 2].map((id) => ({ sequence: id, at: id, level: "info" as const, subject: `web.${id}`, message }));
  const shownOf = (stalled: number) => {
    const some = instances.map((each, at) => (at < stalled ? each : { ...each, stalledMs: null }));
    const lines = screen(after([shows(status([pool("web", some)])), { type: "events", events, fresh: true }]));
    return lines.slice(
      lines.findIndex((line) => line.includes("attention")),
      -1,
    );
  };
  const event = expect.stringMatching(/^ [\d:]{8} {2}web\.2 is ready and more/);
  const stalled = (index: number) => expect.stringMatching(new RegExp(`^ ✗ web\\.${index} has not responded`));
  const goesOn = expect.stringMatching(/^ +and more/);
  expect(shownOf(2)).toEqual([
    expect.stringContaining("attention (2), events "),
    stalled(1),
    stalled(2),
    event,
    goesOn,
  ]);
  expect(shownOf(9)).toEqual([
    expect.stringContaining("attention (3 of 9: explain shows all), events "),
    ...[1, 2, 3].map(stalled),
    event,
  ]);
});

test("a slow route and growing memory are named: in the overview, and for the instance", () => {
  const route = {
    route: "reads /",
    requestsTotal: 90,
    recentRequests: 90,
    errorsTotal: 0,
    p50Ms: 0.6,
    p99Ms: 2,
    isSlow: false,
  };
  const routeClasses = [route, { ...route, route: "reads /report/", p50Ms: 299, p99Ms: 302, isSlow: true }];
  const instances = [1, 2, 3, 4].map((at) => instance(`web.${at}`, { growthBytesPerMinute: at === 1 ? 60e6 : null }));
  const model = after([shows(status([pool("web", instances, { routeClasses })]))]);
  for (const [width, height] of SIZES) {
    const lines = screen(model, width, height).join("\n");
    expect(lines).toContain("── attention (2), events ──");
    expect(lines).toMatch(/ ! reads \/report\/ is slow: p99 302 ms, p50 299 ms/);
    expect(lines).toMatch(/ ! the memory of web\.1 grows by 60 MB a minute/);
  }
  const starting = shows(status([pool("web", instances, { routeClasses })], { state: "starting" }));
  expect(screen(after([starting])).join("\n")).not.toContain("attention");
  const detail = screen(after(keys("enter"), model), 120, 40).join("\n");
  expect(detail).toMatch(/ ! memory grows 60 MB a minute; reads \/report\/ is slow in web: p99 302 ms\n/);
});

test("a level and a search belong to the view of the log: its title and its keys show them, and they end with it", () => {
  const modelAfter = (...pressed: string[]) => after([shows(FLEET), ...keys(...pressed)]);
  const ends = (...pressed: string[]) => {
    const lines = screen(modelAfter(...pressed), 60, 15);
    return `${lines[0]} | ${lines.at(-1)}`;
  };
  expect(ends("l", "3")).toMatch(/log of web\.1 {2}only errors .*\| {2}Esc all lines /);
  expect(ends("l", "e", "/", "x", "enter")).toMatch(/only errors {2}“x” .*\| {2}Esc no search /);
  expect(ends("l", "e", "/", "x", "enter", "escape")).toMatch(/only errors .*\| {2}Esc all lines /);
  expect(ends("l", "3", "escape")).toMatch(/log of web\.1 .*\| {2}Esc back /);
  // A log that was opened for its errors is left at once.
  expect(ends("e")).toMatch(/log of all {2}only errors .*\| {2}Esc back /);
  expect(modelAfter("e", "escape").view).toBe("overview");
  expect(ends("l", "3", "?", "x")).toMatch(/only errors/);
  for (const left of [["escape", "escape"], ["enter"], ["d"], [":", "c", "a", "n", "a", "r", "y", "enter"], ["l"]])
    expect(modelAfter("l", "/", "x", "enter", "3", ...left).log).toMatchObject({ level: "all", search: "" });
});

test("a long question keeps its keys, a long message continues, and of a long text its end is shown", () => {
  const small = { type: "resize", width: 60, height: 15 } as const;
  const typed = [..."lock before the migration of the customers' tables is done"].map((key) =>
    key === " " ? "space" : key,
  );
  const typing = after([shows(FLEET), small, ...keys(":", ...typed)]);
  expect(screen(typing, 60, 15).at(-1)).toMatch(/^ :…ck before the migration .* is done█$/);
  const asking = after([shows(FLEET), small, ...keys(":", ...typed, "enter")]);
  expect(screen(asking, 60, 15).at(-1)).toMatch(/^ Lock the fleet \(before the migration .*…\? y\/n$/);
  const message =
    "web.1 failed to start: exited with code 1: Error: Cannot find module './routes/customers.js' of server.js";
  const failed = shows(status(FLEET.pools, { problem: message }));
  const shown = screen(after([failed, ...keys("/", "w", "e", "b", "enter")]), 60, 15);
  expect(shown.at(-2)).toMatch(/^ \/web {2}✗ web\.1 failed to start/);
  expect(
    screen(after([failed]), 60, 24)
      .slice(-3)
      .join(" ")
      .replace(/\s+/g, " "),
  ).toContain(message);
});

test("the deaths, grouped by the same last line", () => {
  const deaths = [
    death(3, "web.5", "TypeError: id"),
    death(2, "web.5", "TypeError: id"),
    death(1, "web.1", "out of memory"),
  ];
  const model = after([...keys("d"), { type: "deaths", deaths }], after([shows(FLEET, 100_000)]));
  const lines = screen(model).join("\n");
  expect(lines).toMatch(/▸\d+s ago +web\.5 +exit 1 /);
  expect(lines).toMatch(/ 2× {2}TypeError: id {3}web\.5/);
  expect(lines).toMatch(/── last lines of web\.5, /);
});

test("in a pool without requests nothing is judged, and unknown values are not zero", () => {
  const idle = instance("jobs.1", { requestsPerSecond: null, inFlight: null, errorsPerMinute: null });
  const none = { requestsPerSecond: null, deploy: deploying({ canaries: [], tests: [] }) };
  const web = pool("web", [instance("web.1"), instance("web.2")], { deploy: deploying() });
  const lines = screen(after([shows(status([web, pool("jobs", [idle], none)]))]), 120, 40);
  expect(lines[0]).toContain("canary 1 of 2");
  expect(lines.find((line) => /^ jobs /.test(line))).toMatch(/^ jobs +1\/1 +– +\/ +– /);
});

test("silent deaths of one kind are one, however long each lived", () => {
  const silent = (id: number, lived: number) => ({
    ...death(id, `web.${id}`, ""),
    ...{ uptimeMs: lived * 1000, how: "SIGKILL", reason: `was killed by SIGKILL after ${lived} s` },
  });
  const deaths = [silent(3, 12), silent(2, 14), death(1, "web.1", "out of memory")];
  const lines = screen(after([...keys("d"), { type: "deaths", deaths }], after([shows(FLEET, 100_000)]))).join("\n");
  expect(lines).toMatch(/ 2× {2}SIGKILL {3}web\.3 web\.2/);
  // The important parts fit on a small screen: the request before the names, the last line before the counts.
  const killed = { ...death(1, "web.1", `TypeError: ${"x".repeat(80)}`), running: "GET /kill" };
  const small = after([...keys("d"), { type: "deaths", deaths: [killed] }], after([shows(FLEET, 100_000)]));
  expect(screen(small).join("\n")).toMatch(/ 1× {2}TypeError: x+… {3}with GET \/kill {2}web\.1/);
  expect(screen(small, 60, 15).join("\n")).toMatch(/▸\d+s ago +web\.1 +exit 1 +14s {2}GET \/kill/);
});

test("a deploy that is judged: verdict, both generations, the tests with their intervals", () => {
  const fleet = status([pool("web", [instance("web.1"), instance("web.2")], { deploy: deploying() })]);
  const model = after(keys("c"), after([shows(fleet)]));
  for (const [width, height] of [
    [80, 24],
    [120, 40],
  ] as const) {
    const lines = screen(model, width, height).join("\n");
    expect(lines).toMatch(/deploy of web {2}generation 7 → 8/);
    expect(lines).toMatch(/│ WAITS · at most 18 s more · 1 pass, 1 wait, 0 fail/);
    expect(lines).toMatch(/─ old · generation 7 ─.*─ new · generation 8 ─/);
    expect(lines).toMatch(/✓ 5xx +\+0\.01 pp +≤ \+1 pp .*━.*┃.* passes/);
  }
  const small = screen(model, 60, 15).join("\n");
  expect(small).toMatch(/WAITS/);
  // In the table, the verdict is not cut.
  const overview = after([shows(fleet)]);
  expect(screen(overview, 120, 40).join("\n")).toMatch(/ 5 %, 18 s.*, wait /);
  expect(screen(overview, 80, 24).join("\n")).toContain(" 5 %, 18 s, wait ");
});

test("the help on a small screen has all keys, on several pages", () => {
  const size = { type: "resize", width: 60, height: 15 } as const;
  const page = (...pressed: string[]) =>
    screen(after([shows(FLEET), size, ...keys("?", ...pressed)]), 60, 15).join("\n");
  expect(page()).toMatch(/↓ more \(1 of 4\)/);
  expect(page() + page("down") + page("down", "space") + page("down", "space", "down")).toMatch(
    /select; PgUp.*1 2 3.*q {2}Ctrl-C.*yellow red.*the end/s,
  );
  expect(page("down", "x")).toContain("web.1");
});

test("confirmations, the command line and its completion", () => {
  const model = after([shows(FLEET)]);
  expect(screen(after(keys("+"), model)).at(-1)).toMatch(
    / Scale web from 3 to 4 instances\? {2}y yes {3}n no {3}\+ − change/,
  );
  const typing = screen(after(keys(":", "r", "e"), model));
  expect(typing.at(-1)).toMatch(/^ :re█ /);
  expect(typing.slice(-7, -1).join("\n")).toMatch(/▸reload .*\n restart /);
});

test("plain text has the header, every row and what needs attention, and no selection", () => {
  const lines = text(plainView(after([shows(FLEET)]), 120));
  expect(lines).toHaveLength(12);
  expect(lines.join("\n")).not.toContain("▸");
  expect(lines.at(-2)).toBe(" ✗ web.3 exited, and waits for its next start");
  expect(lines.at(-1)).toMatch(/^ ! 1 of 3 instances of web are ready {2}web\.2 is draining$/);
});

test("only ASCII, if nothing else can be shown", () => {
  const model = { ...after([shows(fleetOf(8)), figureHistory(fleetOf(8), 300)]), glyphs: "ascii" as const };
  for (const [width, height] of SIZES) {
    const all = screen(model, width, height).join("\n");
    expect(all).toMatch(/^[\n\x20-\x7e]*$/);
    expect(all).toMatch(/^>web\.1 /m);
  }
  expect(text(plainView(model, 120)).join("\n")).toMatch(/^[\n\x20-\x7e]*$/);
});

test("a press selects a row, and on a title sorts", () => {
  const model = after([shows(fleetOf(8))]);
  const { names, head } = screenOf(model);
  const y = names.indexOf("web.4");
  expect(after([{ type: "mouse", kind: "press", x: 3, y, at: 1 }], model).selected).toBe("web.4");
  const column = head?.columns.find(({ key }) => key === "latencyMs.p99");
  const sorted = after([{ type: "mouse", kind: "press", x: (column?.end ?? 0) - 1, y: head?.y ?? 0, at: 1 }], model);
  expect(sorted.sort).toEqual({ key: "latencyMs.p99", reversed: false });
});

/** Names and texts of every kind: wide, joined and combining characters, control characters, and halves of surrogate pairs. */
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
      isCanary: fc.boolean(),
      generation: fc.nat(),
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
    .constantFrom(..."jkgG+-rRKsldec/?qynpbhfw:[] m!123456789", "up", "down", "tab", "pageup")
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
  expect(clean("a\u2028b\u2029c")).toBe("a□b□c");
});

test("after a character whose width terminals disagree on, the cursor is put at the next column", () => {
  expect(placed("\u0e01\u0e33", 4, 1)).toBe(" \x1b[5G\u0e01\u0e33\x1b[6G");
  expect(placed("漢", 0, 2)).toBe("  \x1b[1G漢\x1b[3G");
});

test("a mark without its letter is left out, so that it joins nothing before it", () => {
  expect(cells("\u0cbcx\u0301\u0300y")).toEqual(["x\u0301\u0300", "y"]);
  expect(clean("\u0cbc\u0301")).toBe("");
});

test("whatever happens, at any size, every line is exactly as wide as the screen", () => {
  const size = fc.record({
    width: fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 20, max: 220 })),
    height: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 5, max: 70 })),
  });
  const glyphs = fc.constantFrom("braille", "block", "ascii");
  fc.assert(
    fc.property(fc.array(anyMessage, { maxLength: 14 }), size, glyphs, (messages, { width, height }, drawn) => {
      const model = after(messages);
      for (const shown of ["overview", "detail", "log", "deaths", "canary", "help"] as View[]) {
        const lines = view({ ...model, view: shown, size: { width, height }, glyphs: drawn as Model["glyphs"] });
        expect(lines).toHaveLength(height);
        for (const line of lines) {
          const whole = line.map((segment) => segment.text).join("");
          if (stringWidth(whole) !== width) expect([shown, whole, stringWidth(whole)]).toEqual([shown, whole, width]);
          // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not reach the terminal
          if (/[\x00-\x1f\x7f-\x9f]/.test(whole)) expect(whole).toBe("without control characters");
        }
      }
    }),
    { numRuns: 50 },
  );
});

test.each(sortKeys())("sorted by %s all rows are there", (key) => {
  const model = { ...after([shows(FLEET)]), sort: { key, reversed: false } };
  const names = screen(model).flatMap((line) => /^.(web\.\d|files\.\d)/.exec(line)?.[1] ?? []);
  expect(names.sort()).toEqual(["files.1", "web.1", "web.2", "web.3"]);
});

test("a fleet that gets no requests shows none; a schedule shows its pattern, its last run and the next", () => {
  const nothing = { requestsTotal: null, requestsPerSecond: null, inFlight: null, latencyMs: { p50: null, p99: null } };
  const last = { at: 0, durationSeconds: 2.3, code: 0, signal: null, failure: null };
  const schedule = { nextAt: 1, nextInSeconds: 240, runningSeconds: null, last, runs: 3, failures: 1, skipped: 0 };
  const pools = [
    { ...pool("jobs", [instance("jobs.1", nothing)]), ...nothing, inFlight: 0, kind: "worker", routes: [] },
    {
      ...pool("nightly", [instance("nightly.1", { ...nothing, schedule })]),
      ...nothing,
      ...{ inFlight: 0, routes: [], cron: "0 3 * * *" },
    },
  ] as PoolStatus[];
  const alone = screen(after([shows({ ...status(pools), listen: [], balancers: [] })]));
  expect(alone.join("\n")).not.toMatch(/req\/s|REQ|5xx|p99|P99|FLY|MINUTE|balancer/);
  expect(alone.join("\n")).toMatch(/ nightly\.1 .* ok 2s, 4m /);
  const mixed = screen(after([shows(status([...pools, pool("web", [instance("web.1")])]))]), 120, 30);
  expect(mixed.join("\n")).toMatch(/ REQ\/S .* RUN, NEXT /);
  expect(mixed.join("\n")).toMatch(/ nightly\.1 .* ok 2s, 4m /);
  expect(mixed.join("\n")).toMatch(/ nightly .* cron 0 3 \* \* \* /);
});
