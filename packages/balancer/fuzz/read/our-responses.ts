/** Reads a stream of responses with the balancer's own parts, combined as in its upstream connection. */
import { BodyReader } from "../../src/http1/body-framing.js";
import { HEAD_INCOMPLETE } from "../../src/http1/request-head.js";
import { ResponseHead } from "../../src/http1/response-head.js";
import type { Reading, SeenMessage } from "../message.js";
import { fieldsOf, latin1 } from "./our-requests.js";

/**
 * Reads the pieces in order, then the end of the connection. The nth final response belongs to a HEAD if `toHead[n]`; after the
 * last one nothing more is expected.
 */
export function readOurResponses(pieces: readonly Buffer[], toHead: readonly boolean[]): Reading {
  const reading: Reading = { messages: [], end: "open", used: 0, why: "" };
  const head = new ResponseHead();
  const body = new BodyReader();
  let current: SeenMessage | undefined;
  let rest = Buffer.alloc(0);
  let answered = 0;
  const refuse = (why: string) => {
    reading.end = "refused";
    reading.why = why;
  };
  const complete = (message: SeenMessage) => {
    message.isComplete = true;
    current = undefined;
    if (!message.keepAlive || message.status === 101) reading.end = "closed";
  };
  for (const piece of pieces) {
    rest = Buffer.concat([rest, piece]);
    while (reading.end === "open" && rest.length > 0) {
      let after: number;
      if (current === undefined) {
        if (answered === toHead.length) return reading;
        after = head.parse(rest, 0, rest.length, toHead[answered] as boolean);
        if (after === HEAD_INCOMPLETE) break;
        if (after < 0) {
          refuse("head");
          break;
        }
        current = seen(head, reading.used);
        reading.messages.push(current);
        body.begin(head.framing, head.contentLength);
        if (!head.isInterim) answered++;
      } else {
        const message: SeenMessage = current;
        after = body.read(rest, 0, rest.length, {
          onBody: (bytes, start, end) => {
            message.body += latin1(bytes, start, end);
          },
        });
        if (after < 0) {
          refuse("body");
          break;
        }
      }
      reading.used += after;
      rest = rest.subarray(after);
      if (body.isComplete && current !== undefined) complete(current);
    }
    if (reading.end !== "open") return reading;
  }
  if (current !== undefined && body.endsWithClose) complete(current);
  return reading;
}

function seen(head: ResponseHead, start: number): SeenMessage {
  return {
    start,
    method: "",
    target: "",
    host: undefined,
    status: head.status,
    reason: latin1(head.bytes, head.reasonStart, head.reasonEnd),
    minorVersion: head.bytes[7] === 48 ? 0 : 1,
    keepAlive: head.isInterim || (head.keepAlive && head.framing !== "close"),
    fields: fieldsOf(head.fields),
    body: "",
    isComplete: false,
  };
}
