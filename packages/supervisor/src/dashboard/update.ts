/** Applies messages to the model. Pure: messages carry the time. */
import type { DeathDetails, OperationResult, Status } from "../control/api.js";
import { merged } from "./history.js";
import { isTooSoon, paste, pressKey, pressMouse } from "./keys.js";
import { followed, type LogView, type Message, type Model, type Operation, type Step } from "./model.js";
import { linesAtLevel } from "./pane.js";
import { keepSelection } from "./rows.js";

const MAX_EVENTS = 300;
const MAX_LOG_LINES = 3_000;
/** How long a notice is shown, in milliseconds. */
const NOTICE_MS = 6_000;
const FAILURE_NOTICE_MS = 20_000;

export function update(model: Model, message: Message): Step {
  switch (message.type) {
    case "status":
      return takeStatus(model, message.status, message.at);
    case "lost":
      return only(lose(model, message.at));
    case "history": {
      const { zoom, history } = message;
      return only({ ...model, history: { ...model.history, [zoom]: merged(model.history[zoom], history) } });
    }
    case "events": {
      const before = message.fresh ? [] : model.events;
      return only({ ...model, events: [...before, ...message.events].slice(-MAX_EVENTS) });
    }
    case "log":
      return only(takeLines(model, message));
    case "open":
      return only({ ...model, open: { name: message.name, requests: message.requests } });
    case "deaths":
      return only({
        ...model,
        deaths: {
          list: message.deaths,
          selected: sameDeath(model.deaths, message.deaths),
          loaded: true,
        },
      });
    case "key":
      return settled(pressed(model, message));
    case "pasted":
      return settled(paste({ ...model, pressedAt: message.at }, message.text, message.at));
    case "mouse":
      return settled(pressMouse(model, message, message.at));
    case "resize":
      return settled(only({ ...model, size: { width: message.width, height: message.height } }));
    case "progress": {
      const operation = model.operations.find(({ id }) => id === message.id);
      if (operation === undefined || model.mode.kind === "stopping") return only(model);
      return only({
        ...model,
        notice: { text: `${operation.label}: ${message.message}`, tone: "info", until: null },
      });
    }
    case "result":
      return only(endOperation(model, message.id, message.result, message.at));
    default:
      return message satisfies never;
  }
}

function pressed(model: Model, { key, at }: Extract<Message, { type: "key" }>): Step {
  const next = { ...model, pressedAt: at };
  return isTooSoon(model, key, at) ? only(next) : pressKey(next, key, at);
}

/** Returns the index of the selected death in a new list. If the newest one was selected, the newest one stays selected. */
function sameDeath({ list, selected }: Model["deaths"], next: readonly DeathDetails[]): number {
  const at = selected === 0 ? 0 : next.findIndex(({ id }) => id === list[selected]?.id);
  return at < 0 ? Math.max(0, Math.min(selected, next.length - 1)) : at;
}

function only(model: Model): Step {
  return { model, effects: [] };
}

function settled(step: Step): Step {
  return { ...step, model: settle(step.model) };
}

function takeStatus(model: Model, given: Status, at: number): Step {
  const status = complete(given);
  const wasLost = model.connection.state === "lost";
  const { scaling } = model;
  const reached = scaling !== null && status.pools.find(({ name }) => name === scaling.pool)?.wanted === scaling.wanted;
  const expired = model.notice?.until != null && model.notice.until <= at;
  const notice = expired ? null : model.notice;
  const hasDied = status.lastDeath !== null && status.lastDeath.id !== model.status?.lastDeath?.id;
  return {
    model: settle({
      ...model,
      connection: { state: "up" },
      ...{ status, at },
      scaling: reached ? null : scaling,
      notice: wasLost ? { text: "connected again", tone: "good", until: at + NOTICE_MS } : notice,
    }),
    // Loaded even while no view shows deaths, because after a stop no supervisor can be asked.
    effects: hasDied ? [{ type: "loadDeaths" }] : [],
  };
}

