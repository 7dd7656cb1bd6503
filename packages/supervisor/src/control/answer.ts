/** What all answers of the control socket share: errors with a status, and whole JSON documents. */
import type { ServerResponse } from "node:http";
import { PacelineError } from "../errors.js";
import type { OperationErrorCode } from "./api.js";

/** An error that the control socket answers with; its code is told to the client. */
export class ControlError extends PacelineError {
  readonly status: number;

  constructor(status: number, code: string, message: string) {
    super(code, message);
    this.status = status;
  }
}

/** The HTTP status for an operation that failed before it had told any progress. */
export const STATUS_OF: Record<OperationErrorCode, number> = {
  invalid: 400,
  config: 422,
  busy: 409,
  failed: 500,
  timeout: 504,
};

export function sendJson(response: ServerResponse, status: number, value: object): void {
  const body = `${JSON.stringify(value)}\n`;
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  response.end(body);
}
