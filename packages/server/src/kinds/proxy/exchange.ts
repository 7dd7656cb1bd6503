/** One request through the library. Passes a failure of either side to the other, once. */
import type {
  Agent,
  ClientRequest,
  IncomingMessage,
  InformationEvent,
  OutgoingMessage,
  ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import type { Stream } from "node:stream";
import { IDEMPOTENT_METHODS } from "@paceline/wire";
import { respondFailure, respondPlainly } from "../../http1/node-responses.js";
import { hasKnownCoding, upstreamFields, upstreamTarget } from "./request-head.js";
import { clientFields, problemOf, reasonOf } from "./response-head.js";
import { type Fault, faultOf, setFields, type Upstream, type UpstreamWait } from "./upstream.js";

/** The errors of a kept connection that the upstream had closed. */
const CLOSED: ReadonlySet<string | undefined> = new Set(["ECONNRESET", "EPIPE"]);

/** How long to wait for an upstream's reply to Expect, in milliseconds. Some upstreams never reply; the body is then sent anyway. */
const CONTINUE_WAIT_MS = 1000;

/** The balancer's limit, in bytes. */
const MAX_RESPONSE_HEAD_BYTES = 65_536;

export class Exchange {
  /** Whether it was responded to, forwarded or aborted; later events are ignored. */
  private isOver = false;
  private request: ClientRequest | undefined;
  private wait: UpstreamWait | undefined;
  private upstreamResponse: IncomingMessage | undefined;
  private readonly hasBody: boolean;
  private readonly interims = new Interims();
  /** The client's body is requested only when the upstream asks for it. */
  private isBodyBuffered: boolean;

  constructor(
    private readonly upstream: Upstream,
    private readonly incoming: IncomingMessage,
    private readonly response: ServerResponse,
  ) {
    const { headers } = incoming;
    this.hasBody = headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";
    this.isBodyBuffered = this.hasBody && headers.expect !== undefined && incoming.httpVersion === "1.1";
  }

  start(): void {
    const { incoming, upstream } = this;
    const { basePath } = upstream.settings;
    const target = upstreamTarget(incoming.url ?? "", incoming.method, basePath);
    if (target === undefined) return this.respondFault(400);
    if (!hasKnownCoding(incoming)) return this.respondFault(501);
    setFields(incoming, upstreamFields(incoming, upstream.isBehindBalancer));
    this.response.once("close", () => this.clientDone());
    this.send(target, upstream.kept(incoming.socket));
  }

  private send(target: string, agent: Agent): void {
    const { upstream, incoming, response } = this;
    upstream.request(
      target,
      (request) => this.watch(request, target),
      () =>
        upstream.library.web(
          incoming,
          response,
          this.isBodyBuffered ? { agent, buffer: this.heldBody } : { agent },
          ignored,
        ),
    );
    // Runs after the library has copied the response's fields: the agent reads the keep-alive time from them.
    this.request?.once("response", (upstreamResponse: IncomingMessage) => {
      const original = this.originalFields;
      if (original !== undefined) setFields(upstreamResponse, original);
      flushSoon(this.response);
    });
  }

  private originalFields: IncomingMessage["headers"] | undefined;

  /** Returns the stream that the library sends to the upstream while the client waits for 100 Continue. */
  private get heldBody(): Stream {
    const pipe = (request: ClientRequest) => {
      const release = () => {
        clearTimeout(timer);
        if (!this.isBodyBuffered || this.upstreamResponse !== undefined) return;
        this.isBodyBuffered = false;
        // Reading it sends 100 Continue to the client.
        this.incoming.pipe(request);
      };
      const timer = setTimeout(release, CONTINUE_WAIT_MS);
      request.once("continue", release);
      request.once("close", () => clearTimeout(timer));
      return request;
    };
    return { pipe } as unknown as Stream;
  }

  private watch(request: ClientRequest, target: string): void {
    this.request = request;
    // Node's default is its limit for requests.
    (request as ClientRequest & { maxHeaderSize: number }).maxHeaderSize = MAX_RESPONSE_HEAD_BYTES;
    if (this.isBodyBuffered) request.setHeader("expect", "100-continue");
    if (this.hasBody) flushSoon(request);
    const wait = this.upstream.waits.begin(request, {
      onLate: (fault) => this.fail(fault),
      isClientSlow: () => this.isClientSlow(),
    });
    this.wait = wait;
    request.once("socket", outliveWrites);
    request.on("information", (interim) => this.onInterim(interim));
    request.once("response", (upstreamResponse) => this.onResponse(upstreamResponse));
    request.on("error", (error) => {
      if (this.isOver || request !== this.request || this.upstreamResponse?.complete) return;
      if (this.maySendAgain(request, wait, error)) this.send(target, this.upstream.fresh);
      else this.fail(faultOf(error));
    });
    request.once("close", () => {
      if (request === this.request && this.upstreamResponse === undefined) this.fail(NO_RESPONSE);
    });
  }

  /** Whether the request may be repeated. A kept connection may close just when it is used, so an idempotent request is repeated once. */
  private maySendAgain(request: ClientRequest, wait: UpstreamWait, { code }: NodeJS.ErrnoException): boolean {
    if (!request.reusedSocket || wait.hasHeard || this.hasBody) return false;
    return CLOSED.has(code) && IDEMPOTENT_METHODS.has(this.incoming.method);
  }

  private onInterim(interim: Interim): void {
    if (this.isOver) return;
    this.wait?.heard(false);
    if (this.interims.take(interim)) passInterim(interim, this.incoming, this.response);
    else this.fail({ status: 502, reason: "it sent too many interim responses" });
  }

  /** Runs before the library's listener. */
  private onResponse(upstreamResponse: IncomingMessage): void {
    this.upstreamResponse = upstreamResponse;
    this.wait?.heard(true);
    joinPieces(upstreamResponse);
    if (upstreamResponse.headers["transfer-encoding"] !== undefined)
      limitChunks(upstreamResponse, (reason) => this.fail({ status: 502, reason }));
    // An early end causes an error event only if there is a listener.
    upstreamResponse.on("error", () => {});
    upstreamResponse.once("close", () => {
      if (!upstreamResponse.complete) this.fail(CUT_SHORT);
    });
    if (this.mayLeaveBytes(upstreamResponse) && this.request !== undefined) this.request.shouldKeepAlive = false;
    const problem = problemOf(upstreamResponse);
    if (problem !== undefined) return this.fail({ status: 502, reason: problem });
    const { incoming, response } = this;
    const fields = clientFields(upstreamResponse, incoming, this.upstream.settings);
    // The library would keep the connection even if the client or a drain requires it to be closed.
    const closes = this.isBodyBuffered || response.getHeader("connection") === "close" || !response.shouldKeepAlive;
    fields.connection = closes ? "close" : "keep-alive";
    this.originalFields = upstreamResponse.headers;
    setFields(upstreamResponse, fields);
    upstreamResponse.statusMessage = reasonOf(upstreamResponse);
  }

  /**
   * Whether bytes may follow: some upstreams send a body where none is allowed, or continue after they responded to an incomplete request.
   */
  private mayLeaveBytes({ statusCode }: IncomingMessage): boolean {
    const { method, complete } = this.incoming;
    return method === "HEAD" || statusCode === 204 || statusCode === 304 || (this.hasBody && !complete);
  }

  private isClientSlow(): boolean {
    if (this.upstreamResponse !== undefined) return this.response.writableNeedDrain;
    return !this.incoming.complete && this.request?.writableNeedDrain !== true;
  }

  /** Handles the end of the response or of the client. */
  private clientDone(): void {
    const isWhole = this.response.writableFinished;
    this.isOver = true;
    this.wait?.end();
    // The request is destroyed at once, even while it waits for a connection.
    if (!isWhole) this.request?.destroy();
  }

  private fail(fault: Fault): void {
    if (this.isOver) return;
    this.isOver = true;
    this.upstream.faults.add(fault.reason, this.incoming.method, this.incoming.url);
    this.respondFault(fault.status);
    this.request?.destroy();
  }

  /** Closes the connection after a partial response, so that it does not look complete. */
  private respondFault(status: Fault["status"]): void {
    const { incoming, response } = this;
    if (response.headersSent) return respondFailure(response, status);
    if (this.hasBody && !incoming.complete) response.setHeader("connection", "close");
    respondPlainly(response, status, status === 503 ? { "retry-after": "1" } : {});
  }
}

/** Pieces of a body below this size are joined. */
const SMALL_BYTES = 1024;

/**
 * Joins the small pieces of each read. Node creates an object and then a write for every chunk: an upstream that sends chunks of one byte
 * would take a hundred times their size in memory.
 */
function joinPieces(message: IncomingMessage): void {
  const { push } = message;
  let pieces: Buffer[] = [];
  let bytes = 0;
  const flush = () => {
    if (bytes === 0) return;
    const joined = pieces.length === 1 ? pieces[0] : Buffer.concat(pieces, bytes);
    pieces = [];
    bytes = 0;
    push.call(message, joined);
  };
  message.push = (piece: Buffer | null) => {
    if (piece === null) flush();
    if (piece === null || (bytes === 0 && piece.length >= SMALL_BYTES)) return push.call(message, piece);
    // Runs when the whole read has been parsed.
    if (bytes === 0) process.nextTick(flush);
    pieces.push(piece);
    bytes += piece.length;
    return message.readableLength + bytes < message.readableHighWaterMark;
  };
}

/** The maximum number of zeros before the size of a chunk. Node accepts any number of them, so that an upstream could send them forever. */
const MAX_ZEROS = 16;
const ZERO = 48;
/**
 * The allowance for a chunked body, in addition to twice its data. It covers the lines of each chunk with 16 bytes of an extension, 16 KiB
 * of further extensions, and trailers.
 */
const CHUNK_BYTES = 36;
const MAX_BESIDE_BYTES = 16_384 + MAX_RESPONSE_HEAD_BYTES;

/**
 * Calls back if reads contain more zeros than that and nothing else, or if the chunks of a body have too many bytes in addition to their
 * data.
 */
function limitChunks(message: IncomingMessage, onTooMuch: (reason: string) => void): void {
  const { socket, push } = message;
  let zeros = 0;
  let hasBody = false;
  /** Bytes that were read and may not belong to the data. */
  let besideBytes = 0;
  // Called for each chunk, or each part of one.
  message.push = (piece: Buffer | null) => {
    hasBody = true;
    if (piece !== null) besideBytes -= 2 * piece.length + CHUNK_BYTES;
    return push.call(message, piece);
  };
  // Called after the parser.
  const count = (bytes: Buffer) => {
    zeros = !hasBody && bytes.every((byte) => byte === ZERO) ? zeros + bytes.length : 0;
    hasBody = false;
    besideBytes += bytes.length;
    if (zeros > MAX_ZEROS) onTooMuch("the size of a chunk has too many zeros");
    else if (besideBytes > MAX_BESIDE_BYTES) onTooMuch("its chunks have too much framing");
  };
  socket.on("data", count);
  message.once("close", () => socket.off("data", count));
}

const NO_RESPONSE: Fault = { status: 502, reason: "it closed the connection without a response" };
const CUT_SHORT: Fault = { status: 502, reason: "it closed the connection in the middle of a response" };

/** Sends a head soon if its body is late. A body that is ready is sent together with it. */
function flushSoon(message: OutgoingMessage): void {
  setImmediate(() => {
    if (!message.headersSent && !message.destroyed) message.flushHeaders();
  });
}

/** Ignores the library's events; the request reports the same. */
function ignored(): void {}

/** Limits the interim responses per request, so that an upstream cannot send them forever. */
const MAX_INTERIMS = 16;
const MAX_INTERIM_BYTES = 65_536;
/** The overhead of a field line in addition to name and value; the status line has about the same. */
const LINE_BYTES = 4;

type Interim = Pick<InformationEvent, "statusCode" | "headers" | "rawHeaders">;

/** Forwards interim responses (1xx) to clients that support them (RFC 9110 §15.2), within limits. */
class Interims {
  private count = 0;
  private bytes = 0;

  /** Counts an interim response. Returns false if there are too many. */
  take({ rawHeaders }: Interim): boolean {
    for (const text of rawHeaders) this.bytes += text.length + LINE_BYTES;
    return ++this.count <= MAX_INTERIMS && this.bytes <= MAX_INTERIM_BYTES;
  }
}

/** Forwards 102 and 103, which Node can write; 100 is sent when the body is read. */
function passInterim(
  { statusCode, headers }: Interim,
  { httpVersionMajor, httpVersionMinor }: IncomingMessage,
  response: ServerResponse,
): void {
  if (response.headersSent || httpVersionMajor !== 1 || httpVersionMinor < 1) return;
  if (statusCode === 102) response.writeProcessing();
  if (statusCode !== 103 || headers.link === undefined) return;
  try {
    response.writeEarlyHints({ link: headers.link });
  } catch {
    // Node refuses this Link value. It is only a hint, and the final response contains it.
  }
}

type Done = (error?: Error | null) => void;

const known = new WeakSet<Socket>();
/** The errors of a write to a closed peer. */
const GONE: ReadonlySet<string | undefined> = new Set(["EPIPE", "ECONNRESET", "ECONNABORTED"]);

/**
 * Node destroys a socket as soon as a write fails, and drops unread data. Here a failed write counts as done: the received data is read
 * first, and then the end of reading, or its error, decides.
 */
function outliveWrites(socket: Socket): void {
  if (known.has(socket)) return;
  known.add(socket);
  const { _write, _writev } = socket;
  const without = (done: Done): Done => {
    return (error) => done(GONE.has((error as NodeJS.ErrnoException | null | undefined)?.code) ? null : error);
  };
  socket._write = (chunk, encoding, done) => _write.call(socket, chunk, encoding, without(done));
  if (_writev !== undefined) socket._writev = (chunks, done) => _writev.call(socket, chunks, without(done));
}
