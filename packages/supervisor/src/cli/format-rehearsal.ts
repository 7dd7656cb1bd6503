/** Formats the outcome of a rehearsal: a row for each phase, then the failed checks. Pure. */
import { visible, visibleLine } from "../core/words.js";
import type { Rehearsal } from "../rehearse/rehearsal.js";
import { formatTable } from "./format-status.js";

const MAX_NAMED = 4;

export function formatRehearsal({ name, pools, requests, rate, phases, findings, notes }: Rehearsal): string {
  const steady = phases.find((phase) => phase.name === "steady");
  const right = (text: string) => ({ text, align: "right" as const });
  const head = [
    "PHASE",
    right("REQUESTS"),
    right("LOST"),
    right("REPEATED"),
    right("P99 MS"),
    right("WITHOUT"),
    "PROMISE",
  ];
  const rows = phases.map((phase) => [
    phase.name,
    right(`${phase.sent}`),
    right(`${phase.lost}`),
    right(`${phase.repeated}`),
    right(msOf(phase.p99)),
    right(phase.name === "steady" ? "" : msOf(steady?.p99 ?? null)),
    `${phase.holds ? (phase.sent === 0 ? "not tried" : "holds") : "BROKEN"}: ${phase.promise}`,
  ]);
  const untried = phases.filter(({ holds, sent }) => holds && sent === 0);
  const sizes = pools.map((pool) => `${pool.name} (${pool.kind}) ${pool.instances}`).join(", ");
  const more = requests.length > MAX_NAMED ? ` and ${requests.length - MAX_NAMED} more` : "";
  const asked = requests.slice(0, MAX_NAMED).join(", ") + more;
  const how = rate === null ? "as recorded" : `${rate} a second`;
  return [
    visibleLine(`${name}: ${sizes}; ${asked}, ${how}`),
    "",
    ...formatTable([head, ...rows]),
    ...findings.flatMap(({ kind, what, evidence, todo }, at) => [
      "",
      visibleLine(`${at + 1}. ${what} [${kind}]`),
      ...evidence.map((text) => `   seen: ${visible(text).replaceAll("\n", "\n         ")}`),
      `   do:   ${visibleLine(todo)}`,
    ]),
    ...(notes.length === 0 ? [] : ["", ...notes.map((note) => visibleLine(`note: ${note}`))]),
    "",
    findings.length === 0
      ? `no fault was found: every promise${untried.length === 0 ? "" : " that was tested"} held`
      : `${findings.length === 1 ? "1 thing does" : `${findings.length} things do`} not hold`,
  ].join("\n");
}

function msOf(value: number | null): string {
  return value === null ? "-" : value >= 100 ? `${Math.round(value)}` : `${value}`;
}
