/** The rows of the table, their order and the selected one. */
import type { BalancerStatus, InstanceStatus, PoolStatus, Status, TemplateStatus } from "../control/api.js";
import { figureOf } from "../core/figures.js";
import { FULL_WEIGHT } from "../core/fleet.js";
import { stateWord } from "../core/words.js";
import { shortDuration } from "./format.js";
import { type Model, SORT_FIGURES, type SortKey } from "./model.js";

export type Process = InstanceStatus | BalancerStatus;

export type Row =
  | { kind: "pool"; name: string; pool: PoolStatus }
  | { kind: "balancers"; name: "balancer"; status: Status }
  /** `name` is the process's, such as `web.3`; `group` names the processes whose charts share a scale. */
  | { kind: "process"; name: string; process: Process; group: string }
  /** A process that forks the instances of its pool; its `name` is null if a newer one follows. */
  | { kind: "template"; name: string | null; template: TemplateStatus }
  /** The second process of the slot above. */
  | { kind: "other"; name: null; other: NonNullable<Process["other"]> };

function numberOf(sort: SortKey, process: Process): number {
  if (sort === "name") return -indexOf(process.name);
  const value = figureOf({ key: SORT_FIGURES[sort] }, process);
  return typeof value === "number" ? value : -1;
}

/** Returns the rows that match the filter. */
export function rowsOf({ status, filter, sort }: Pick<Model, "status" | "filter" | "sort">): Row[] {
  if (status === null) return [];
  const rows: Row[] = [];
  for (const pool of status.pools) {
    const shown = [...processRows(pool.instances, pool.name, filter, sort), ...templateRows(pool.templates, filter)];
    if (shown.length > 0 || matches(filter, pool.name)) rows.push({ kind: "pool", name: pool.name, pool }, ...shown);
  }
  // A fleet that does not listen has no balancer.
  if (status.balancers.length === 0 && status.listen.length === 0) return rows;
  const shown = processRows(status.balancers, "balancer", filter, sort);
  if (shown.length > 0 || matches(filter, "balancer")) {
    rows.push({ kind: "balancers", name: "balancer", status }, ...shown);
  }
  return rows;
}

/** Returns `ready`, `drained`, `ready w50` with a weight of its own, or `stalled 12s`. */
export function stateText(process: Process | TemplateStatus): string {
  const stalledMs = "stalledMs" in process ? process.stalledMs : null;
  if (stalledMs !== null) return `stalled ${shortDuration(stalledMs / 1000)}`;
  const { weight = null } = process as { weight?: number | null };
  return weight === null || weight === FULL_WEIGHT ? stateWord(process) : `${stateWord(process)} w${weight}`;
}

function processRows(processes: readonly Process[], group: string, filter: string, sort: SortKey): Row[] {
  const value = (process: Process) => numberOf(sort, process);
  return processes
    .filter((process) => matches(filter, process.name) || matches(filter, stateText(process)))
    .sort((a, b) => value(b) - value(a) || indexOf(a.name) - indexOf(b.name))
    .flatMap((process): Row[] => {
      const row: Row = { kind: "process", name: process.name, process, group };
      return process.other === null ? [row] : [row, { kind: "other", name: null, other: process.other }];
    });
}

/** Returns a pool's template rows, which follow its instances. Of two with the same name only the newer can be selected. */
function templateRows(templates: readonly TemplateStatus[], filter: string): Row[] {
  return templates
    .filter(({ name, state }) => matches(filter, name) || matches(filter, state))
    .map((template, at, all) => ({ kind: "template", name: at === all.length - 1 ? template.name : null, template }));
}

function matches(filter: string, text: string): boolean {
  return filter === "" || text.includes(filter.toLowerCase());
}

/** Returns 3 for `web.3`. */
function indexOf(name: string): number {
  return Number(name.slice(name.lastIndexOf(".") + 1));
}

/** Returns the pool of a name: `web` for `web.3` and for `web`. */
export function poolOf(name: string): string {
  const dot = name.lastIndexOf(".");
  return dot < 0 ? name : name.slice(0, dot);
}

/** Returns the names that can be selected, from top to bottom. */
export function selectable(model: Pick<Model, "status" | "filter" | "sort">): string[] {
  return rowsOf(model).flatMap(({ name }) => (name === null ? [] : [name]));
}

/**
 * Returns the name to select: the current one, else the last of its pool, else the first instance. The selection keeps its place
 * when an instance is removed, and is always visible.
 */
export function keepSelection(model: Pick<Model, "status" | "filter" | "sort" | "selected">): string | null {
  const names = selectable(model);
  const { selected } = model;
  if (selected !== null) {
    if (names.includes(selected)) return selected;
    const kin = names.filter((name) => poolOf(name) === poolOf(selected));
    if (kin.length > 0) return kin.at(-1) ?? null;
  }
  return names.find((name) => name.includes(".")) ?? names[0] ?? null;
}
