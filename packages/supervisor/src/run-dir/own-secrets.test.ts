/** Sticky cookies name a slot, and stay valid as long as the run directory has its key. The page's token is checked at each use. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { PageToken, StickyCookies } from "./own-secrets.js";

let folder: string;
let problems: string[];
const open = (path = folder) => new StickyCookies(path, (message) => problems.push(message));
const keyFile = () => join(folder, "sticky.key");

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "paceline-sticky-"));
  problems = [];
});

afterEach(() => rmSync(folder, { recursive: true }));

it("differ by slot and pool, are the same after the next start, and differ with another key", () => {
  const cookies = open();
  const slots = ["web.1", "web.2", "web.12", "api.1"];
  const values = slots.map((slot) => cookies.of(slot));
  expect(values.map((value) => value.split(".")[0])).toEqual(["1", "2", "12", "1"]);
  for (const value of values) expect(value).toMatch(/^\d+\.[\w-]{22}$/);
  expect(new Set(values.map((value) => value.split(".")[1])).size).toBe(4);
  expect(statSync(keyFile()).mode & 0o777).toBe(0o600);
  expect(slots.map((slot) => open().of(slot))).toEqual(values);
  expect(values.join()).not.toContain(readFileSync(keyFile(), "utf8").slice(0, 8));
  rmSync(keyFile());
  expect(open().of("web.1")).not.toBe(values[0]);
  expect(problems).toEqual([]);
});

it("get a new key if the file has none, and a key only for this start if the file cannot be written", () => {
  for (const damaged of ["", "abc", "0".repeat(63)]) {
    writeFileSync(keyFile(), damaged);
    const value = open().of("web.1");
    expect(open().of("web.1")).toBe(value);
  }
  const missing = join(folder, "missing");
  const cookies = open(missing);
  expect(cookies.of("web.1")).toBe(cookies.of("web.1"));
  expect(problems).toEqual([
    expect.stringMatching(/^sticky cookies become invalid with the next start: .*sticky\.key/),
  ]);
});

it("let nobody in while the token's file has no token that is long enough, and report that once", () => {
  const file = join(folder, "own.token");
  const token = new PageToken(folder, (message) => problems.push(message));
  const written = (text: string) => {
    writeFileSync(file, text);
    return token.of(file);
  };
  const good = "0123456789abcdef";
  expect(written(`${good}\n`)).toBe(good);
  const refused = ["x\n", "", good.slice(1), `${good} ${good}`, `${good}\n\n`, "é".repeat(16), "x".repeat(513)];
  for (const text of refused) expect([text, written(text)]).toEqual([text, undefined]);
  expect(problems[0]).toMatch(/own\.token must have 16 to 512 characters of ASCII/);
  // The empty file has a different reason.
  expect(problems).toHaveLength(3);
  expect(written("fedcba9876543210")).toBe("fedcba9876543210");
});
