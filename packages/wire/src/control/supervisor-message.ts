/** Parses what a supervisor says on the control channel, and refuses what is not a message this version knows. */
import { ChannelError } from "../errors.js";
import { BALANCER_LIMITS, badLimit } from "../limits.js";
import { type Fields, isAmount, isFields, isList, isOptional, isText, parseLine } from "./checks.js";
import type { SupervisorMessage } from "./messages.js";

/** The message in one line. @throws ChannelError `bad-message` */
export function parseSupervisorMessage(line: string): SupervisorMessage {
  const message = parseLine(line, (reason, cause) => new ChannelError("bad-message", reason, { cause }));
  const problem = problemOf(message);
  if (problem !== undefined) throw new ChannelError("bad-message", `${String(message.type)}: ${problem}`);
  return message as unknown as SupervisorMessage;
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
  if (!isOptional(message.accessLog, isFlag)) return "no good accessLog";
  if (!isOptional(message.spoolDir, isText)) return "no good spoolDir";
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
    isOptional(value.stripPrefix, isFlag) &&
    isOptional(value.internalRoots, (roots) => isList(roots, isText)) &&
    isOptional(value.takesAllRequests, isFlag) &&
    isOptional(value.sendsFiles, isFlag) &&
    isOptional(value.awaited, isFlag) &&
    isOptional(value.requestTimeoutMs, isAmount) &&
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

function isFlag(value: unknown): boolean {
  return typeof value === "boolean";
}
