/** Checks that names in the source use the project's words: one word per thing, the usual one of the field. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { ROOT } from "./support/fleet.js";
import { brokenLinks } from "./support/links.js";

/** The word to use, and the names that must not be used instead. */
const WORDS: [word: string, not: RegExp][] = [
  ["response", /\b\w*(?:[aA]nswer(?!ed|ing|s\b)|ANSWER)\w*\b/g],
  ["replacement", /\b\w*[sS]uccessor\w*\b/g],
  ["outgoing", /\b\w*[lL]eaver\w*\b/g],
  ["request queue", /\b\w*(?:[wW]aitingRoom|QueuePlace)\w*\b/g],
  ["not started", /\b\w*[uU]nbegun\w*\b/g],
  ["stalled, unanswered", /\b\w*[uU]nheard\w*\b/g],
  ["reassign", /\bshed\b/g],
  ["final report", /\b\w*[lL]astWords\w*\b/g],
  ["leftover processes", /\b\w*[sS]trays?\b/g],
  ["scoreboard", /\b\w*[wW]orkMark\w*\b/g],
  ["registry", /\b\w*[mM]embership\w*\b/g],
  ["control channel", /\b(?:LinkClient|LinkServer|LinkError|linkLost)\b/g],
  ["downstream", /\b\w*ClientLink\b/g],
  ["request copy: saved head, buffered body", /\b(?:KeptHead|ReplayBuffer)\b/g],
  ["lazy wrapper", /\b\w*[sS]tandIn\w*\b/g],
  ["file body", /\b\w*[lL]entFile\w*\b/g],
  ["detectApp", /\b\w*[rR]ecognise\b/g],
];

/** Only names: comments are sentences, and texts are for people. */
function namesIn(path: string): string {
  const text = readFileSync(join(ROOT, path), "utf8");
  const comments = path.endsWith(".py") ? /"""[\s\S]*?"""|#.*$/gm : /\/\*[\s\S]*?\*\/|(?<!:)\/\/.*$/gm;
  return text.replace(comments, "").replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g, '""');
}

const files = execFileSync("git", ["ls-files", "packages/*/src/*", "packages/server/python/paceline"], {
  cwd: ROOT,
  encoding: "utf8",
})
  .split("\n")
  .filter((path) => /\.(?:ts|py)$/.test(path) && !path.endsWith(".test.ts"));

describe("names in the source", () => {
  const names = files.map((path): [string, string] => [path, namesIn(path)]);

  test("are read", () => {
    expect(names.length).toBeGreaterThan(100);
    expect(names.some(([, text]) => text.includes("RequestQueue"))).toBe(true);
  });

  test.each(WORDS)("%s is the only word for it", (_, not) => {
    const found = names.flatMap(([path, text]) => (text.match(not) ?? []).map((name) => `${path}: ${name}`));
    expect(found).toEqual([]);
  });

  /** Apps hold these objects: they must not see our members when they list, copy or log them. */
  const HELD_BY_APPS =
    /\/lane\/(?:responses-bun|responses-node|lane-request)\.ts$|\/http1\/fetch-on-node\.ts$|\/shared\/kept-body\.ts$/;

  test("private members are `private`, never `#x` or `x_`, except in objects that apps hold", () => {
    const found = names.flatMap(([path, text]) => {
      const members =
        path.endsWith(".ts") && !HELD_BY_APPS.test(path) ? (text.match(/\.#[a-z]\w*|\bthis\.\w+_\b/g) ?? []) : [];
      return members.map((name) => `${path}: ${name}`);
    });
    expect(found).toEqual([]);
  });
});

describe("comments in the source", () => {
  const sources = files.map((path): [string, string] => [path, readFileSync(join(ROOT, path), "utf8")]);
  const comments = (text: string) => [...text.matchAll(/\/\*\*?[\s\S]*?\*\/|(?<!:)\/\/.*$/gm)];

  test("describe only parameters that exist", () => {
    const found = sources.flatMap(([path, text]) =>
      comments(text).flatMap(({ 0: comment, index }) => {
        const end = index + comment.length;
        const signature = text.slice(end, end + 900);
        const described = [...comment.matchAll(/@param (\w+)/g)].map(([, name]) => name);
        return described
          .filter((name) => !new RegExp(`\\b${name}\\b`).test(signature))
          .map((name) => `${path}: @param ${name}`);
      }),
    );
    expect(found).toEqual([]);
  });

  test("name only files that exist", () => {
    const known = new Set(files.map((path) => basename(path)));
    const found = sources
      .filter(([path]) => !path.endsWith("/config-types.ts"))
      .flatMap(([path, text]) =>
        comments(text)
          .flatMap(([comment]) => comment.match(/\b[\w-]+\.ts\b/g) ?? [])
          .filter((name) => !known.has(name))
          .map((name) => `${path}: ${name}`),
      );
    expect(found).toEqual([]);
  });

  test("do not repeat the code before them", () => {
    const found = sources.flatMap(([path, text]) =>
      [...text.matchAll(/^\s*(\S.*?) +\/\/ (.*)$/gm)]
        .filter(([, code, comment]) => comment?.startsWith(code as string))
        .map(([line]) => `${path}: ${line.trim()}`),
    );
    expect(found).toEqual([]);
  });
});

test("links of the repository's pages lead to files and headings", () => {
  const pages = execFileSync("git", ["ls-files", "*.md"], { cwd: ROOT, encoding: "utf8" }).trim().split("\n");
  expect(pages.length).toBeGreaterThan(20);
  expect(brokenLinks(ROOT, pages)).toEqual([]);
});
