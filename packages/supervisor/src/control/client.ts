/** The client of the control socket. The command line accesses the fleet only through it. */
import { type IncomingMessage, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { PacelineError } from "../errors.js";
import type {
  DeathDetails,
  FigureHistory,
  OpenRequestStatus,
  OperationResult,
  PageAccess,
  ProgressListener,
  Status,
} from "./api.js";
import { CALLER_FIELD, callerField, callerOf } from "./caller.js";

/** The longest path that a supervisor can certainly read in addition to the caller and the runtime's fields, in bytes. */
const MAX_PATH_BYTES = 4_096;
/** The maximum length of a response or line, in bytes. */
const MAX_RESPONSE_BYTES = 16 << 20;

interface ClientOptions {
  socketPath: string;
  /** The time limit for all requests of this client, in milliseconds from its creation. Default: none. */
  timeoutMs?: number | undefined;
  /** The supervisor to watch while it does not respond. Default: a request waits until its deadline. */
  supervisor?: WatchedSupervisor | undefined;
}

/** How long a supervisor may take to return its status, in milliseconds. */
const STATUS_TIMEOUT_MS = 10_000;

/**
 * Methods throw PacelineError: `not-running` if nobody serves the socket, `timeout` after the deadline, `unresponsive` if the supervisor
 * does not respond, `lost` if it exited before its response was complete, otherwise the code in the response.
 */
export class ControlClient {
  private readonly socketPath: string;
  private readonly deadline: number | undefined;
  private readonly timeoutMs: number | undefined;
  private readonly supervisor: WatchedSupervisor | undefined;

  constructor({ socketPath, timeoutMs, supervisor }: ClientOptions) {
    this.socketPath = socketPath;
    this.supervisor = supervisor;
    this.timeoutMs = timeoutMs;
    this.deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  }

  status(): Promise<Status> {
    return this.document("/v1/status");
  }

  history(zoom: "seconds" | "minutes", since = 0): Promise<FigureHistory> {
    return this.document(`/v1/history?zoom=${zoom}&since=${since}`);
  }

  async openRequests(name: string): Promise<OpenRequestStatus[]> {
    const path = `/v1/open-requests?name=${encodeURIComponent(name)}`;
    return (await this.document<{ requests: OpenRequestStatus[] }>(path)).requests;
  }

  async deaths(): Promise<DeathDetails[]> {
    return (await this.document<{ deaths: DeathDetails[] }>("/v1/deaths")).deaths;
  }

  page(): Promise<PageAccess> {
    return this.document("/v1/page");
  }

  /** Returns the only line of a response. */
  async document<Document extends object>(path: string): Promise<Document> {
    let document: Document | undefined;
    await this.send("GET", path, undefined, (line) => {
      const { error } = line as { error?: { code: string; message: string } };
      if (error !== undefined) throw new PacelineError(error.code, error.message);
      document = line as Document;
    });
    if (document === undefined) throw new PacelineError("lost", "the supervisor exited before it responded");
    return document;
  }

  /** Runs an operation. A failed operation is a result, not an error. */
  async operate(
    method: "GET" | "POST",
    path: string,
    body?: object,
    onProgress: ProgressListener = () => {},
  ): Promise<OperationResult> {
    let result: OperationResult | undefined;
    await this.send(method, path, body, (line) => {
      const { progress, result: last, error } = line as OperationLine;
      if (progress !== undefined) onProgress(progress);
      if (last !== undefined) result = last;
      if (error !== undefined) result = { ok: false, ...error };
    });
    if (result === undefined) throw new PacelineError("lost", "the supervisor exited during the operation");
    return result;
  }

  /**
   * Reads a stream of lines and calls `onLines` with those that arrive together, until the stream ends or `signal` aborts (error `lost`).
   * Waits for the promise of `onLines` before it continues.
   */
  async read(path: string, onLines: (lines: object[]) => Promise<void> | void, signal?: AbortSignal): Promise<void> {
    let lines: object[] = [];
    const take = (line: object) => {
      const { error } = line as { error?: { code: string; message: string } };
      if (error !== undefined) throw new PacelineError(error.code, error.message);
      lines.push(line);
    };
    const flush = () => {
      const some = lines;
      lines = [];
      return some.length === 0 ? undefined : onLines(some);
    };
    await this.send("GET", path, undefined, take, signal, flush);
  }

  private async send(
    method: string,
    path: string,
    body: object | undefined,
    onLine: (line: object) => void,
    signal?: AbortSignal,
    onChunk?: () => Promise<void> | void,
  ): Promise<void> {
    if (path.length > MAX_PATH_BYTES) throw new PacelineError("invalid", TOO_LONG);
    // A supervisor that is stopped now would execute the request later.
    await untilRunning(this.supervisor, this.deadline);
    const notRead = () => new PacelineError("lost", "the request was cancelled");
    if (signal?.aborted) throw notRead();
    return new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body);
      const headers = {
        ...(method === "POST" && { [CALLER_FIELD]: callerField(callerOf()) }),
        ...(text !== undefined && { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) }),
      };
      // Without a name Node looks whether `localhost` is an address, and compiles its pattern of IPv6 for that: 4 ms.
      const target = { socketPath: this.socketPath, method, path, headers, agent: false as const, servername: "" };
      const outgoing = request(target);
      let timer: NodeJS.Timeout | undefined;
      const forget = this.watchSilence((error) => end(error));
      const aborted = () => end(notRead());
      const end = (error?: Error) => {
        clearTimeout(timer);
        forget();
        signal?.removeEventListener("abort", aborted);
        if (error === undefined) return resolve();
        outgoing.destroy();
        reject(error);
      };
      signal?.addEventListener("abort", aborted);
      if (this.deadline !== undefined) {
        const message = `the deadline of ${(this.timeoutMs ?? 0) / 1000} s passed`;
        // The deadline may have passed, and runtimes warn about negative delays.
        const leftMs = Math.max(0, this.deadline - performance.now());
        timer = setTimeout(() => end(new PacelineError("timeout", message)), leftMs);
      }
      outgoing.on("error", (error: NodeJS.ErrnoException) => end(explain(error)));
      outgoing.on("response", (response) => {
        // The runtime sends this status without a line. The supervisor keeps running.
        if (HEAD_TOO_LARGE.has(response.statusCode ?? 0)) return end(new PacelineError("invalid", TOO_LONG));
        // Lines of a stream come whenever something happens.
        if (onChunk !== undefined) forget();
        readLines(response, onLine, onChunk).then(() => end(), end);
      });
      outgoing.end(text);
    });
  }

  private watchSilence(onSilent: (error: PacelineError) => void): () => void {
    const supervisor = this.supervisor;
    if (supervisor === undefined) return () => {};
    const ask = () => new ControlClient({ socketPath: this.socketPath, timeoutMs: STATUS_TIMEOUT_MS }).status();
    return watchSilence({ supervisor, ask, onSilent });
  }
}

