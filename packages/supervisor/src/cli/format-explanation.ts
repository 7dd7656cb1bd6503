/**
 * Formats an explanation for one screen of a terminal: what is wrong and what would help, what the fleet does now, and the last changes.
 */
import type { Explanation, Finding } from "../core/explain-model.js";
import { visibleLine } from "../core/words.js";
import { clock } from "../dashboard/format.js";

interface ScreenSize {
  columns: number;
  rows: number;
}

/** If stdout is not a terminal, the output is not limited. */
const NO_SCREEN: ScreenSize = { columns: 80, rows: Number.POSITIVE_INFINITY };
const LEAST_ROWS = 24;
const LEAST_COLUMNS = 30;
const MAX_COLUMNS = 80;
const MAX_EVIDENCE = 2;
const SIGNS: Record<Finding["severity"], { sign: string; colour: string }> = {
  fault: { sign: "✗", colour: "31" },
  warning: { sign: "!", colour: "33" },
  note: { sign: "·", colour: "90" },
};

/** Returns lines of at most 80 columns. Lines that do not fit on the screen are counted. */
export function formatExplanation(
  { target, summary, findings, now, changes }: Explanation,
  { colour, screen = NO_SCREEN }: { colour: boolean; screen?: ScreenSize | undefined },
): string {
  const width = Math.min(MAX_COLUMNS, Math.max(LEAST_COLUMNS, screen.columns));
  const paint = (text: string, code: string) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
  const title = wrap(`${target}: ${summary}`, width, "", "  ").map((line) => paint(line, "1"));
  const doing = now.flatMap((line) => wrap(line, width, "  ", "    "));
  const changed = changes.flatMap(({ at, subject, text }) => {
    const about = subject === target ? "" : `${subject} `;
    return wrap(`${about}${text}`, width, `  ${clock(at)} `, " ".repeat(11)).slice(
      0,
      screen === NO_SCREEN ? undefined : 2,
    );
  });
  const room = Math.max(screen.rows, LEAST_ROWS) - 2 - title.length - (doing.length > 0 ? doing.length + 2 : 0);
  // The findings get at least half of the rest.
  const forChanges = changed.length === 0 ? 0 : Math.min(changed.length, Math.max(3, Math.floor(room / 3)));
  const found = fittingFindings(findings, room - (forChanges > 0 ? forChanges + 2 : 0), width, paint);
  const shownChanges = changed.slice(-Math.max(0, Math.min(changed.length, room - found.length - 2)));
  return [
    ...title,
    ...found,
    ...(doing.length === 0 ? [] : ["", "now", ...doing]),
    ...(shownChanges.length === 0 ? [] : ["", "last changes", ...shownChanges]),
  ].join("\n");
}

/**
 * Returns the findings in full if they fit. If they do not, the evidence and then the advice of all findings but the first are left out.
 * The last line states how many findings are missing.
 */
function fittingFindings(findings: readonly Finding[], room: number, width: number, paint: Paint): string[] {
  const all = (level: Detail) =>
    findings.map((finding, at) => findingLines(finding, width, paint, at === 0 ? "full" : level));
  const fits = (blocks: string[][]) => blocks.flat().length <= room;
  if (room === Number.POSITIVE_INFINITY)
    return findings.flatMap((each) => findingLines(each, width, paint, "everything"));
  const blocks = [all("full"), all("advice"), all("name")].find(fits) ?? all("name");
  const lines: string[] = [];
  for (const [at, block] of blocks.entries()) {
    const isLast = at === blocks.length - 1;
    // The first one is shown in any case.
    if (at > 0 && lines.length + block.length + (isLast ? 0 : 1) > room) {
      const rest = blocks.length - at;
      return [...lines, `  and ${rest} more finding${rest === 1 ? "" : "s"}: --json`];
    }
    lines.push(...block);
  }
  return lines;
}

type Detail = "everything" | "full" | "advice" | "name";
type Paint = (text: string, code: string) => string;

function findingLines(
  { severity, what, evidence, todo }: Finding,
  width: number,
  paint: Paint,
  detail: Detail,
): string[] {
  const { sign, colour } = SIGNS[severity];
  const isCut = detail !== "everything";
  const [first = "", ...rest] = wrap(what, width, `${sign} `, "  ");
  return [
    paint(first, colour),
    ...rest.map((line) => paint(line, colour)),
    ...(detail === "full" || !isCut ? evidence : [])
      .slice(0, isCut ? MAX_EVIDENCE : evidence.length)
      .flatMap((line) => wrap(line, width, "    ", "    ").slice(0, isCut ? 2 : undefined)),
    ...(todo === "" || detail === "name" ? [] : wrap(todo, width, "  → ", "    ")),
  ];
}

/** Breaks a text at spaces into lines of at most `width` characters; a longer word is broken. */
export function wrap(text: string, width: number, first: string, next: string): string[] {
  const lines: string[] = [];
  let line = first;
  let isEmpty = true;
  const push = () => {
    lines.push(line.trimEnd());
    line = next;
    isEmpty = true;
  };
  for (let word of visibleLine(text).split(" ")) {
    if (!isEmpty && line.length + 1 + word.length > width) push();
    while (line.length + (isEmpty ? 0 : 1) + word.length > width) {
      const taken = Math.max(1, width - line.length);
      line += word.slice(0, taken);
      word = word.slice(taken);
      push();
    }
    line += `${isEmpty ? "" : " "}${word}`;
    isEmpty = false;
  }
  lines.push(line.trimEnd());
  return lines;
}
