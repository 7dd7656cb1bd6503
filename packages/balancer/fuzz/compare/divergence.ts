/** Finds the first place where our reading of a stream differs from Node's. */
import type { Reading, SeenMessage } from "../message.js";

export type DivergenceKind =
  /** Node saw a message where we refused or still wait. */
  | "we-refuse"
  /** We saw a message where Node refused or still waits: we may be too lenient. */
  | "node-refuses"
  /** Both saw the head, and Node a complete body. */
  | "we-refuse-body"
  /** Both saw the head, and we a complete body. */
  | "node-refuses-body"
  /** Both saw a message, but different ones. */
  | "content";

export interface Divergence {
  /** The message's index. */
  index: number;
  kind: DivergenceKind;
  /** For `content`: the part that differs. */
  part: "" | "method" | "target" | "minorVersion" | "keepAlive" | "fields" | "body" | "status" | "reason";
  ours: SeenMessage | undefined;
  node: SeenMessage | undefined;
  /** The previous message, on which both agree. */
  before: SeenMessage | undefined;
  /** Its bytes, latin1. */
  bytesBefore: string;
  /** The reasons of both; `waits` without a refusal. */
  ourWhy: string;
  nodeWhy: string;
  /** The stream from the beginning of the message on, latin1. */
  bytes: string;
}

/** Returns undefined if both saw the same. */
export function firstDivergence(stream: string, ours: Reading, node: Reading): Divergence | undefined {
  const ourWhy = ours.end === "refused" ? ours.why : "waits";
  const nodeWhy = node.end === "refused" ? node.why : "waits";
  for (let i = 0; ; i++) {
    const our = ours.messages[i];
    const their = node.messages[i];
    if (our === undefined && their === undefined) return undefined;
    const start = our?.start ?? ours.used;
    const bytes = stream.slice(start);
    const base = {
      index: i,
      part: "" as const,
      ours: our,
      node: their,
      before: ours.messages[i - 1],
      bytesBefore: stream.slice(ours.messages[i - 1]?.start ?? start, start),
      ourWhy,
      nodeWhy,
      bytes,
    };
    if (our === undefined) return { ...base, kind: "we-refuse" };
    if (their === undefined) return { ...base, kind: "node-refuses" };
    const part = differingPart(our, their);
    if (part !== undefined) return { ...base, kind: "content", part };
    if (our.isComplete && !their.isComplete) return { ...base, kind: "node-refuses-body" };
    if (!our.isComplete && their.isComplete) return { ...base, kind: "we-refuse-body" };
    const isSameBody = our.isComplete
      ? our.body === their.body
      : our.body.startsWith(their.body) || their.body.startsWith(our.body);
    if (!isSameBody) return { ...base, kind: "content", part: "body" };
  }
}

function differingPart(our: SeenMessage, their: SeenMessage): Divergence["part"] | undefined {
  for (const part of ["method", "minorVersion", "keepAlive", "status", "reason"] as const) {
    if (our[part] !== their[part]) return part;
  }
  if (our.method !== "" && our.target !== originForm(their.target)) return "target";
  const isSame =
    our.fields.length === their.fields.length &&
    our.fields.every(([name, value], i) => name === their.fields[i]?.[0] && value === their.fields[i]?.[1]);
  return isSame ? undefined : "fields";
}

/** Returns a target without the scheme and authority of an absolute one (RFC 9112 §3.2.2), as sent to an upstream. */
function originForm(target: string): string {
  return target.replace(/^https?:\/\/[^/?]*/i, "") || "/";
}