const HEAD_TOO_LARGE = new Set([414, 431]);
const TOO_LONG = "the request to the supervisor, or a name in it, is too long";

interface OperationLine {
  progress?: string;
  result?: OperationResult;
  error?: Omit<Extract<OperationResult, { ok: false }>, "ok">;
}

async function readLines(
  response: IncomingMessage,
  onLine: (line: object) => void,
  onChunk: () => Promise<void> | void = () => {},
): Promise<void> {
  let pending = "";
  response.setEncoding("utf8");
  try {
    for await (const chunk of response as AsyncIterable<string>) {
      const parts = (pending + chunk).split("\n");
      pending = parts.pop() ?? "";
      if (pending.length > MAX_RESPONSE_BYTES) throw new PacelineError("lost", "the supervisor's response is too long");
      for (const line of parts) if (line !== "") onLine(JSON.parse(line) as object);
      const wait = onChunk();
      if (wait !== undefined) await wait;
    }
  } catch (error) {
    throw error instanceof PacelineError ? error : explain(error as NodeJS.ErrnoException);
  }
  if (pending !== "") throw new PacelineError("lost", "the supervisor exited in the middle of a line");
}

function explain(error: NodeJS.ErrnoException): PacelineError {
  switch (error.code) {
    case "ENOENT":
    case "ECONNREFUSED":
    case "FailedToOpenSocket": // Bun uses this code for both.
      return new PacelineError("not-running", "nothing is running here", { cause: error });
    default:
      return new PacelineError("lost", `lost the connection to the supervisor: ${error.message}`, { cause: error });
  }
}

/** How long a response may take before this checks whether a signal has stopped the supervisor, in milliseconds. */
const LOOK_AFTER_MS = 2_000;
const LOOK_AGAIN_MS = 100;
/** The pause between two status requests to a supervisor that works on an operation, in milliseconds. */
const ASK_EVERY_MS = 5_000;

/** What can be observed of the supervisor from outside. */
interface WatchedSupervisor {
  /** Whether a signal has stopped it. */
  isStopped(): boolean;
  /** Returns a message that it does not respond, and what to do. */
  silentText(): string;
}

/**
 * Waits for a moment while a signal has stopped it.
 * @throws PacelineError `unresponsive`
 */
async function untilRunning(
  supervisor: WatchedSupervisor | undefined,
  deadline = Number.POSITIVE_INFINITY,
): Promise<void> {
  const until = Math.min(performance.now() + LOOK_AFTER_MS, deadline);
  while (supervisor?.isStopped()) {
    if (performance.now() >= until) throw new PacelineError("unresponsive", supervisor.silentText());
    await sleep(LOOK_AGAIN_MS);
  }
}

interface SilenceOptions {
  supervisor: WatchedSupervisor;
  /**
   * Sends a request to which a supervisor responds at once.
   * @throws PacelineError `timeout` if it does not
   */
  ask(): Promise<unknown>;
  onSilent(error: PacelineError): void;
}

/** Watches until the returned function is called. */
function watchSilence({ supervisor, ask, onSilent }: SilenceOptions): () => void {
  let isOver = false;
  let timer: NodeJS.Timeout;
  const look = async () => {
    const silent = () => onSilent(new PacelineError("unresponsive", supervisor.silentText()));
    if (supervisor.isStopped()) return silent();
    const isSilent = await ask().then(
      () => false,
      (error: unknown) => error instanceof PacelineError && error.code === "timeout",
    );
    if (isOver) return;
    if (isSilent) return silent();
    arm(ASK_EVERY_MS);
  };
  const arm = (ms: number) => {
    timer = setTimeout(() => void look(), ms);
  };
  arm(LOOK_AFTER_MS);
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}
