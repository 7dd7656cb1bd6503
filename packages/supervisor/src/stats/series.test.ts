/** The figures of the last minutes and hours. */
import { Histogram } from "@paceline/wire";
import { expect, test } from "vitest";
import { MINUTES, pack, SECONDS, SeriesBook, type SeriesSample, unpack } from "./series.js";

const NOTHING: SeriesSample = {
  ...{ requests: null, errors5xx: null, inFlight: null, rssBytes: null, cpuPercent: null, latency: [] },
};

function sample(requests: number, more: Partial<SeriesSample> = {}): SeriesSample {
  return { ...NOTHING, requests, errors5xx: 0, inFlight: 1, ...more };
}

function latency(...milliseconds: number[]) {
  const histogram = new Histogram();
  for (const ms of milliseconds) histogram.record(ms * 1000);
  return [histogram.takeSparse()];
}

function samples(entries: Record<string, SeriesSample>): Map<string, SeriesSample> {
  return new Map(Object.entries(entries));
}

test.each([
  [0, 10, 0],
  [12.3, 10, 12.3],
  [204.7, 10, 204.7],
  [0.042, 1000, 0.042],
  [93_000_000, 1 / 1024, 93_000_000],
  [4.1e9, 1 / 1024, 4.1e9],
  [1e15, 10, 1e15],
])("%d is kept in two bytes to a thousandth", (value, steps, kept) => {
  const packed = pack(value, steps);
  expect(packed).toBeLessThan(0xffff);
  expect(Math.abs((unpack(packed, steps) ?? Number.NaN) - kept)).toBeLessThanOrEqual(kept / 1000);
});

test("unknown values are not zero", () => {
  expect(unpack(pack(null, 10), 10)).toBeNull();
  expect(unpack(pack(0, 10), 10)).toBe(0);
});

test("all names have the same seconds; seconds before a name was known, and seconds without a sample, are unknown", () => {
  const book = new SeriesBook();
  book.take(0, samples({ "web.1": sample(5) }));
  book.take(1, samples({ "web.1": sample(6), "web.2": sample(1) }));
  book.take(4, samples({ "web.1": NOTHING, "web.2": sample(2) }));
  const { length, series } = book.read("seconds");
  expect(length).toBe(5);
  expect(series["web.1"]?.requests).toEqual([5, 6, null, null, null]);
  expect(series["web.2"]?.requests).toEqual([null, 1, null, null, 2]);
});

test("seconds are kept for five minutes, and a removed name is forgotten", () => {
  const book = new SeriesBook();
  for (let second = 0; second < 1000; second++) book.take(second, samples({ a: sample(second % 100) }));
  const { length, series } = book.read("seconds");
  expect(length).toBe(SECONDS);
  expect(series.a?.requests.at(-1)).toBe(99);
  expect(series.a?.requests).toHaveLength(SECONDS);
  book.take(1000, samples({ b: sample(1) }));
  expect(Object.keys(book.read("seconds").series)).toEqual(["b"]);
});

test("a minute has the mean of rates, the highest memory, and the latencies of all its responses", () => {
  const book = new SeriesBook();
  for (let second = 0; second < 61; second++) {
    const isSlow = second === 30;
    const more = { rssBytes: isSlow ? 2048 : 1024, errors5xx: isSlow ? 6 : 0 };
    book.take(second, samples({ a: sample(second < 30 ? 10 : 20, { ...more, latency: latency(isSlow ? 100 : 1) }) }));
  }
  const { length, series } = book.read("minutes");
  expect(length).toBe(1);
  expect(series.a?.requests).toEqual([15]);
  expect(series.a?.rssBytes).toEqual([2048]);
  expect(series.a?.errors5xx).toEqual([0.1]);
  expect(series.a?.p50?.[0]).toBeCloseTo(1, 1);
  expect(series.a?.p99?.[0]).toBeGreaterThan(95);
});

test("minutes are kept for a day, at two bytes per figure", () => {
  const book = new SeriesBook();
  // One sample per minute is enough to complete it.
  for (let minute = 0; minute <= MINUTES + 100; minute++) book.take(60 * minute, samples({ a: sample(minute) }));
  const { length, series } = book.read("minutes");
  expect(length).toBe(MINUTES);
  expect(Math.round(series.a?.requests.at(-1) ?? 0)).toBe(MINUTES + 99);
  expect(series.a?.requests[0]).toBe(100);
});

test("the sum of the last minute", () => {
  const book = new SeriesBook();
  for (let second = 0; second < 200; second++) book.take(second, samples({ a: sample(1, { errors5xx: 3 }) }));
  expect(book.sumOf("a", "errors5xx", 60)).toBe(180);
  expect(book.sumOf("b", "errors5xx", 60)).toBe(0);
});
