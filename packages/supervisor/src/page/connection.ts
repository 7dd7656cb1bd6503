/**
 * The page's requests to the supervisor: documents, streams and operations. The token is sent with each request in a field that no other
 * site can send.
 */
import type { OperationResult } from "../control/api.js";

/** A message of a stream of server-sent events. */
interface StreamMessage {
  event: string;
  data: string;
}

/** Splits a stream of server-sent events into its messages. Pure. */
export class StreamParser {
  private pending = "";

  push(text: string): StreamMessage[] {
    const parts = (this.pending + text).split("\n\n");
    this.pending = parts.pop() ?? "";
    return parts.map((part) => {
      const message: StreamMessage = { event: "message", data: "" };
      for (const line of part.split("\n")) {
        // U+2028 and U+2029 are text here, but `.` alone excludes them.
        const [, field, value = ""] = /^(event|data): ?(.*)$/s.exec(line) ?? [];
        if (field === "event") message.event = value;
        else if (field === "data") message.data += value;
      }
      return message;
    });
  }
}

/** Splits a stream of lines into the complete lines. Pure. */
export class LineParser {
  private pending = "";

  push(text: string): string[] {
    const parts = (this.pending + text).split("\n");
    this.pending = parts.pop() ?? "";
    return parts.filter((line) => line !== "");
  }
}

/** `isLocked`: the token is missing or wrong. */
export class RequestError extends Error {
  constructor(
    message: string,
    readonly isLocked: boolean,
  ) {
    super(message);
  }
}

/** The connection counts as lost if a stream that sends something each second was silent for this long. In milliseconds. */
const SILENCE_MS = 10_000;

export class Connection {
  constructor(private readonly token: () => string) {}

  async document<Document>(path: string): Promise<Document> {
    return (await this.request(path)).json() as Promise<Document>;
  }

  /**
   * Calls `onText` with each part of a response, until it ends.
   * @throws RequestError
   */
  async follow(
    path: string,
    onText: (text: string) => void,
    { signal, isRegular = false }: { signal: AbortSignal; isRegular?: boolean },
  ): Promise<void> {
    const silence = new AbortController();
    const response = await this.request(path, { signal: AbortSignal.any([signal, silence.signal]) });
    await readAll(response, onText, () => {
      const timer = isRegular ? setTimeout(() => silence.abort(), SILENCE_MS) : undefined;
      return () => clearTimeout(timer);
    });
  }

  /** Runs an operation; a failed one is also a result. */
  async operate(path: string, body: object, onProgress: (text: string) => void): Promise<OperationResult> {
    const headers = { "Content-Type": "application/json" };
    const response = await this.request(path, { method: "POST", headers, body: JSON.stringify(body) });
    const parser = new LineParser();
    let result: OperationResult = { ok: false, code: "failed", message: "the supervisor ended in the middle of it" };
    await readAll(response, (text) => {
      for (const line of parser.push(text)) {
        const { progress, result: last } = JSON.parse(line) as { progress?: string; result?: OperationResult };
        if (progress !== undefined) onProgress(progress);
        if (last !== undefined) result = last;
      }
    });
    return result;
  }

  private async request(path: string, options: RequestInit = {}): Promise<Response> {
    const token = this.token();
    const headers = { ...options.headers, ...(token === "" ? {} : { Authorization: `Bearer ${token}` }) };
    const response = await fetch(path, { ...options, headers, cache: "no-store", redirect: "error" });
    if (response.ok) return response;
    const text = await response.text();
    let message = `${response.status} ${response.statusText}`;
    try {
      message = (JSON.parse(text) as { error: { message: string } }).error.message;
    } catch {
      // Some other server has responded.
    }
    throw new RequestError(message, response.status === 401);
  }
}

/** @param waits called before each part; the function that it returns is called after the part */
async function readAll(response: Response, onText: (text: string) => void, waits = () => () => {}): Promise<void> {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await reader.read().finally(waits());
    if (done) return;
    onText(decoder.decode(value, { stream: true }));
  }
}
