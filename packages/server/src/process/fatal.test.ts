/** What an instance reports about a signal that its app sends to its own process. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { watchOwnSignals } from "./fatal.js";

const { kill } = process;
let isLeaving = false;

beforeEach(() => {
  isLeaving = false;
  vi.spyOn(process, "kill").mockReturnValue(true);
  watchOwnSignals(() => isLeaving);
});
afterEach(() => {
  vi.restoreAllMocks();
  process.kill = kill;
});

test.each([
  ["the default signal", undefined, "SIGTERM"],
  ["a name", "SIGKILL", "SIGKILL"],
  ["a number", 15, "SIGTERM"],
  ["a check whether a process is there", 0, undefined],
  ["a signal that ends nothing", "SIGCONT", undefined],
])("%s", (_, signal, name) => {
  const error = vi.spyOn(console, "error").mockImplementation(() => {});
  process.kill(process.ppid, signal);
  expect(error).not.toHaveBeenCalled();
  process.kill(process.pid, signal);
  const said = `the app ended this process with process.kill(process.pid, "${name}") in `;
  expect(error.mock.calls).toEqual(name === undefined ? [] : [[expect.stringMatching(/fatal\.test\.ts:\d+\)?$/)]]);
  if (name !== undefined) expect(error.mock.calls[0]?.[0]).toContain(said);
  error.mockClear();
  isLeaving = true;
  process.kill(process.pid, signal);
  expect(error).not.toHaveBeenCalled();
});
