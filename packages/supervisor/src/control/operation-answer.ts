/** Answers with an operation that takes its time: its progress line by line, then its result. */
import type { ServerResponse } from "node:http";
import { ControlError, STATUS_OF, sendJson } from "./answer.js";
import type { OperationResult, ProgressListener } from "./api.js";

/** Progress beyond this many unread bytes is left out; the result is not. */
const MAX_BUFFERED_BYTES = 1 << 20;

/**
 * Runs `run` and answers in lines of JSON: `{"progress": "…"}` as it goes on and `{"result": {…}}` at its end. What
 * fails before any progress is an error document with a status of its own. With `timeoutMs` in the query the answer comes
 * by then, while the operation goes on.
 */
export async function operation(
  response: ServerResponse,
  query: URLSearchParams,
  run: (onProgress: ProgressListener) => Promise<OperationResult>,
): Promise<void> {
  let answered = false;
  const begin = () => {
    if (!response.headersSent) response.writeHead(200, { "Content-Type": "application/x-ndjson" });
  };
  const running = run((message) => {
    if (answered || response.destroyed || response.writableLength > MAX_BUFFERED_BYTES) return;
    begin();
    response.write(`${JSON.stringify({ progress: message })}\n`);
  });
  const foreseen = running.catch((error: unknown): OperationResult => {
    if (error instanceof ControlError || !response.headersSent) throw error;
    return { ok: false, code: "failed", message: error instanceof Error ? error.message : String(error) };
  });
  const result = await withDeadline(foreseen, Number(query.get("timeoutMs") ?? 0));
  answered = true;
  if (response.destroyed) return;
  if (!result.ok && !response.headersSent) {
    const { code, message, lastLines } = result;
    return sendJson(response, STATUS_OF[code], { error: { code, message, ...(lastLines ? { lastLines } : {}) } });
  }
  begin();
  response.end(`${JSON.stringify({ result })}\n`);
}

/** `running`, or a timeout after `timeoutMs` milliseconds; 0 waits for as long as it takes. */
async function withDeadline(running: Promise<OperationResult>, timeoutMs: number): Promise<OperationResult> {
  if (timeoutMs === 0) return running;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<OperationResult>((resolve) => {
    const message = `the deadline of ${timeoutMs / 1000} s passed; the operation goes on`;
    timer = setTimeout(() => resolve({ ok: false, code: "timeout", message }), timeoutMs);
  });
  try {
    return await Promise.race([running, late]);
  } finally {
    clearTimeout(timer);
  }
}
