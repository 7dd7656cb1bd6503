/** Losses are computed: every better figure of a peer is listed, and no other. */
import { expect, test } from "vitest";
import { lossesOf, lossTables } from "./losses.mjs";

const figures = (values) => ({
  requestsPerSecond: 10_000,
  p50Ms: 10,
  p99Ms: 20,
  cpuUs: 50,
  rssMB: 100,
  pssMB: 50,
  ...values,
});

const section = (rows) => [{ id: "fleet-2", kind: "load", rows }];
const ours = { name: "paceline", isOurs: true, runtime: "bun", close: figures() };

test("every better figure of a peer is listed: more requests, and less of anything else", () => {
  const peer = { name: "peer", isOurs: false, close: figures({ requestsPerSecond: 12_000, cpuUs: 40, p99Ms: 25 }) };
  expect(lossesOf(section([ours, peer]))).toEqual([
    {
      section: "fleet-2",
      view: "close",
      ours: "paceline",
      peer: "peer",
      figures: {
        requestsPerSecond: { peer: "12,000", ours: "10,000", percent: 20 },
        cpuUs: { peer: "40.0", ours: "50.0", percent: -20 },
      },
    },
  ]);
});

test("a value that is printed the same is no loss, nor is a missing value", () => {
  const rows = [
    ours,
    { name: "same", isOurs: false, close: figures({ cpuUs: 49.99 }) },
    { name: "none", isOurs: false, "keep-alive": figures({ cpuUs: 1 }) },
    { name: "failed", isOurs: false, close: figures({ cpuUs: undefined }) },
  ];
  expect(lossesOf(section(rows))).toEqual([]);
});

test("our row on Node is only compared with peers on Node", () => {
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

test("memory is compared when idle and after load", () => {
  const rows = [
    { ...ours, idle: { rssMB: 300, pssMB: 100 }, loaded: { rssMB: 300, pssMB: 100 } },
    { name: "peer", isOurs: false, idle: { rssMB: 400, pssMB: 90 }, loaded: { rssMB: 400, pssMB: 110 } },
  ];
  expect(lossTables(lossesOf([{ id: "memory-30", kind: "memory", rows }]))).toEqual([
    {
      caption: "paceline loses to",
      header: ["", "at", "req/s", "p50 ms", "p99 ms", "CPU µs/req", "RSS MB", "PSS MB"],
      rows: [["peer", "memory-30, idle", "", "", "", "", "", "90 / 100 (−10 %)"]],
    },
  ]);
});
