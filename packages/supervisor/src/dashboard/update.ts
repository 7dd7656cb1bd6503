/** Applies messages to the model. Pure: messages carry the time. */
import type { OperationResult, Status } from "../control/api.js";
import { addSample, type History } from "./format.js";
import { pressKey } from "./keys.js";
import { followed, type Message, type Model, type Operation, type Step } from "./model.js";
import { keepSelection } from "./rows.js";

const MAX_EVENTS = 300;
const MAX_LOG_LINES = 300;
/** How long a notice is shown, in milliseconds. */
const NOTICE_MS = 6_000;
const FAILURE_NOTICE_MS = 20_000;

export function update(model: Model, message: Message): Step {
  switch (message.type) {
    case "status":
      return only(takeStatus(model, message.status, message.at));
    case "lost":
      return only(lose(model, message.at));
    case "events": {
      const before = message.fresh ? [] : model.events;
      return only({ ...model, events: [...before, ...message.events].slice(-MAX_EVENTS) });
    }
    case "log": {
      if (message.name !== followed(model)) return only(model);
      const before = message.fresh || model.log.name !== message.name ? [] : model.log.lines;
      return only({
        ...model,
        log: { name: message.name, lines: [...before, ...message.lines].slice(-MAX_LOG_LINES), loaded: true },
      });
    }
    case "key": {
      const step = pressKey(model, message.key, message.at);
      return { ...step, model: settle(step.model) };
    }
    case "resize":
      return only({ ...model, size: { width: message.width, height: message.height } });
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

function only(model: Model): Step {
  return { model, effects: [] };
}

function takeStatus(model: Model, status: Status, at: number): Model {
  const isNew = model.status === null || model.status.pid !== status.pid;
  const wasLost = model.connection.state === "lost";
  const { scaling } = model;
  const reached = scaling !== null && status.pools.find(({ name }) => name === scaling.pool)?.wanted === scaling.wanted;
  const expired = model.notice?.until != null && model.notice.until <= at;
  const notice = expired ? null : model.notice;
  return settle({
    ...model,
    connection: { state: "up" },
    status,
    ticks: model.ticks + 1,
    histories: takeSamples(isNew ? new Map() : model.histories, status),
    scaling: reached ? null : scaling,
    notice: wasLost ? { text: "connected again", tone: "good", until: at + NOTICE_MS } : notice,
  });
}

/** Appends samples of the running processes and drops the histories of others. */
function takeSamples(before: Model["histories"], status: Status): Model["histories"] {
  const after = new Map<string, History>();
  const processes = [...status.pools.flatMap((pool) => pool.instances), ...status.balancers];
  for (const { name, requestsPerSecond } of processes) {
    if (requestsPerSecond !== null) after.set(name, addSample(before.get(name) ?? [], requestsPerSecond));
  }
  return after;
}

function lose(model: Model, at: number): Model {
  if (model.connection.state === "lost") return model;
  return {
    ...model,
    connection: { state: "lost", since: at },
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
  const next = selected === model.selected ? model : { ...model, selected };
  const name = followed(next);
  return next.log.name === name ? next : { ...next, log: { name, lines: [], loaded: false } };
}
