/** Who starts the supervisor again after it was killed. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { exitSoon, isNobodys } from "./starter.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

test("a stopped supervisor exits with its status, whatever is still open", () => {
  const exit = vi.spyOn(process, "exit").mockImplementation(() => undefined as never);
  exitSoon(3);
  vi.advanceTimersByTime(1_000);
  expect(exit).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1_000);
  expect(exit).toHaveBeenCalledExactlyOnceWith(3);
});

test.each([
  ["start --detach", {}, false, true],
  ["start in a terminal", { stopWithClient: true, starter: "/run/s1" }, false, false],
  ["a balancer, for start --detach", { starter: "/run/s1" }, false, true],
  ["an upgrade of a detached fleet", { nextSupervisor: true }, false, true],
  [
    "an upgrade of one in the foreground, beside the former process",
    { nextSupervisor: true, starter: "/run/s1" },
    false,
    false,
  ],
  ["an upgrade of one in a terminal", { nextSupervisor: true, starter: "/run/s1", stopWithClient: true }, false, false],
  ["an upgrade of a unit of systemd", { nextSupervisor: true }, true, false],
])("a fleet of %s", (_, options, hasServiceManager, expected) => {
  expect(isNobodys(options, hasServiceManager)).toBe(expected);
});
