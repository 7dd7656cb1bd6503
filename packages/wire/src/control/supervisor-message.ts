/** Parses what a supervisor says on the control channel, and refuses what is not a message this version knows. */
import { ChannelError } from "../errors.js";
import { BALANCER_LIMITS, badLimit, isAmount } from "../limits.js";
import type { SupervisorMessage } from "./messages.js";

type Fields = Record<string, unknown>;

/** The message in one line. @throws ChannelError `bad-message` */
export function parseSupervisorMessage(line: string): SupervisorMessage {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new ChannelError("bad-message", `not JSON: ${line.slice(0, 100)}`, { cause });
  }
  if (!isFields(value)) throw new ChannelError("bad-message", "not an object");
  const problem = problemOf(value);
  if (problem !== undefined) throw new ChannelError("bad-message", `${String(value.type)}: ${problem}`);
  return value as unknown as SupervisorMessage;
}

function problemOf(message: Fields): string | undefined {
  switch (message.type as SupervisorMessage["type"]) {
    case "welcome":
    case "released":
    case "draining":
    case "ping":
    case "describeOverdue":
      return undefined;
    case "probe":
      return isAmount(message.id) && isText(message.path) && isText(message.host)
        ? undefined
        : "no good id, path or host";
    case "fork":
      return isText(message.id) && isText(message.output) && isFields(message.environment)
        ? undefined
        : "no good id, output or environment";
    case "refused":
      return typeof message.reason === "string" ? undefined : "no reason";
    case "drain":
      return isAmount(message.deadlineMs) ? undefined : "no good deadlineMs";
    case "snapshot":
      return snapshotProblem(message);
    default:
      // What comes over the wire may be anything, whatever the type says.
      return "unknown type";
  }
}

function snapshotProblem(message: Fields): string | undefined {
  if (!Number.isSafeInteger(message.version) || (message.version as number) < 1) return "no good version";
  if (!isList(message.listen, (item) => isFields(item) && isAmount(item.fd) && isText(item.address))) {
    return "no good listen";
  }
  if (!isList(message.pools, isPool)) return "no good pools";
  if (!isList(message.trustedProxies, isText)) return "no good trustedProxies";
  if (message.accessLog !== undefined && typeof message.accessLog !== "boolean") return "no good accessLog";
  if (message.spoolDir !== undefined && !isText(message.spoolDir)) return "no good spoolDir";
  const limits = message.limits;
  if (!isFields(limits)) return "no limits";
  const bad = badLimit(BALANCER_LIMITS, limits);
  return bad === undefined ? undefined : `no good limits.${bad}`;
}

function isPool(value: unknown): boolean {
  return (
    isFields(value) &&
    isText(value.name) &&
    isList(value.routes, isText) &&
    (value.stripPrefix === undefined || typeof value.stripPrefix === "boolean") &&
    (value.internalRoots === undefined || isList(value.internalRoots, isText)) &&
    (value.takesAllRequests === undefined || typeof value.takesAllRequests === "boolean") &&
    (value.sendsFiles === undefined || typeof value.sendsFiles === "boolean") &&
    (value.awaited === undefined || typeof value.awaited === "boolean") &&
    (value.requestTimeoutMs === undefined || isAmount(value.requestTimeoutMs)) &&
    isList(value.upstreams, isUpstream)
  );
}

function isUpstream(value: unknown): boolean {
  if (!isFields(value) || !isText(value.id) || !isText(value.name)) return false;
  return value.tcp === undefined ? isText(value.socket) : isTcpAddress(value.tcp);
}

function isTcpAddress(value: unknown): boolean {
  return isFields(value) && isText(value.host) && isAmount(value.port);
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isList(value: unknown, accepts: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(accepts);
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}
