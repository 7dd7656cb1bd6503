/** Requests that balancers report: those that `paceline record` stores, and sampled ones. They contain no secrets. */
import { type Check, fieldsOf, isAmount, isText, listOf, optional } from "./checks.js";

/** A request as `paceline record` stores it: without body, fields, or the values of its query. */
export interface RecordedRequest {
  /** When its head arrived, as Unix time in milliseconds. */
  at: number;
  method: string;
  path: string;
  status: number;
  /** The size of the response's body. */
  bytes: number;
  ms: number;
}

/** The replacement for a part of a path that may be a key or a token. */
export const RECORDED_MASK = "*";

/** From a balancer, while its snapshot requires that requests are recorded. */
export interface RecordedRequests {
  type: "recorded";
  requests: RecordedRequest[];
  /** The number of further requests that could not be sent in time. */
  lost: number;
}

export const areRecorded: Check = listOf(
  fieldsOf<RecordedRequest>({
    ...{ method: isText, path: isText },
    ...{ at: isAmount, status: isAmount, bytes: isAmount, ms: isAmount },
  }),
);

/** A sampled request as the supervisor exports it as spans, with the times of its phases. */
export interface RecordedSpan {
  /** 32 hexadecimal digits; the span ids below have 16. */
  traceId: string;
  /** The parent of the app's own span, if the balancer has created this trace. */
  spanId?: string;
  /** The client's span, which is the parent of this span. */
  parentId?: string;
  /**
   * When its head arrived, as Unix time in milliseconds. The next times are counted from then; those that the request did not reach are
   * missing.
   */
  at: number;
  ms: number;
  queuedMs?: number;
  foundMs?: number;
  sentMs?: number;
  firstByteMs?: number;
  /** How long the handler ran. Only from instances on the lane. */
  handlerMs?: number;
  method: string;
  /** Without its query, and without parts that may be tokens. */
  path: string;
  status: number;
  requestBytes: number;
  bytes: number;
  retries: number;
  pool?: string;
  instance?: string;
  outcome: string;
  phase: string;
}

/** From a balancer, if its snapshot requires that spans are exported. */
export interface RecordedSpans {
  type: "spans";
  spans: RecordedSpan[];
  /** The number of further requests that could not be sent in time. */
  lost: number;
}

const isTime = optional(isAmount);
const isName = optional(isText);

export const areSpans: Check = listOf(
  fieldsOf<RecordedSpan>({
    ...{ traceId: isText, method: isText, path: isText, outcome: isText, phase: isText },
    ...{ at: isAmount, ms: isAmount, status: isAmount, requestBytes: isAmount, bytes: isAmount, retries: isAmount },
    ...{ queuedMs: isTime, foundMs: isTime, sentMs: isTime, firstByteMs: isTime, handlerMs: isTime },
    ...{ spanId: isName, parentId: isName, pool: isName, instance: isName },
  }),
);
