/** The pure parts of the page: numbers, series, charts, messages, filters and streams. */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { FigureHistory, LogLine } from "../control/api.js";
import { compress, policyOf } from "../control/page.js";
import { builtFile } from "../package.js";
import { interval, niceMax, pathOf, placeOnScale, shape } from "./charts.js";
import { LineParser, StreamParser } from "./connection.js";
import { h, type Node } from "./dom.js";
import { age, clock, duration, megabytes, number, percent, short } from "./format.js";
import { FIRST, filtered, hrefOf, levelOf, parseFilter, parseRoute, type Route, reduce } from "./model.js";
import { advance, full, median, medianOf, type Series, squeezed, sumOf } from "./series.js";

describe("numbers", () => {
  it.each([
    [number, [null, 0, 0.26, 9.94, 9.96, 1234.6, 1234567], ["–", "0", "0.3", "9.9", "10", "1,235", "1,234,567"]],
    [short, [99_949, 123_456, 3_140_000, 12_000_000], ["99,949", "123k", "3.1M", "12M"]],
    [
      duration,
      [null, 0.34, 1.84, 22.4, 999.6, 12_400, 61_000],
      ["–", "340 µs", "1.8 ms", "22 ms", "1.0 s", "12 s", "1 min"],
    ],
    [megabytes, [28_100_000, 1_202_000_000], ["28.1", "1,202"]],
    [age, [4.9, 3599, 86_399, 260_000], ["4 s", "59 min", "23 h", "3 d"]],
  ] as [(value: number | null) => string, (number | null)[], string[]][])("%s", (format, values, texts) => {
    expect(values.map(format)).toEqual(texts);
  });

  it("shares and times", () => {
    expect([percent(31, 100), percent(1, 300), percent(1, 9000), percent(0, 9)]).toEqual([
      "31 %",
      "0.3 %",
      "< 0.1 %",
      "–",
    ]);
    expect(clock(0, 0)).toMatch(/^\d\d:\d\d:\d\d$/);
    expect(clock(0, 86_400_001)).toMatch(/^19\d\d-\d\d-\d\d \d\d:/);
  });
});

const figures = (requests: (number | null)[]) => {
  const none = requests.map(() => null);
  return { requests, errors5xx: none, p50: none, p99: none, inFlight: none, rssBytes: none, cpuPercent: none };
};
const history = (now: number, requests: (number | null)[], name = "web.1"): FigureHistory => ({
  ...{ now, everyMs: 1000, length: requests.length, marks: [] },
  series: { [name]: figures(requests) },
});
const requestsOf = ({ series }: Series, name = "web.1") => series[name]?.requests;

describe("series", () => {
  const before = full(history(10_000, [1, 2, 3]), 5);

  it("values from before the start of the fleet are unknown", () => {
    expect(requestsOf(before)).toEqual([null, null, 1, 2, 3]);
    expect(requestsOf(full(history(0, [1, 2, 3]), 2))).toEqual([2, 3]);
  });

  it.each([
    ["a second", history(11_000, [3, 4]), [null, 1, 2, 3, 4]],
    ["the same second again", history(10_040, [2, 3.5]), [null, null, 1, 2, 3.5]],
    ["three seconds, of which one was missed", history(13_000, [5, 6]), [2, 3, null, 5, 6]],
    ["after a long time", history(99_000, [7]), [null, null, null, null, 7]],
    ["of another fleet, whose clock is behind", history(1_000, [8]), [null, null, null, null, 8]],
  ])("continues by %s", (_, recent, expected) => {
    expect(requestsOf(advance(before, recent))).toEqual(expected);
  });

  it("drops removed names, and starts new ones as unknown", () => {
    const after = advance(before, history(11_000, [9], "web.2"));
    expect(Object.keys(after.series)).toEqual(["web.2"]);
    expect(requestsOf(after, "web.2")).toEqual([null, null, null, null, 9]);
  });

  it("keeps each mark once, while it is visible", () => {
    const mark = { at: 9_000, kind: "death", name: "web.1", id: 1 } as const;
    const marked = advance({ ...before, marks: [mark] }, { ...history(11_000, [4]), marks: [mark] });
    expect(marked.marks).toEqual([mark]);
    expect(advance(marked, history(15_000, [4])).marks).toEqual([]);
  });

  it("sums and medians use known values only", () => {
    const all: Series = {
      ...before,
      length: 2,
      series: { a: figures([1, null]), b: figures([5, null]), c: figures([9, 2]) },
    };
    expect(sumOf(all, ["a", "b", "x"], "requests")).toEqual([6, null]);
    expect(medianOf(all, ["a", "b", "c"], "requests")).toEqual([5, 2]);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });

  it("squeezing keeps peaks and gaps", () => {
    expect(squeezed([1, 9, null, null, 2, 3], 3)).toEqual([9, null, 3]);
    expect(squeezed([1], 3)).toEqual([1]);
  });
});

