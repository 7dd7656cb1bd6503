/** docs/cli.md names every command and every option. */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { expect, test } from "vitest";
import { exitStatusOfCode } from "../errors.js";
import { commands } from "./commands/index.js";
import { commandLine } from "./program.js";

const page = readFileSync(new URL("../../../../docs/cli.md", import.meta.url), "utf8");

/** The commands that are meant for people. */
function allCommands(): readonly Command[] {
  return commandLine(() => async () => {}).commands.filter((command) => command.name() !== "complete");
}

test("a command is registered by its name, and is defined alone where it is named", () => {
  for (const name of Object.keys(commands)) {
    const defined = commandLine(() => async () => {}, undefined, name).commands.map((command) => command.name());
    expect(defined).toEqual([name]);
  }
  for (const name of ["list", "help", "-v", "toString"])
    expect(commandLine(() => async () => {}, undefined, name).commands).toHaveLength(Object.keys(commands).length);
});

test("docs/cli.md has every command in a heading", () => {
  const headings = [...page.matchAll(/^## (.*)$/gm)].flatMap(([, heading = ""]) => heading.split(", "));
  for (const command of allCommands()) expect(headings).toContain(command.name());
});

test("docs/cli.md has every option", () => {
  for (const command of allCommands()) {
    for (const option of command.options.filter(({ hidden }) => !hidden)) {
      const { short, long } = option;
      expect(page).toContain(short ? `${short}, ${long}` : long);
    }
  }
});

test.each([
  ["invalid", 2],
  ["config", 2],
  ["busy", 5],
  ["failed", 1],
  ["EADDRINUSE", 1],
  ["not-running", 3],
  ["timeout", 4],
  ["release-refused", 6],
  ["taken-back", 7],
  ["undecided", 9],
])("the code %s is exit status %i", (code, status) => {
  expect(exitStatusOfCode(code)).toBe(status);
});
