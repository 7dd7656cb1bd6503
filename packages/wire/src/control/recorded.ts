/** A request as `paceline record` keeps it: no body, no fields, no values of its query. */
import { areAmounts, areTexts, isFields, isList } from "./checks.js";

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

export function areRecorded(value: unknown): boolean {
  return isList(value, (it) => isFields(it) && areTexts(it, ["method", "path"]) && areAmounts(it, AMOUNTS));
}

const AMOUNTS = ["at", "status", "bytes", "ms"];
