/** Where we lose is computed: no figure in which a peer is better may be left out, and none may be made up. */
import { expect, test } from "vitest";
import { lossesOf, lossLines } from "./losses.mjs";

const figures = (values) => ({
  requestsPerSecond: 10_000,
  p50Ms: 10,
  p99Ms: 20,
  cpuUs: 50,
  rssMB: 100,
  pssMB: 50,
  ...values,
});

const section = (rows) => [{ title: "Two", kind: "load", rows }];
const ours = { name: "paceline", isOurs: true, runtime: "bun", close: figures() };

test("every better figure of a peer is told, more requests and less of anything else", () => {
  const peer = { name: "peer", isOurs: false, close: figures({ requestsPerSecond: 12_000, cpuUs: 40, p99Ms: 25 }) };
  expect(lossLines(lossesOf(section([ours, peer])))).toEqual([
    "Two, one connection a request: peer beats paceline: 12,000 req/s against 10,000 req/s (+20 %); " +
      "40.0 µs CPU a request against 50.0 µs CPU a request (−20 %)",
  ]);
});

test("what reads the same is no loss, nor is what was not measured", () => {
  const rows = [
    ours,
    { name: "same", isOurs: false, close: figures({ cpuUs: 49.99 }) },
    { name: "none", isOurs: false, "keep-alive": figures({ cpuUs: 1 }) },
    { name: "failed", isOurs: false, close: figures({ cpuUs: undefined }) },
  ];
  expect(lossesOf(section(rows))).toEqual([]);
});

test("our row on Node is compared with peers on Node only", () => {
  const rows = [
    ours,
    { ...ours, name: "paceline on Node", runtime: "node", close: figures({ cpuUs: 90 }) },
    { name: "node peer", isOurs: false, runtime: "node", close: figures({ cpuUs: 80 }) },
    { name: "other peer", isOurs: false, close: figures({ cpuUs: 80 }) },
  ];
  expect(lossesOf(section(rows)).map(({ peer, ours: own }) => [peer, own])).toEqual([
    ["node peer", "paceline on Node"],
  ]);
});

test("memory is compared idle and after load", () => {
  const rows = [
    { ...ours, idle: { rssMB: 300, pssMB: 100 }, loaded: { rssMB: 300, pssMB: 100 } },
    { name: "peer", isOurs: false, idle: { rssMB: 400, pssMB: 90 }, loaded: { rssMB: 400, pssMB: 110 } },
  ];
  expect(lossLines(lossesOf([{ title: "Memory", kind: "memory", rows }]))).toEqual([
    "Memory, idle: peer beats paceline: 90 MB PSS against 100 MB PSS (−10 %)",
  ]);
});
