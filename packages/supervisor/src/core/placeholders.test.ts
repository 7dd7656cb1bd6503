/** Placeholders, and text that only looks like one. */
import { expect, test } from "vitest";
import { fillPlaceholders, placeholdersIn } from "./placeholders.js";

const VALUES = { socket: "/run/a.sock", port: "4000", host: "127.0.0.1", name: "api.1" };

test.each([
  ["unix:{socket}", ["socket"], "unix:/run/a.sock"],
  ["{host}:{port}", ["host", "port"], "127.0.0.1:4000"],
  ["--name={name}", ["name"], "--name=api.1"],
  ["nothing", [], "nothing"],
  ["", [], ""],
  // Unknown words stay and are reported.
  ["{sock}", ["sock"], "{sock}"],
  // Shell syntax, JSON, and text that is not a word.
  ["exec x --port $" + "{PORT} $" + "{port}", [], "exec x --port $" + "{PORT} $" + "{port}"],
  ['{"port": 1}', [], '{"port": 1}'],
  ["{} { port } {PORT} {port", [], "{} { port } {PORT} {port"],
  // Doubled braces become single ones.
  ["{{port}}", [], "{port}"],
  ["awk '{{print}}'", [], "awk '{print}'"],
  ["{{.Host}}", [], "{{.Host}}"],
])("%s", (text, words, filled) => {
  expect(placeholdersIn(text)).toEqual(words);
  expect(fillPlaceholders(text, VALUES)).toBe(filled);
});

test("a placeholder without a value is left unchanged", () => {
  expect(fillPlaceholders("{port} {socket}", { socket: "/s" })).toBe("{port} /s");
});