const NO_LATENCIES = { latencyMs: { p50: null, p99: null }, latencyShape: [] };

/** Returns the status with defaults for values that the supervisor of an earlier version does not report. */
function complete(status: Status): Status {
  if (status.traffic !== undefined) return status;
  const none = { ...NO_LATENCIES, errorsPerMinute: 0, inFlight: 0, cpuPercent: null, rssBytes: null };
  const ofProcess = <Of extends { other: unknown; latencyMs: unknown }>(each: Of): Of => ({
    ...{ latencyShape: [], errorsPerMinute: 0 },
    ...each,
    other: each.other == null ? null : { generation: 0, isCanary: false, ...(each.other as object) },
  });
  const { balancers } = status;
  const sum = (of: (each: (typeof balancers)[number]) => number) => balancers.reduce((all, each) => all + of(each), 0);
  return {
    ...status,
    ...{ pssOfRssBytes: null, cpuPercent: null },
    traffic: {
      ...none,
      requestsPerSecond: sum(({ requestsPerSecond }) => requestsPerSecond),
      connections: sum(({ connections }) => connections),
      queued: 0,
    },
    machine: { cpus: 1, memoryBytes: null, availableBytes: null },
    limits: { connections: 20_000, queue: 1024 },
    balancers: balancers.map(ofProcess),
    pools: status.pools.map((pool) => ({
      ...none,
      ...pool,
      // An earlier version reports a deploy without the intervals of its tests, so no deploy is shown.
      deploy: null,
      instances: pool.instances.map(ofProcess),
    })),
  };
}

function takeLines(model: Model, { name, lines, fresh }: Extract<Message, { type: "log" }>): Model {
  if (name !== followed(model)) return model;
  const { log } = model;
  const before = fresh || log.name !== name ? [] : log.lines;
  const next: LogView = { ...log, name, lines: [...before, ...lines].slice(-MAX_LOG_LINES), loaded: true };
  // If the user has scrolled up, the visible lines stay the same.
  const added = linesAtLevel({ ...next, lines }).length;
  const isReading = !log.follows && !fresh;
  return { ...model, log: isReading ? { ...next, scrolled: log.scrolled + added } : next };
}

function lose(model: Model, at: number): Model {
  if (model.connection.state === "lost") return model;
  return {
    ...model,
    connection: { state: "lost", since: at },
    mode: model.mode.kind === "question" ? { kind: "normal" } : model.mode,
    operations: [],
    scaling: null,
    notice: null,
  };
}

function endOperation(model: Model, id: number, result: OperationResult, at: number): Model {
  const operation = model.operations.find((each) => each.id === id);
  if (operation === undefined) return model;
  const operations = model.operations.filter((each) => each.id !== id);
  const scaling = model.scaling?.pool === operation.target ? null : model.scaling;
  if (model.mode.kind === "stopping") return { ...model, operations, scaling };
  return { ...model, operations, scaling, notice: noticeOf(operation, result, at) };
}

function noticeOf(operation: Operation, result: OperationResult, at: number): Model["notice"] {
  if (result.ok) return { text: result.message, tone: "good", until: at + NOTICE_MS };
  const text = `${operation.label} failed: ${result.message}`;
  return { text, tone: "bad", until: at + FAILURE_NOTICE_MS };
}

/** Updates the parts of the model that depend on others. */
function settle(model: Model): Model {
  const selected = keepSelection(model);
  const chosen = selected === model.selected ? model : { ...model, selected };
  const { view, log } = chosen;
  // Only the view of the log shows its filter and its search, so they end with it.
  const isPlain = view === "log" || view === "help" || (log.level === "all" && log.search === "");
  const next: Model = isPlain ? chosen : { ...chosen, log: { ...log, level: "all", opened: "all", search: "" } };
  const name = followed(next);
  if (name === undefined || next.log.name === name) return next;
  return { ...next, log: { ...next.log, name, lines: [], loaded: false, scrolled: 0, follows: true } };
}
