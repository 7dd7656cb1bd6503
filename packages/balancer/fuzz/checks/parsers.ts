/** Holds the balancer's parsers against Node's, and against themselves however the bytes are cut. */
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

/** How often each difference was met, to see that none is listed in vain. */
export const met = new Map<Difference, number>();

export const requestParser: Check<RequestCase> = {
  name: "request parser",
  cases: requestCase,
  problem: ({ stream, cuts }) =>
    compare(stream, cuts, readOurRequests, readNodeRequests(cut(stream, [])), REQUEST_DIFFERENCES),
};

export const responseParser: Check<ResponseCase> = {
  name: "response parser",
  cases: responseCase,
  problem: ({ stream, cuts, toHead }) =>
    compare(
      stream,
      cuts,
      (pieces) => readOurResponses(pieces, toHead),
      readNodeResponses(cut(stream, []), toHead),
      RESPONSE_DIFFERENCES,
    ),
};

function compare(
  stream: string,
  cuts: readonly number[],
  readOurs: (pieces: Buffer[]) => Reading,
  node: Reading,
  differences: readonly Difference[],
): string | undefined {
  const ours = readOurs(cut(stream, []));
  const whole = comparable(ours);
  if (comparable(readOurs(cut(stream, cuts))) !== whole) return "we read it differently when it is cut";
  if (stream.length <= MAX_BYTEWISE && comparable(readOurs(cutEverywhere(stream))) !== whole) {
    return "we read it differently byte by byte";
  }
  const divergence = firstDivergence(stream, ours, node);
  if (divergence === undefined) return undefined;
  const difference = explain(differences, divergence);
  if (difference === undefined) {
    const { kind, part, ourWhy, nodeWhy } = divergence;
    return `a difference from Node that nothing explains: ${kind} ${part}, we: ${ourWhy}, Node: ${nodeWhy}`;
  }
  met.set(difference, (met.get(difference) ?? 0) + 1);
  return undefined;
}

/**
 * What must not depend on how the bytes came: the messages. A line without end is refused at once when it comes in one
 * piece and waits for its end, and so for its deadline, when it does not.
 */
function comparable(reading: Reading): string {
  return JSON.stringify([reading.messages, reading.end === "closed"]);
}