describe("charts", () => {
  it("draw unknown values as a gap, and a single value as a short line", () => {
    expect(pathOf([0, 50, null, 100], 100)).toBe("M0 100L1 50M3 0h.5");
    expect(pathOf([50, 100], 100, true)).toBe("M0 50L1 0V100H0Z");
    expect(pathOf([null], 100)).toBe("");
  });

  it.each([
    [0, 1],
    [0.3, 0.3],
    [1.2, 1.5],
    [98, 100],
    [1480, 1500],
    [7600, 10_000],
  ])("%d fits below %d", (value, max) => {
    expect(niceMax(value)).toBe(max);
  });

  it("the latency shape also has a text", () => {
    expect(shape([0, 0, 0])).toBe("–");
    const { attributes } = shape([0, 5, 20, 1, 0, 0, 0, 0, 0, 0]) as Node;
    expect(attributes["aria-label"]).toBe("most responses ≤ 2 ms, the slowest ≤ 5 ms");
  });

  it("an interval without an end reaches the edge", () => {
    expect([placeOnScale(0, 2), placeOnScale(2, 2), placeOnScale(-9, 2), placeOnScale(1, 0)]).toEqual([40, 80, 0, 90]);
    const bars = interval({ interval: [null, 1], most: 2, verdict: "wait" }).children as Node[];
    expect(bars.find(({ attributes }) => attributes.class === "yellow")?.attributes).toMatchObject({
      x: "0%",
      width: "60.0%",
    });
  });
});

describe("messages", () => {
  const event = (sequence: number, at = sequence) =>
    ({ sequence, at, level: "info", subject: "web", message: "" }) as const;
  const sequences = (...batches: ReturnType<typeof event>[][]) =>
    batches
      .reduce((state, events) => reduce(state, { type: "events", events }), FIRST)
      .events.map(({ sequence }) => sequence);

  it("events that arrive again are shown once", () => {
    expect(sequences([event(1), event(2)], [event(2), event(3)])).toEqual([1, 2, 3]);
  });

  it("after a new start of the fleet, the list starts again", () => {
    expect(sequences([event(7), event(8)], [event(1, 20), event(2, 21)])).toEqual([1, 2]);
  });

  it("are bounded", () => {
    expect(sequences(Array.from({ length: 900 }, (_, at) => event(at + 1)))).toHaveLength(400);
  });
});

const line = (text: string, more: Partial<LogLine> = {}): LogLine => ({
  sequence: 1,
  at: 0,
  name: "web.1",
  text,
  ...more,
});

