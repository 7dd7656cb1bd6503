/** Requests that balancers report: those that `paceline record` keeps, and sampled ones. Nothing secret is in them. */
import { type Check, fieldsOf, isAmount, isText, listOf, optional } from "./checks.js";

/** A request as `paceline record` keeps it: no body, no fields, no values of its query. */
export interface RecordedRequest {
  /** When its head arrived, in Unix time in milliseconds. */
  at: number;
  method: string;
  path: string;
  status: number;
  /** Of the response's body. */
  bytes: number;
  ms: number;
}

/** What stands for a part of a path that may be a key or a token. */
export const RECORDED_MASK = "*";

/** From a balancer, while its snapshot says that requests are recorded. */
export interface RecordedRequests {
  type: "recorded";
  requests: RecordedRequest[];
  /** How many more there were: they could not be sent in time. */
  lost: number;
}

export const areRecorded: Check = listOf(
  fieldsOf<RecordedRequest>({
    ...{ method: isText, path: isText },
    ...{ at: isAmount, status: isAmount, bytes: isAmount, ms: isAmount },
  }),
);

/** A sampled request as the supervisor exports it as spans: when it was where. */
export interface RecordedSpan {
  /** 32 and 16 hexadecimal digits. */
  traceId: string;
  /** The parent of the app's own span, if this trace was made here. */
  spanId?: string;
  /** The client's span, whose child this one is. */
  parentId?: string;
  /** When its head arrived, in Unix time in milliseconds, and the times from then on. Missing: it has not come to that. */
  at: number;
  ms: number;
  queuedMs?: number;
  foundMs?: number;
  sentMs?: number;
  firstByteMs?: number;
  /** How long the handler ran; only from instances on the lane. */
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

/** From a balancer, if its snapshot says that spans are exported. */
export interface RecordedSpans {
  type: "spans";
  spans: RecordedSpan[];
  /** How many more there were: they could not be sent in time. */
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
