import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { composeFleet, type LoadTask } from "./compose.js";
import { readEnvLines } from "./env-files.js";
import type { ConfigError } from "./problems.js";

const folder = mkdtempSync(join(tmpdir(), "env-files-"));
afterAll(() => rmSync(folder, { recursive: true }));

const GOOD: [text: string, variables: Record<string, string>][] = [
  ["", {}],
  ["# comment\n\n  # indented\n\t\nA=1\n", { A: "1" }],
  ["export A=1\nB = 2 # comment\nC=", { A: "1", B: "2", C: "" }],
  ["\uFEFFA=1\r\nB='two words' # comment\r\n", { A: "1", B: "two words" }],
  ['A="two\nlines"\nB=`"`\nC=it"s', { A: "two\nlines", B: '"', C: 'it"s' }],
  ["A.b-c=1\nA.b-c=2", { "A.b-c": "2" }],
];

const BAD: [text: string, problems: string[]][] = [
  [
    "A=1\nbad line\nB=2\n=3",
    ["2: must be NAME=value, or a comment after #", "4: must be NAME=value, or a comment after #"],
  ],
  ['A=1\nB="unclosed\nC=2\n', ['2: B: the " before its value is not closed']],
  ["A='un\nB='x'", ["1: A: text follows the closing ' in line 2"]],
  ['A="{\\"a\\":1}"', ['1: A: text follows the closing "']],
  ["my key=3", ["1: must be NAME=value, or a comment after #"]],
];

describe("an env file", () => {
  test.each(GOOD)("%j", (text, expected) => {
    const { variables, problems } = readEnvLines(text);
    expect(problems).toEqual([]);
    expect(Object.fromEntries(variables.map(({ name, value }) => [name, value]))).toEqual(expected);
  });

  test.each(BAD)("with invalid lines: %j", (text, expected) => {
    expect(readEnvLines(text).problems.map(({ line, message }) => `${line}: ${message}`)).toEqual(expected);
  });

  test("that is not an env file has a few problems, not one for each line", () => {
    expect(readEnvLines("none\n".repeat(10_000)).problems).toHaveLength(20);
  });

  test("is named with the line of each problem, once for all pools", async () => {
    const file = join(folder, ".env");
    writeFileSync(file, "bad line\nA=1\nPACELINE_POOL=x\n");
    const config = join(folder, "paceline.json");
    const pool = { command: ["/bin/true"], instances: "none" };
    writeFileSync(
      config,
      JSON.stringify({ envFiles: ".env", pools: { a: pool, b: { command: ["/bin/true"], routes: ["/b/"] } } }),
    );
    const task: LoadTask = {
      source: { kind: "config", file: config },
      cwd: folder,
      release: folder,
      listenDir: folder,
      name: "shop",
      overrides: {},
      runtimes: { node: process.execPath, preferred: "node" },
      watches: false,
      isOnlyChecked: true,
      credentialsDir: undefined,
    };
    const error = await composeFleet(task).then(
      () => undefined,
      (thrown: ConfigError) => thrown,
    );
    expect(error?.message.replaceAll(folder, "HERE").split("\n")).toEqual([
      expect.stringMatching(/^HERE\/paceline.json:1: pools.a.instances: must be/),
      "HERE/.env:1: must be NAME=value, or a comment after #",
      "HERE/.env:3: PACELINE_POOL: names that begin with PACELINE_ are reserved for Paceline",
    ]);
  });
});
