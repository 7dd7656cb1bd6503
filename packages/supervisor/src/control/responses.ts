/** The responses of the control socket: JSON documents, operations with progress, and streams of lines. */
import type { ServerResponse } from "node:http";
import { lostText } from "../core/words.js";
import { PacelineError } from "../errors.js";
import { CONTENT_TYPES, formatFor, type TextFormat } from "../metrics/exposition.js";
import type { LogLine, OperationErrorCode, OperationResult, ProgressListener } from "./api.js";

/** An error response of the control socket; clients receive its code. */
export class ControlError extends PacelineError {
  readonly status: number;

  constructor(status: number, code: string, message: string) {
    super(code, message);
    this.status = status;
  }
}

/** The HTTP status of an operation that failed before it reported progress. */
const STATUS_OF: Record<OperationErrorCode, number> = {
  invalid: 400,
  config: 422,
  busy: 409,
  "last-available": 409,
  failed: 500,
  "release-refused": 422,
  "taken-back": 500,
  undecided: 500,
  timeout: 504,
};

export function sendJson(response: ServerResponse, status: number, value: object): void {
  const body = `${JSON.stringify(value)}\n`;
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  response.end(body);
}

/** Responds with the metrics in the format that a scraper accepts. */
export async function sendMetrics(
  response: ServerResponse,
  accept: string,
  source: Metrics,
  isHead = false,
): Promise<void> {
  const format = formatFor(accept);
  const body = await source.metrics(format);
  const fields = { "Content-Type": CONTENT_TYPES[format], "Content-Length": Buffer.byteLength(body) };
  response.writeHead(200, fields);
  response.end(isHead ? undefined : body);
}

interface Metrics {
  metrics(format: TextFormat): Promise<string>;
}

/** Beyond this many unread bytes, progress is dropped, but never the result. */
const MAX_PROGRESS_BYTES = 1 << 20;

/**
 * Runs `run` and responds with JSON lines: `{"progress": "…"}` while it runs, then `{"result": {…}}`. A failure before any
 * progress is an error document with its own status. After the query's `timeoutMs`, the response ends and the operation
 * continues.
 */
export async function operation(
  response: ServerResponse,
  query: URLSearchParams,
  run: (onProgress: ProgressListener) => Promise<OperationResult>,
): Promise<void> {
  let hasEnded = false;
  const begin = () => {
    if (!response.headersSent) response.writeHead(200, { "Content-Type": "application/x-ndjson" });
  };
  const running = run((message) => {
    if (hasEnded || response.destroyed || response.writableLength > MAX_PROGRESS_BYTES) return;
    begin();
    response.write(`${JSON.stringify({ progress: message })}\n`);
  });
  const reported = running.catch((error: unknown): OperationResult => {
    if (error instanceof ControlError || !response.headersSent) throw error;
    return { ok: false, code: "failed", message: error instanceof Error ? error.message : String(error) };
  });
  const result = await withDeadline(reported, Number(query.get("timeoutMs") ?? 0));
  hasEnded = true;
  if (response.destroyed) return;
  if (!result.ok && !response.headersSent) {
    const { code, message, lastLines } = result;
    return sendJson(response, STATUS_OF[code], { error: { code, message, ...(lastLines ? { lastLines } : {}) } });
  }
  begin();
  response.end(`${JSON.stringify({ result })}\n`);
}

/** Resolves with the result of `running`, or with a timeout after `timeoutMs`; 0 means no limit. */
async function withDeadline(running: Promise<OperationResult>, timeoutMs: number): Promise<OperationResult> {
  if (timeoutMs === 0) return running;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<OperationResult>((resolve) => {
    const message = `the deadline of ${timeoutMs / 1000} s passed; the operation continues`;
    timer = setTimeout(() => resolve({ ok: false, code: "timeout", message }), timeoutMs);
  });
  try {
    return await Promise.race([running, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The limit of unread bytes of all followers together. A follower that exceeds its share receives no further lines until it has read the
 * unread ones.
 */
const MAX_LINES_BYTES = 16 << 20;
/** Skipped lines are counted per name. Beyond this many names, the rest is counted under one name. */
const MAX_NAMES = 1_000;

/** A line, or its JSON. */
export type Line = object | string;

/** Calls `onLines` with new lines as they arrive. Returns a function that ends the subscription. */
export type Subscribe = (onLines: (lines: readonly Line[]) => void) => () => void;

interface LineSource {
  recent: Line[];
  subscribe: Subscribe;
}

interface Streams {
  /** Registers a function that ends the stream. Returns one that unregisters it. */
  onServerClose(end: () => void): () => void;
  /** Returns the number of readers. */
  readers(): number;
}

export function lines(
  response: ServerResponse,
  query: URLSearchParams,
  source: LineSource,
  { onServerClose, readers }: Streams,
): void {
  const most = query.get("lines");
  const recent =
    most === null
      ? source.recent
      : source.recent.slice(source.recent.length - Math.min(Number(most), source.recent.length));
  response.writeHead(200, { "Content-Type": "application/x-ndjson" });
  response.write(textOf(recent));
  if (query.get("follow") !== "1") return void response.end();
  response.flushHeaders();

  const lost = new Map<string, number>();
  const send = (text: string) => {
    if (text === "" && lost.size === 0) return;
    response.write(lostLines(lost) + text);
    lost.clear();
  };
  const release = [
    source.subscribe((some) => {
      if (response.writableLength <= MAX_LINES_BYTES / readers()) return send(textOf(some));
      for (const line of some) countLost(lost, line);
    }),
    onServerClose(() => {
      finish();
      send("");
      response.end();
    }),
  ];
  const finish = () => {
    for (const each of release.splice(0)) each();
  };
  // After a slow reader has caught up, it is notified about skipped lines even if no new ones arrive.
  response.on("drain", () => send(""));
  response.on("close", finish);
}

const documents = new WeakMap<object, string>();

/** Returns the JSON of a document that several followers get; it is generated once for all of them. */
export function jsonForAll(document: object): string {
  const text = documents.get(document) ?? JSON.stringify(document);
  documents.set(document, text);
  return text;
}

function textOf(lines: readonly Line[]): string {
  let text = "";
  for (const line of lines) text += `${typeof line === "string" ? line : JSON.stringify(line)}\n`;
  return text;
}

function countLost(lost: Map<string, number>, line: Line): void {
  const { name, subject = "", lost: already } = (typeof line === "string" ? {} : line) as Partial<LogLine>;
  const of = name ?? subject;
  const key = lost.has(of) || lost.size < MAX_NAMES ? of : "paceline";
  lost.set(key, (lost.get(key) ?? 0) + (already ?? 1));
}

function lostLines(lost: ReadonlyMap<string, number>): string {
  const at = Date.now();
  return textOf([...lost].map(([name, count]) => ({ sequence: 0, at, name, text: lostText(count, WHY), lost: count })));
}

const WHY = "this reader is too slow";
