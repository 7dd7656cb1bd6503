/** Timers fire after their time has passed, despite changes of the clock. */
import { describe, expect, it, onTestFinished, test, vi } from "vitest";
import type { FleetEffect } from "../core/fleet-changes.js";
import { SpawnTurns, Timers } from "./effects.js";

test("a clock that is set back delays no timer", async () => {
  const timers = new Timers();
  const rung = new Promise((resolve) => timers.set("a", performance.now() + 20, () => resolve("rung")));
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 3_600_000 });
  onTestFinished(() => void vi.useRealTimers());
  expect(await rung).toBe("rung");
});

const turn = () => new Promise((resolve) => setImmediate(resolve));
const ids = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => `web.${from + n}#1`);

describe("SpawnTurns", () => {
  const started: string[] = [];
  const many = () => {
    started.length = 0;
    const turns = new SpawnTurns(({ id }) => started.push(id));
    for (const id of ids(1, 10)) turns.add({ id } as FleetEffect);
    return turns;
  };

  it("starts a few at once and the others in later turns, in order, each once", async () => {
    many();
    expect(started).toEqual(ids(1, 4));
    await turn();
    expect(started).toEqual(ids(1, 8));
    await turn();
    await turn();
    expect(started).toEqual(ids(1, 10));
  });

  it("starts a process that is to be signalled before its turn, and not a second time", async () => {
    const turns = many();
    turns.startNow("web.9#1");
    turns.startNow("web.1#1");
    expect(started).toEqual([...ids(1, 4), "web.9#1"]);
    for (let n = 0; n < 3; n++) await turn();
    expect([...started].sort()).toEqual(ids(1, 10).sort());
    turns.add({ id: "web.11#1" } as FleetEffect);
    expect(started.at(-1)).toBe("web.11#1");
  });
});
