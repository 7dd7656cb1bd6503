/** Alarms ring when their time has passed, whatever becomes of the time of day. */
import { expect, onTestFinished, test, vi } from "vitest";
import { Timers } from "./timers.js";

test("a clock that is set back holds up no alarm", async () => {
  const timers = new Timers();
  const rung = new Promise((resolve) => timers.set("a", performance.now() + 20, () => resolve("rung")));
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 3_600_000 });
  onTestFinished(() => void vi.useRealTimers());
  expect(await rung).toBe("rung");
});