describe("the log", () => {
  it.each([
    ["", true],
    ["cart", true],
    ["CART 12", true],
    ["-cart", false],
    ["-order", true],
    ["/^GET .*12$/", true],
    ["-/^GET/", false],
    ["/a b/", false],
    ["name:web.1", true],
    ["name:web", true],
    ["name:api", false],
    ["web.1", true],
  ])("filter %j: %s", (filter, accepts) => {
    expect(parseFilter(filter).accepts(line("GET /cart 12"))).toBe(accepts);
  });

  it("reports an invalid expression, and works without it", () => {
    const { problem, accepts } = parseFilter("/(/ GET");
    expect([problem, accepts(line("GET /"))]).toEqual(["/(/ is no regular expression", true]);
  });

  it.each([
    [line("TypeError: x is undefined"), "error"],
    [line('{"level":50,"msg":"x"}'), "error"],
    [line("[WARN] slow query"), "warn"],
    [line("GET /errors-of-today 200"), "info"],
    [line("has exited", { level: "error" }), "error"],
    [line("[7 lines lost]", { lost: 7 }), "warn"],
  ])("%j is %s", (given, level) => {
    expect(levelOf(given)).toBe(level);
  });

  it("counts the levels of the filtered lines, including hidden ones", () => {
    const lines = [line("a"), line("b WARN"), line("Error: c"), line("d")];
    const { lines: left, counts } = filtered({ lines, filter: "-d", hidden: ["info"], isPaused: false });
    expect(left.map(({ text }) => text)).toEqual(["b WARN", "Error: c"]);
    expect(counts).toEqual({ info: 1, warn: 1, error: 1 });
  });
});

describe("addresses", () => {
  it.each([
    ["", "overview", ""],
    ["#/instance/web.3", "instance", "web.3"],
    ["#/instance/", "overview", ""],
    ["#/deploy", "deploy", ""],
    ["#/deploy/17", "deploy", "17"],
    ["#/death/%zz", "overview", ""],
    ["#/else", "overview", ""],
  ])("%j", (hash, view, name) => {
    const route = parseRoute(hash);
    expect(route).toEqual({ view, name });
    expect(parseRoute(hrefOf(route as Route))).toEqual(route);
  });
});

describe("streams", () => {
  it("messages arrive in any pieces", () => {
    // Other programs end lines at these characters too.
    const odd = "\u2028\u2029\x85\v\f";
    const text = `event: status\ndata: {"a":1}\n\nevent: events\ndata: ["${odd}"]\n\nevent: st`;
    const parser = new StreamParser();
    const found = [...text].flatMap((piece) => parser.push(piece));
    expect(found).toEqual([
      { event: "status", data: '{"a":1}' },
      { event: "events", data: `["${odd}"]` },
    ]);
    const lines = new LineParser();
    expect([lines.push(`{"a${odd}":1}\n\n{"b`), lines.push('":2}\n')]).toEqual([[`{"a${odd}":1}`], ['{"b":2}']]);
  });
});

describe("the document", () => {
  const html = readFileSync(builtFile("page.html"), "utf8");

  it("is under 25 kB in total", () => {
    expect(compress(Buffer.from(html)).length).toBeLessThan(25_000);
  });

  it("loads nothing, and its policy names its one script and its one style", () => {
    const markup = html.replace(/<script>.*<\/script>/s, "");
    expect(markup.match(/(src|href)=(?!"?data:)[^>]*/g)).toBeNull();
    expect(html).not.toMatch(/@import|url\(/);
    const policy = policyOf(html);
    expect(policy).toMatch(/^default-src 'none'; script-src 'sha256-[^' ]+'; style-src 'sha256-[^' ]+';/);
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toContain("unsafe");
  });
});

describe("elements", () => {
  it("leave out hidden children", () => {
    expect(h("p", { key: 3, class: "x" }, "a", false, null, undefined, "", [["b"], 4]).children).toEqual([
      "a",
      "b",
      "4",
    ]);
    expect(h("p", { key: 3 }).key).toBe("3");
  });

  it("show marks of direction, characters without a width and control characters by their codes", () => {
    expect(h("p", {}, "a\u202egnp.exe\u2069 b\u200bc\x1b[1m").children).toEqual([
      "a\\u202egnp.exe\\u2069 b\\u200bc\\x1b[1m",
    ]);
  });
});
