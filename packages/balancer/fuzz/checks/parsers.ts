/** Compares the balancer's parsers with Node's, and with themselves for any split of the bytes. */
import { type Difference, explain } from "../compare/difference.js";
import { firstDivergence } from "../compare/divergence.js";
import { REQUEST_DIFFERENCES } from "../compare/request-differences.js";
import { RESPONSE_DIFFERENCES } from "../compare/response-differences.js";
import { type RequestCase, requestCase } from "../generate/requests.js";
import { type ResponseCase, responseCase } from "../generate/responses.js";
import { cut, cutEverywhere, type Reading } from "../message.js";
import { readNodeRequests, readNodeResponses } from "../read/node.js";
import { readOurRequests } from "../read/our-requests.js";
import { readOurResponses } from "../read/our-responses.js";
import type { Check } from "./check.js";

/** Streams up to this length are also read byte by byte. */
const MAX_BYTEWISE = 1024;

/** Counts each difference, so that unused list entries are noticed. */
export const met = new Map<Difference, number>();

export const requestParser: Check<RequestCase> = {
  name: "request parser",
  cases: requestCase,
  problem: ({ stream, cuts }) =>
    compare(stream, cuts, {
      readOurs: readOurRequests,
      readNode: readNodeRequests,
      differences: REQUEST_DIFFERENCES,
    }),
};

export const responseParser: Check<ResponseCase> = {
  name: "response parser",
  cases: responseCase,
  problem: ({ stream, cuts, toHead }) =>
    compare(stream, cuts, {
      readOurs: (pieces) => readOurResponses(pieces, toHead),
      readNode: (pieces, answered) => readNodeResponses(pieces, toHead.slice(answered)),
      differences: RESPONSE_DIFFERENCES,
    }),
};

interface Readers {
  readOurs(pieces: Buffer[]): Reading;
  /** Reads from a place in the stream after `answered` messages. */
  readNode(pieces: Buffer[], answered: number): Reading;
  differences: readonly Difference[];
}

function compare(
  stream: string,
  cuts: readonly number[],
  { readOurs, readNode, differences }: Readers,
): string | undefined {
  const ours = readOurs(cut(stream, []));
  const whole = comparable(ours);
  if (comparable(readOurs(cut(stream, cuts))) !== whole) return "we read it differently when it is cut";
  if (stream.length <= MAX_BYTEWISE && comparable(readOurs(cutEverywhere(stream))) !== whole) {
    return "we read it differently byte by byte";
  }
  const divergence = firstDivergence(stream, ours, readNode(cut(stream, []), 0));
  if (divergence === undefined) return undefined;
  const before = ours.messages.slice(0, divergence.index);
  const answered = before.filter(({ status }) => status >= 200 || status === 101).length;
  const difference = explain(differences, divergence, (bytes) => readNode(cut(bytes, []), answered));
  if (difference === undefined) {
    const { kind, part, ourWhy, nodeWhy } = divergence;
    return `a difference from Node that nothing explains: ${kind} ${part}, we: ${ourWhy}, Node: ${nodeWhy}`;
  }
  met.set(difference, (met.get(difference) ?? 0) + 1);
  return undefined;
}

/**
 * Returns what must not depend on the split of the bytes: the messages. An endless line is refused at once in one piece, but
 * otherwise at its deadline.
 */
function comparable(reading: Reading): string {
  return JSON.stringify([reading.messages, reading.end === "closed"]);
}
