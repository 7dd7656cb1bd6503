/** What a terminal sends, in pieces of any size. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TerminalInput } from "./input.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function read(pieces: readonly string[]) {
  const seen: unknown[] = [];
  const keys = (text: string) => {
    const last = seen.at(-1);
    // The keys are the same, however their bytes are split.
    if (typeof last === "string") seen[seen.length - 1] = last + text;
    else seen.push(text);
  };
  const input = new TerminalInput({
    onKeys: keys,
    onPasted: (pasted) => seen.push({ pasted }),
    onMouse: (mouse) => seen.push(mouse),
  });
  for (const piece of pieces) input.push(piece);
  vi.advanceTimersByTime(60);
  return seen;
}

const CASES: [text: string, seen: unknown[]][] = [
  ["jk", ["jk"]],
  ["\x1b[A\x1bOBx", ["\x1b[A\x1bOBx"]],
  ["a\x1b[200~see a+b\ny\x1b[201~q", ["a", { pasted: "see a+b\ny" }, "q"]],
  ["\x1b[200~\x1b[A\x1b[201~", [{ pasted: "\x1b[A" }]],
  ["\x1b[<0;10;5M\x1b[<0;10;5mj", [{ kind: "press", x: 9, y: 4 }, "j"]],
  [
    "\x1b[<64;1;1M\x1b[<65;1;1M",
    [
      { kind: "wheelup", x: 0, y: 0 },
      { kind: "wheeldown", x: 0, y: 0 },
    ],
  ],
  ["日本", ["日本"]],
];

test.each(CASES)("%j, in one piece, in every two pieces, and letter by letter", (text, seen) => {
  expect(read([text])).toEqual(seen);
  for (let at = 1; at < text.length; at++) expect(read([text.slice(0, at), text.slice(at)])).toEqual(seen);
  expect(read([...text])).toEqual(seen);
});

test.each<[text: string, seen: unknown[]]>([
  ["\x1b[200~harmless \x1b[201~Ry \x1b[201~", [{ pasted: "harmless " }]],
  ["\x1b[200~a\x1b[201~:stop\r", [{ pasted: "a" }]],
  ["\x1b[200~a\x1b[201~R\x1b[Ay", [{ pasted: "a" }]],
  ["Rk\x1b[200~a\x1b[201~qy\x1b[200~b\x1b[201~R", ["Rk", { pasted: "a" }, { pasted: "b" }, "R"]],
  ["\x1b[200~a\x1b[201~\x1b[A", [{ pasted: "a" }, "\x1b[A"]],
])("%j, whose paste has the mark of its end, in one read", (text, seen) => {
  expect(read([text])).toEqual(seen);
  expect(read([text, "j"]).at(-1)).toMatch(/j$/);
});

test("a single escape character is the Escape key, after a moment", () => {
  expect(read(["\x1b"])).toEqual(["\x1b"]);
  expect(read(["\x1b\x1b[A"])).toEqual(["\x1b\x1b[A"]);
});

test("a paste is bounded, and an unfinished paste types nothing", () => {
  const [{ pasted }] = read([`\x1b[200~${"x".repeat(1 << 20)}\x1b[201~`]) as [{ pasted: string }];
  expect(pasted.length).toBe(64 << 10);
  expect(read(["\x1b[200~", "yyy", "Ry"])).toEqual([]);
});
