/** Durations and names for display; text that would control a terminal is made visible, and ordinary text is unchanged. */
import { expect, test } from "vitest";
import { formatDuration, unknownName, unseenText, visible } from "./words.js";

test.each([
  ["\x00", "\\x00"],
  ["\x1b[2J", "\\x1b[2J"],
  ["\r", "\\r"],
  ["\x9b", "\\u009b"],
  ...[
    0x61c, 0x200b, 0x200c, 0x200d, 0x2060, 0xfeff, 0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202e, 0x2066, 0x2069,
  ].map((code) => [String.fromCharCode(code), `\\u${code.toString(16).padStart(4, "0")}`]),
  ["a\tb\nc", "a\tb\nc"],
  ["Zoë שלום 車輪 👩\u200d💻 – ‘x’", "Zoë שלום 車輪 👩\u200d💻 – ‘x’"],
])("%j is shown as %j", (text, shown) => {
  expect(visible(`<${text}>`)).toBe(`<${shown}>`);
});

test.each([
  [0.4, "0 s"],
  [59.9, "59 s"],
  [60, "1 min"],
  [3_700, "1 h 1 min"],
  [86_400, "1 d"],
  [86_460, "1 d"],
])("%d seconds are %s", (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

test.each([
  ["web.2", "web.2 is an instance: name its pool, web; restart and drain take an instance"],
  ["web.3", 'no pool or instance named "web.3" (known: web.1, web.2)'],
  ["wbe", 'no pool or instance named "wbe" (known: web)'],
])("a command that needs a name other than %s says so", (name, message) => {
  expect(unknownName(name, ["web", "web.1", "web.2"])).toBe(message);
});

test.each([
  [[5, 9], "between 10:31:05 and 10:31:09 while no supervisor was running"],
  [[5, 5.9], "at 10:31:05 while no supervisor was running"],
  [[5, 86_400], "between 2026-05-07 10:31:05 and 2026-05-08 10:31:00 while no supervisor was running"],
])("an end without a supervisor after %j seconds", ([from = 0, to = 0], text) => {
  const at = (seconds: number) => new Date(2026, 4, 7, 10, 31).getTime() + seconds * 1000;
  expect(unseenText(at(from), at(to))).toBe(text);
});
