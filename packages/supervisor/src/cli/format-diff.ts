/** Formats what a reload or a deploy would change. */
import type { FleetDiff } from "../control/api.js";
import { formatTable } from "./format-status.js";
import type { FileChanges } from "./release-files.js";

/** The whole comparison: what `--json` prints. */
export interface ComparedFleet extends Pick<FleetDiff, "config" | "env" | "refused"> {
  differs: boolean;
  of: "reload" | "deploy";
  runtimes: RuntimeChange[];
  files: ComparedRelease[];
}

export interface RuntimeChange {
  pools: string[];
  from: string;
  to: string;
}

/** `problem` is the reason why the files cannot be compared. */
export type ComparedRelease = FleetDiff["releases"][number] & FileChanges & { problem: string | null };

const SIGNS = { added: "+", removed: "-", changed: "~", touched: "~" } as const;

export function formatDiff({ differs, of: what, config, env, runtimes, files, refused }: ComparedFleet): string {
  const sections = [
    section(
      "config",
      config.map(({ pool, key, from, to, note }) => [
        pool === null ? key : `${pool}.${key}`,
        `${from ?? "(not set)"} → ${to ?? "(not set)"}${note === null ? "" : ` (${note})`}`,
      ]),
    ),
    section(
      "environment, without values",
      env.map(({ name, change, isSecret, pools }) => [
        `${SIGNS[change]} ${name}`,
        `${change}${isSecret ? ", a secret" : ""}`,
        pools.join(", "),
      ]),
    ),
    section(
      "runtime",
      runtimes.map(({ pools, from, to }) => [pools.join(", "), `${from} → ${to}`]),
    ),
    ...files.map(releaseSection),
  ];
  const lines = [...sections.flat(), ...(refused === null ? [] : [`a ${what} would be refused: ${refused}`])];
  return [...lines, ...(differs ? [] : ["nothing differs"])].join("\n");
}

function releaseSection({ from, to, pools, files, cutOff, problem }: ComparedRelease): string[] {
  const title = from === to ? `files of ${to} changed since ${pools.join(", ")} began` : `files of ${from} → ${to}`;
  const rows = files.map(({ path, change, from: old, to: now }) => [
    `${SIGNS[change]} ${path}`,
    change === "touched" ? "an entry was added, removed or renamed" : [old, now].filter(Boolean).join(" → "),
  ]);
  const notes = [
    ...(cutOff === null ? [] : [`not compared: ${cutOff}`]),
    ...(problem === null ? [] : [`cannot be compared: ${problem}`]),
  ];
  if (rows.length === 0 && notes.length === 0 && from === to) return [];
  const same = rows.length === 0 && problem === null ? ["  the same files"] : [];
  return [title, ...indented(rows), ...same, ...notes.map((note) => `  ${note}`)];
}

function section(title: string, rows: string[][]): string[] {
  return rows.length === 0 ? [] : [title, ...indented(rows)];
}

function indented(rows: string[][]): string[] {
  return formatTable(rows).map((line) => `  ${line}`);
}
