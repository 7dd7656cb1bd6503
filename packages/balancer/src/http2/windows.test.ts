/** How much is sent into a client's window. */
import { describe, expect, it } from "vitest";
import { SendWindow } from "./windows.js";

describe("a window that opens by little at a time", () => {
  it.each<[string, first: number, changes: number[], waiting: number, room: number]>([
    ["is open", 65_535, [], 100_000, 65_535],
    ["is closed", 0, [], 10, 0],
    ["is negative", 100, [-200], 10, 0],
    ["was never wider", 1, [], 100_000, 1],
    ["was opened by a byte", 0, [1], 100_000, 1],
    ["was made as small by a setting", 65_535, [-65_435], 100_000, 100],
  ])("%s", (_, first, changes, waiting, room) => {
    const window = new SendWindow(first);
    for (const change of changes) expect(window.change(change)).toBe(true);
    expect(window.room(waiting)).toBe(room);
  });

  it.each<[first: number, left: number, waiting: number, room: number]>([
    [65_535, 4095, 4096, 0],
    [65_535, 4095, 4095, 4095],
    [65_535, 4096, 100_000, 4096],
    [65_535, 0, 1, 0],
    [1000, 499, 100_000, 0],
    [1000, 500, 100_000, 500],
  ])("of %i with %i left and %i waiting: %i", (first, left, waiting, room) => {
    const window = new SendWindow(first);
    window.left = left;
    expect(window.room(waiting)).toBe(room);
  });

  it("never exceeds the maximum", () => {
    expect(new SendWindow(65_535).change(2 ** 31 - 65_536)).toBe(true);
    expect(new SendWindow(65_535).change(2 ** 31 - 65_535)).toBe(false);
  });
});
