/** The rows of the table, their order and the selected one. */
import type {
  BalancerStatus,
  InstanceStatus,
  OtherProcess,
  PoolStatus,
  Status,
  TemplateStatus,
} from "../control/api.js";
import { figureOf } from "../core/figures.js";
import { FULL_WEIGHT } from "../core/fleet.js";
import { stateWord } from "../core/words.js";
import { shortDuration } from "./format.js";
import type { Model, Sort } from "./model.js";

export type Process = InstanceStatus | BalancerStatus;

export type Row =
  | { kind: "pool"; name: string; pool: PoolStatus }
  | { kind: "balancers"; name: "balancer"; status: Status }
  /** `name` is the name of the process, for example `web.3`. Its figures are compared with those of `pool`. */
  | { kind: "process"; name: string; process: Process; pool: string }
  /** A process that forks the instances of its pool; its `name` is null if a newer template follows. */
  | { kind: "template"; name: string | null; template: TemplateStatus }
  /** The second process of the slot above. */
  | { kind: "other"; name: null; slot: string; other: OtherProcess }
  | { kind: "blank"; name: null };

type RowsOf = Pick<Model, "status" | "filter" | "sort">;

/** Returns the rows of the pools that match the filter. */
export function poolRows({ status, filter, sort }: RowsOf): Row[] {
  const test = matcher(filter);
  return (status?.pools ?? []).flatMap((pool) => {
    const shown = [...processRows(pool.instances, pool.name, test, sort), ...templateRows(pool.templates, test)];
    const ofPool = hasPoolRow(pool) || shown.length === 0;
    if (shown.length === 0 && !test(pool.name)) return [];
    return ofPool ? [{ kind: "pool", name: pool.name, pool } as const, ...shown] : shown;
  });
}

/** Returns the rows of the balancers, which are always visible. */
export function balancerRows({ status, sort }: RowsOf): Row[] {
  // A fleet that does not listen has no balancer.
  if (status === null || (status.balancers.length === 0 && status.listen.length === 0)) return [];
  const shown = processRows(status.balancers, "balancer", () => true, sort);
  return status.balancers.length === 1 ? shown : [{ kind: "balancers", name: "balancer", status }, ...shown];
}

/** A pool with one instance needs no line of its own, unless there is something to show about it. */
function hasPoolRow({ instances, templates, rollout, deploy, cron, scaling, wanted }: PoolStatus): boolean {
  const isSimple = instances.length === 1 && wanted === 1 && templates.length === 0;
  return !isSimple || rollout !== null || deploy !== null || cron !== null || scaling !== null;
}

/** Returns `ready`, `drained`, `ready w50` with a weight of its own, or `stalled 12s`. */
export function stateText(process: Process | TemplateStatus | OtherProcess): string {
  if ("isCanary" in process) return process.isCanary && process.state === "ready" ? "canary" : process.state;
  const stalledMs = "stalledMs" in process ? process.stalledMs : null;
  if (stalledMs !== null) return `stalled ${shortDuration(stalledMs / 1000)}`;
  const { weight = null } = process as { weight?: number | null };
  return weight === null || weight === FULL_WEIGHT ? stateWord(process) : `${stateWord(process)} w${weight}`;
}

type Test = (...texts: string[]) => boolean;

/** Returns a test of the filter: every word must be in one of the texts, and no word after a `!` may be. */
function matcher(filter: string): Test {
  const words = filter.toLowerCase().split(" ").filter(Boolean);
  return (...texts) =>
    words.every((word) => {
      const isNot = word.startsWith("!");
      const wanted = isNot ? word.slice(1) : word;
      return wanted === "" || texts.some((text) => text.toLowerCase().includes(wanted)) !== isNot;
    });
}

function processRows(processes: readonly Process[], pool: string, test: Test, { key, reversed }: Sort): Row[] {
  const value = (process: Process) => {
    const figure = figureOf({ key }, process);
    return typeof figure === "number" ? figure : -1;
  };
  const text = (process: Process) => (key === "state" ? stateText(process) : "");
  const sign = reversed ? -1 : 1;
  const isByName = key === "name";
  return processes
    .filter((process) => test(process.name, stateText(process)))
    .sort((a, b) => {
      const difference = isByName ? indexOf(a.name) - indexOf(b.name) : value(b) - value(a);
      return sign * (text(a).localeCompare(text(b)) || difference) || indexOf(a.name) - indexOf(b.name);
    })
    .flatMap((process): Row[] => {
      const row: Row = { kind: "process", name: process.name, process, pool };
      const { other } = process;
      return other === null ? [row] : [row, { kind: "other", name: null, slot: process.name, other }];
    });
}

/** Returns a pool's template rows, which follow its instances. Of two with the same name, only the newer one can be selected. */
function templateRows(templates: readonly TemplateStatus[], test: Test): Row[] {
  return templates
    .filter(({ name, state }) => test(name, state))
    .map((template, at, all) => ({ kind: "template", name: at === all.length - 1 ? template.name : null, template }));
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

/** Returns the process of a name. */
export function processOf(status: Status | null, name: string | null): Process | undefined {
  if (status === null || name === null) return undefined;
  const found = status.pools.find((pool) => pool.name === poolOf(name))?.instances.find((each) => each.name === name);
  return found ?? status.balancers.find((each) => each.name === name);
}

/** Returns the names that can be selected, from top to bottom. */
export function selectable(model: RowsOf): string[] {
  return [...poolRows(model), ...balancerRows(model)].flatMap(({ name }) => (name === null ? [] : [name]));
}

/**
 * Returns the name to select: the current one if possible, otherwise the last one of its pool, otherwise the first instance. So the
 * selection keeps its place when an instance is removed, and is always visible.
 */
export function keepSelection(model: RowsOf & Pick<Model, "selected">): string | null {
  const names = selectable(model);
  const { selected } = model;
  if (selected !== null) {
    if (names.includes(selected)) return selected;
    const kin = names.filter((name) => poolOf(name) === poolOf(selected));
    if (kin.length > 0) return kin.at(-1) ?? null;
  }
  return names.find((name) => name.includes(".")) ?? names[0] ?? null;
}
