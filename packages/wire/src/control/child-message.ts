/** Parses what a child says on the control channel, and refuses what is not a message this version knows. */
import { ChannelError } from "../errors.js";
import {
  areAmounts,
  areTexts,
  type Fields,
  isAmount,
  isFields,
  isList,
  isOptional,
  isText,
  parseLine,
} from "./checks.js";
import type { ChildMessage } from "./messages.js";

const INSTANCE_STATS = ["requestsTotal", "errorsTotal", "inFlight", "periodMs", "eventLoopLagMs", "heapBytes"];
const BALANCER_STATS = [...INSTANCE_STATS, "connections", "connectionsTotal", "retriesTotal"];

/** The message in one line. @throws ChannelError `bad-message` */
export function parseChildMessage(line: string): ChildMessage {
  const message = parseLine(line, (reason, cause) => new ChannelError("bad-message", `it is ${reason}`, { cause }));
  if (!isMessage(message)) {
    throw new ChannelError("bad-message", `unknown message: ${line.slice(0, 100)}`);
  }
  return message as unknown as ChildMessage;
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
        isOptional(message.deferred, (it) => isFields(it) && areAmounts(it, ["jobs", "oldestMs"])) &&
        (message.role !== "balancer" ||
          (isList(message.upstreams, isUpstream) &&
            isOptional(message.spoolBytes, isAmount) &&
            isOptional(message.held, (held) => isList(held, isHeld))))
      );
    case "applied":
      return areAmounts(message, ["version"]) && isList(message.leaving) && typeof message.listening === "boolean";
    case "pong":
      return true;
    case "probed":
      return isAmount(message.id) && isOptional(message.problem, isText);
    case "poison":
      return areTexts(message, ["pool", "request"]) && isList(message.processes, isText);
    case "notice":
      return areTexts(message, ["message"]);
    case "forked":
      return areTexts(message, ["id"]) && areAmounts(message, ["pid"]);
    case "forkFailed":
      return areTexts(message, ["id", "reason"]);
    case "ended":
      return areTexts(message, ["id"]) && isExit({ code: message.code, signal: message.signal });
    case "fault":
      return areTexts(message, ["message"]) && isOptional(message.exit, isExit);
    default:
      // What comes over the wire may be anything, whatever the type says.
      return false;
  }
}

function isProtocol(value: unknown): boolean {
  return value === undefined || value === "http1" || value === "lane" || value === "http1+control";
}

function isUpstream(value: unknown): boolean {
  return (
    isFields(value) &&
    isText(value.id) &&
    areAmounts(value, ["inFlight", "requestsTotal"]) &&
    isOptional(value.errorsTotal, isAmount) &&
    isOptional(value.running, isText) &&
    isOptional(value.overdue, (it) => isFields(it) && isText(it.request) && isAmount(it.forMs)) &&
    isOptional(value.latency, isList)
  );
}

function isHeld(value: unknown): boolean {
  return isFields(value) && isText(value.pool) && areAmounts(value, ["receiving", "sending"]);
}

function isExit(value: unknown): boolean {
  if (!isFields(value)) return false;
  const { code, signal } = value;
  return (code === null || Number.isInteger(code)) && (signal === null || isText(signal));
}
