/** What needs somebody's attention, the worst first: what is wrong, the app's own words, and what may help. Pure. */
import type { BalancerStatus, InstanceStatus, PoolStatus, Status } from "../control/api.js";
import { killersOf } from "../core/deaths.js";
import { age, duration, number } from "./format.js";
import type { State, View } from "./model.js";
import { median } from "./series.js";

export interface Attention {
  /** Tells it apart from others while it lasts. */
  key: string;
  isBad: boolean;
  title: string;
  /** The app's own words, or more about it; empty: none. */
  detail: string;
  /** The instance or the death that it is about, and its view; empty: none. */
  about: string;
  view: View;
  /** Whether a restart may help. */
  mayRestart: boolean;
}

export const MAX_SHOWN = 6;

/** From how much more than the median of its pool a figure is marked. */
export const MARKED = { busy: 1.5, bad: 2 } as const;

type Seen = Pick<State, "events" | "deaths" | "at">;

export function attentionOf(seen: Seen, status: Status): Attention[] {
  const generations = new Map(
    status.pools.flatMap(({ generation, instances }) => instances.map(({ name }) => [name, generation])),
  );
  // A reload may have corrected what others died of.
  const deaths = seen.deaths.filter(
    ({ at, name, generation = 0 }) => seen.at - at < KILLS_MS && generation >= (generations.get(name) ?? 0),
  );
  const all = [
    ...ofFleet(status),
    ...ofKillers({ ...seen, deaths }),
    ...status.pools.flatMap((pool) => [...ofPool(pool), ...pool.instances.flatMap((each) => ofInstance(each, deaths))]),
    ...status.balancers.flatMap((each) => ofProcess(each, deaths)),
  ];
  return [...all.filter(({ isBad }) => isBad), ...all.filter(({ isBad }) => !isBad)];
}

/** Problems that a restart of the instance may solve. */
const MENDED = /^(state|stalled|slow|memory|errors) /;

function fact(key: string, title: string, more: Partial<Omit<Attention, "mayRestart">> = {}): Attention {
  const { about = "" } = more;
  return {
    key,
    title,
    isBad: false,
    detail: "",
    view: "instance",
    ...more,
    about,
    mayRestart: about !== "" && MENDED.test(key),
  };
}

function ofFleet({ problem, log, lock, rolledBack, watch, certificates }: Status): Attention[] {
  return [
    ...(problem === null ? [] : [fact("problem", problem, { isBad: true })]),
    ...(log?.problem == null ? [] : [fact("log", `the log cannot be written: ${log.problem}`, { isBad: true })]),
    ...(certificates?.problems ?? []).map((it) => fact(it.reason, it.reason, it)),
    ...(watch?.failure == null ? [] : [fact("watch", "the last change was not applied", { detail: watch.failure })]),
    ...(rolledBack === null
      ? []
      : [fact("upgrade", "the last upgrade was rolled back", { detail: rolledBack.reason })]),
    ...(lock === null ? [] : [fact("lock", `locked by ${lock.by}`, { detail: lock.reason })]),
  ];
}

const KILLS_MS = 3_600_000;
/** So many deaths are a crash loop. */
const LOOP_DEATHS = 3;

/** Requests that crash their processes: those running at several deaths, and the last one that a balancer has found. */
function ofKillers({ deaths, events, at }: Seen): Attention[] {
  const found = killersOf(deaths, ({ running }) => (running === null ? [] : [running])).map(({ request, deaths: of }) =>
    fact(`kills ${request}`, `${request} crashes its processes: ${of.length} in the last hour`, {
      ...{ isBad: true, detail: errorIn(of[0]?.lastLines ?? []), about: String(of[0]?.id), view: "death" },
    }),
  );
  const said = events.findLast(({ kind, at: saidAt }) => kind === "poison" && at - saidAt < KILLS_MS);
  if (found.length > 0 || said === undefined) return found;
  return [fact("kills", `${said.subject} ${said.message.split(";")[0]}`, { isBad: true })];
}

/** Errors of a whole pool are its code's, not an instance's. */
const MIN_ERRORS = 5;
const BAD_SHARE = 0.01;

function ofPool(pool: PoolStatus): Attention[] {
  const routes = pool.routeClasses.filter(({ isSlow }) => isSlow);
  return [
    ...ofErrors(pool),
    ...routes.map(({ route, p99Ms }) =>
      fact(`route ${pool.name} ${route}`, `${route} is slow: p99 ${duration(p99Ms)}`),
    ),
  ];
}

