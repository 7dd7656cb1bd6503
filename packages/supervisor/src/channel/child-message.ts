/** Parses what a child says on the control channel, and refuses what is not a message this version knows. */
import type { ChildMessage } from "@paceline/wire";
import { PacelineError } from "../errors.js";

type Fields = Record<string, unknown>;

const INSTANCE_STATS = ["requestsTotal", "errorsTotal", "inFlight", "periodMs", "eventLoopLagMs", "heapBytes"];
const BALANCER_STATS = [...INSTANCE_STATS, "connections", "connectionsTotal", "retriesTotal"];
const MAX_LIST = 100_000;

/** The message in one line. @throws PacelineError `bad-message` */
export function parseChildMessage(line: string): ChildMessage {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new PacelineError("bad-message", "it is not JSON", { cause });
  }
  if (typeof value !== "object" || value === null || !isMessage(value as Fields)) {
    throw new PacelineError("bad-message", `it is no message we know: ${line.slice(0, 100)}`);
  }
  return value as ChildMessage;
}

function isMessage(message: Fields): boolean {
  switch (message.type as ChildMessage["type"]) {
    case "hello":
      return (
        areTexts(message, ["token", "role", "pool", "name", "runtime", "phase"]) &&
        areAmounts(message, ["channelVersion", "attempt", "generation", "pid"]) &&
        isProtocol(message.protocol)
      );
    case "ready":
      return isProtocol(message.protocol);
    case "stats":
      return (
        areAmounts(message, message.role === "balancer" ? BALANCER_STATS : INSTANCE_STATS) &&
        isList(message.latency) &&
        isDeferred(message.deferred) &&
        (message.role !== "balancer" ||
          (isList(message.upstreams) &&
            (message.upstreams as unknown[]).every(isUpstream) &&
            areAmounts({ spoolBytes: 0, ...message }, ["spoolBytes"]) &&
            isList(message.held ?? []) &&
            ((message.held ?? []) as unknown[]).every(isHeld)))
      );
    case "applied":
      return areAmounts(message, ["version"]) && isList(message.leaving) && typeof message.listening === "boolean";
    case "pong":
      return true;
    case "probed":
      return areAmounts(message, ["id"]) && (message.problem === undefined || typeof message.problem === "string");
    case "poison":
      return (
        areTexts(message, ["pool", "request"]) &&
        isList(message.processes) &&
        (message.processes as unknown[]).every((id) => typeof id === "string")
      );
    case "notice":
      return areTexts(message, ["message"]);
    case "forked":
      return areTexts(message, ["id"]) && areAmounts(message, ["pid"]);
    case "forkFailed":
      return areTexts(message, ["id", "reason"]);
    case "ended":
      return areTexts(message, ["id"]) && isExit({ code: message.code, signal: message.signal });
    case "fault":
      return areTexts(message, ["message"]) && isExit(message.exit);
    default:
      // What comes over the wire may be anything, whatever the type says.
      return false;
  }
}

function isProtocol(value: unknown): boolean {
  return value === undefined || value === "http1" || value === "lane" || value === "http1+control";
}

function isUpstream(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { id, latency, errorsTotal = 0, running, overdue, ...counts } = value as Fields;
  return (
    typeof id === "string" &&
    (running === undefined || typeof running === "string") &&
    (overdue === undefined || isOverdue(overdue)) &&
    areAmounts({ ...counts, errorsTotal }, ["inFlight", "requestsTotal", "errorsTotal"]) &&
    (latency === undefined || isList(latency))
  );
}

function isHeld(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return areTexts(value as Fields, ["pool"]) && areAmounts(value as Fields, ["receiving", "sending"]);
}

function isOverdue(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return areTexts(value as Fields, ["request"]) && areAmounts(value as Fields, ["forMs"]);
}

function isExit(value: unknown): boolean {
  if (value === undefined) return true;
  if (typeof value !== "object" || value === null) return false;
  const { code, signal } = value as Fields;
  return (code === null || Number.isInteger(code)) && (signal === null || typeof signal === "string");
}

function isDeferred(value: unknown): boolean {
  if (value === undefined) return true;
  return typeof value === "object" && value !== null && areAmounts(value as Fields, ["jobs", "oldestMs"]);
}

function areTexts(message: Fields, names: string[]): boolean {
  return names.every((name) => typeof message[name] === "string");
}

function areAmounts(message: Fields, names: string[]): boolean {
  return names.every((name) => Number.isFinite(message[name]) && (message[name] as number) >= 0);
}

function isList(value: unknown): boolean {
  return Array.isArray(value) && value.length <= MAX_LIST;
}
