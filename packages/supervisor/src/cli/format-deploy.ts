/** Formats a pool's deploy: its progress, its verdict and its tests, as aligned lines. */
import type { DeployStatus } from "../control/api.js";
import type { Verdict } from "../core/verdict-model.js";
import { visibleLine } from "../core/words.js";

const BAR_WIDTH = 24;
const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

const WORDS: Record<Verdict, { title: string; word: string; sign: string; colour: string }> = {
  pass: { title: "PASSING", word: "passes", sign: "✓", colour: "32" },
  wait: { title: "WAITING", word: "waits", sign: "…", colour: "33" },
  fail: { title: "FAILING", word: "fails", sign: "✗", colour: "31" },
};

/** Returns `canary 10 %, 12 s left: 3 pass, 1 wait, 0 fail`. */
export function deployText({ phase, percent, leftMs, tests, isHeld }: DeployStatus): string {
  if (phase === "back") return "is rolled back";
  if (phase === "rolling") return "is rolled out to the other instances";
  const held = isHeld ? ", held" : "";
  if (leftMs === null) return `canary ${percent} %, starting${held}`;
  return `canary ${percent} %, ${isHeld ? "held" : `${Math.ceil(leftMs / 1000)} s left`}: ${counts(tests)}`;
}

export function formatDeploy(
  name: string,
  deploy: DeployStatus,
  { colour, width }: { colour: boolean; width: number },
): string[] {
  const { from, to, verdict, tests, judgeMs, leftMs, phase } = deploy;
  const paint = (text: string, code: string) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
  const cut = (text: string) => visibleLine(text).slice(0, width);
  const head = cut(` ${name}  generation ${from} → ${to}  ${deployText(deploy)}`);
  if (phase !== "canary" || leftMs === null) return [head];
  const share = judgeMs === 0 ? 1 : 1 - leftMs / judgeMs;
  const { title, colour: code } = WORDS[verdict];
  const rows = tests.map((test) => [visibleLine(test.name), visibleLine(test.difference), visibleLine(test.limit)]);
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)));
  return [
    head,
    ` ${paint(title, code)} ${bar(share)} ${counts(tests)}`,
    ...tests.map((test, at) => {
      const { sign, word, colour: own } = WORDS[test.verdict];
      const [first = "", difference = "", limit = ""] = rows[at] ?? [];
      const cells = `${first.padEnd(widths[0] ?? 0)}  ${difference.padStart(widths[1] ?? 0)}  ${limit.padStart(widths[2] ?? 0)}`;
      return ` ${paint(sign, own)} ${cells.slice(0, Math.max(0, width - 12))}  ${paint(word, own)}`;
    }),
  ];
}

function counts(tests: DeployStatus["tests"]): string {
  const of = (verdict: Verdict) => tests.filter((test) => test.verdict === verdict).length;
  return `${of("pass")} pass, ${of("wait")} wait, ${of("fail")} fail`;
}

/** Returns a bar in eighths of a cell. */
function bar(share: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * BAR_WIDTH * 8);
  const full = "█".repeat(Math.floor(eighths / 8)) + (EIGHTHS[eighths % 8] ?? "");
  return full.padEnd(BAR_WIDTH, "░");
}