function ofErrors({ name, errorsPerMinute, requestsPerSecond, instances }: PoolStatus): Attention[] {
  const perMinute = (requestsPerSecond ?? 0) * 60;
  if (!(errorsPerMinute >= MIN_ERRORS && errorsPerMinute >= BAD_SHARE * perMinute)) return [];
  const worst = [...instances].sort((a, b) => (b.errorsPerMinute ?? 0) - (a.errorsPerMinute ?? 0))[0];
  const isOne = (worst?.errorsPerMinute ?? 0) > 0.7 * errorsPerMinute && instances.length > 1;
  const who = isOne && worst !== undefined ? worst.name : name;
  return [
    fact(`errors ${name}`, `${who} has ${number(errorsPerMinute)} responses with 5xx a minute`, {
      ...{ isBad: true, about: isOne ? who : "" },
    }),
  ];
}

type Process = InstanceStatus | BalancerStatus;

function ofProcess({ name, state, lastExit, stalledMs }: Process, deaths: Seen["deaths"]): Attention[] {
  const said = lastExit === null ? "" : errorIn(lastExit.lastLines);
  switch (state) {
    case "failed":
      return [
        fact(`state ${name}`, `${name} has failed and is not restarted`, {
          ...{ isBad: true, detail: said || (lastExit?.reason ?? ""), about: name },
        }),
      ];
    case "backoff":
      return [
        fact(`state ${name}`, `${name} ${lastExit?.reason ?? "has exited"}, and is started again soon`, {
          ...{ isBad: true, detail: said, about: name },
        }),
      ];
    default: {
      if (stalledMs !== null)
        return [
          fact(`stalled ${name}`, `${name} has not responded for ${duration(stalledMs)}`, {
            isBad: true,
            about: name,
          }),
        ];
      // It dies again and again, and runs at the moment.
      const died = deaths.filter((death) => death.name === name);
      return died.length < LOOP_DEATHS
        ? []
        : [
            fact(`restarts ${name}`, `${name} died ${died.length} times in the last hour`, {
              ...{ isBad: true, detail: said, about: name },
            }),
          ];
    }
  }
}

/** Returns the line that names an error; otherwise the last one. */
export function errorIn(lines: readonly string[]): string {
  const named = lines.find((line) => /\b\w*(Error|Exception|panic|fatal)\b/i.test(line));
  return (named ?? lines.findLast((line) => line.trim() !== "") ?? "").trim();
}

function ofInstance(instance: InstanceStatus, deaths: Seen["deaths"]): Attention[] {
  const { name, outOfTurn, ejections, recycle, exposed, slow, growthBytesPerMinute: growth } = instance;
  const found = ofProcess(instance, deaths);
  if (slow !== null)
    found.push(
      fact(`slow ${name}`, `${name} is slow: ${slow.by} ${duration(slow.ms)}, usual is ${duration(slow.usual)}`, {
        ...{ about: name },
      }),
    );
  const limit = recycle?.memoryLimitInSeconds ?? null;
  if (growth !== null || limit !== null)
    found.push(
      fact(`memory ${name}`, `${name} grows${growth === null ? "" : ` by ${number(growth / 1e6)} MB a minute`}`, {
        detail: limit === null ? "" : `reaches maxMemoryMb in ${age(limit)}, and is replaced then`,
        ...{ about: name },
      }),
    );
  if (recycle?.due != null)
    found.push(fact(`recycle ${name}`, `${name} is to be replaced`, { detail: recycle.due, about: name }));
  if (outOfTurn === "ejected")
    found.push(
      fact(`turn ${name}`, `${name} is ejected: it gets no requests`, {
        detail: ejections[0]?.reason ?? "",
        about: name,
      }),
    );
  if (outOfTurn === "drained") found.push(fact(`turn ${name}`, `${name} is drained by an operator`, { about: name }));
  if (exposed.length > 0)
    found.push(fact(`exposed ${name}`, `${name} listens on ${exposed.join(", ")}, past the balancer`, { about: name }));
  return found;
}

/** Returns the median of a figure over the other ready instances of a pool; null without any. */
export function medianOfOthers(
  { instances }: Pick<PoolStatus, "instances">,
  { name }: { name: string },
  figureOf: (instance: InstanceStatus) => number | null,
): number | null {
  const values = instances.flatMap((each) =>
    each.name === name || each.state !== "ready" ? [] : (figureOf(each) ?? []),
  );
  return values.length === 0 ? null : median(values);
}

/** How far a figure is from those of the others: `bad` and `busy` are marked. */
export function markOf(value: number | null, others: number | null, least: number): "bad" | "busy" | null {
  if (value === null || others === null || value < least) return null;
  const times = value / Math.max(others, Number.MIN_VALUE);
  return times >= MARKED.bad ? "bad" : times >= MARKED.busy ? "busy" : null;
}
