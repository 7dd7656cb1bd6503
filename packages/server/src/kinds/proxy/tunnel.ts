/** One upgrade through the library, such as a WebSocket, from the request until both ends are closed. */
import { type ClientRequest, type IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { REASONS } from "@paceline/wire/reasons";
import { cut } from "../../http1/node-responses.js";
import { hopByHop, upgradeFields, upstreamTarget } from "./request-head.js";
import { clientFields, problemOf, reasonOf } from "./response-head.js";
import { type Fault, faultOf, setFields, type Upstream, type UpstreamWait } from "./upstream.js";

/** The maximum time without progress for the last bytes to a client or an upstream, in milliseconds. */
const LAST_BYTES_TIMEOUT_MS = 30_000;

export class Tunnel {
  private state: "asking" | "refused" | "open" | "over" = "asking";
  private request: ClientRequest | undefined;
  private wait: UpstreamWait | undefined;

  constructor(
    private readonly upstream: Upstream,
    private readonly incoming: IncomingMessage,
    private readonly socket: Duplex,
  ) {}

  start(head: Buffer): void {
    const { upstream, incoming, socket } = this;
    const { headers } = incoming;
    const target = upstreamTarget(incoming.url ?? "", incoming.method, upstream.settings.basePath);
    const hasBody = headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";
    // Anything after the head belongs to the new protocol, and could not be distinguished from a body.
    if (target === undefined || hasBody) return this.respondFault(400);
    setFields(incoming, upgradeFields(incoming, upstream.isBehindBalancer));
    socket.once("close", () => this.clientGone());
    // If the client ends before the response, it has left.
    socket.once("end", () => this.state === "asking" && this.clientGone());
    // The library writes the head of the 101 as text.
    if (socket instanceof Socket) socket.setDefaultEncoding("latin1");
    upstream.request(
      target,
      (request) => this.watch(request),
      () => upstream.library.ws(incoming, socket, head, { agent: upstream.fresh }, ignored),
    );
    // The library would write a refusal with a framing that its body no longer has.
    this.request?.removeAllListeners("response");
    this.request?.once("response", (upstreamResponse) => this.refuse(upstreamResponse));
    this.request?.once("upgrade", (_, upstreamSocket: Socket) => this.join(upstreamSocket));
  }

  private watch(request: ClientRequest): void {
    this.request = request;
    const wait = this.upstream.waits.begin(request, {
      onLate: (fault) => this.fail(fault),
      isClientSlow: () => this.state === "refused" && this.socket.writableNeedDrain,
    });
    this.wait = wait;
    request.once("error", (error) => this.fail(faultOf(error)));
    request.once("close", () => this.fail(NO_RESPONSE));
    request.once("upgrade", (upstreamResponse) => {
      wait.end();
      this.onUpgrade(upstreamResponse);
    });
  }

  /** Runs before the library's listener. */
  private onUpgrade(upstreamResponse: IncomingMessage): void {
    const problem =
      upstreamResponse.statusCode === 101 ? undefined : `it upgraded with the status ${upstreamResponse.statusCode}`;
    if (problem !== undefined) return this.fail({ status: 502, reason: problem });
    const { headers } = upstreamResponse;
    const staysBehind = hopByHop(headers.connection);
    const passing = Object.entries(headers).filter(([name]) => !staysBehind(name));
    setFields(upstreamResponse, { ...Object.fromEntries(passing), connection: "upgrade", upgrade: headers.upgrade });
    if (this.state === "asking") this.state = "open";
  }

  /**
   * Runs after the library has joined both sockets. After a clean end, the last bytes are still sent; an error closes the other side, too.
   */
  private join(upstreamSocket: Socket): void {
    const { socket } = this;
    upstreamSocket.on("error", () => {});
    if (this.state !== "open" || socket.destroyed) {
      upstreamSocket.destroy();
      return;
    }
    const { tunnelIdleTimeoutMs } = this.upstream.settings;
    upstreamSocket.setTimeout(tunnelIdleTimeoutMs, () => {
      upstreamSocket.destroy();
      socket.destroy();
    });
    socket.once("close", () => leave(upstreamSocket, socket, LAST_BYTES_TIMEOUT_MS));
    // The balancer enforces the timeouts of slow clients.
    const clientMs = this.upstream.isBehindBalancer ? tunnelIdleTimeoutMs : LAST_BYTES_TIMEOUT_MS;
    upstreamSocket.once("close", () => leave(socket, upstreamSocket, clientMs));
  }

  private refuse(upstreamResponse: IncomingMessage): void {
    const { socket, incoming, upstream } = this;
    this.wait?.heard(true);
    if (this.state !== "asking") return;
    upstreamResponse.on("error", () => {});
    const problem = problemOf(upstreamResponse);
    if (problem !== undefined) return this.fail({ status: 502, reason: problem });
    this.state = "refused";
    const response = new ServerResponse(incoming);
    response.shouldKeepAlive = false;
    response.assignSocket(socket as Socket);
    socket.on("drain", () => response.emit("drain"));
    // The client's data was for the protocol that was refused.
    socket.resume();
    const { connection: _, ...fields } = clientFields(upstreamResponse, incoming, upstream.settings);
    response.writeHead(upstreamResponse.statusCode ?? 502, reasonOf(upstreamResponse) || undefined, {
      ...fields,
      connection: "close",
    });
    upstreamResponse.pipe(response);
    upstreamResponse.once("close", () => {
      if (upstreamResponse.complete) return;
      this.log("it closed the connection in the middle of a response");
      this.state = "over";
      cut(socket);
    });
    response.once("finish", () => {
      this.state = "over";
      response.detachSocket(socket as Socket);
      endSoon(socket);
    });
  }

  private clientGone(): void {
    if (this.state === "asking" || this.state === "refused") this.request?.destroy();
    if (this.state === "asking") this.socket.destroy();
    this.state = "over";
  }

  private fail({ status, reason }: Fault): void {
    if (this.state === "over" || this.state === "open") return;
    this.log(reason);
    if (this.state === "refused") cut(this.socket);
    else this.respondFault(status);
    this.state = "over";
    this.request?.destroy();
  }

  private respondFault(status: Fault["status"]): void {
    const body = `${REASONS[status]}\n`;
    this.socket.write(
      `HTTP/1.1 ${status} ${REASONS[status]}\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n` +
        `Connection: close\r\n\r\n${body}`,
    );
    this.socket.resume();
    endSoon(this.socket);
  }

  private log(reason: string): void {
    this.upstream.faults.add(reason, this.incoming.method, this.incoming.url);
  }
}

const NO_RESPONSE: Fault = { status: 502, reason: "it closed the connection without a response" };

/** Ends one side after the other side was closed. */
function leave(other: Duplex, closed: Duplex, timeoutMs: number): void {
  if (closed.readableEnded) endSoon(other, timeoutMs);
  else cut(other);
}

/** Sends queued bytes and closes, at the latest at the deadline. */
function endSoon(socket: Duplex, timeoutMs = LAST_BYTES_TIMEOUT_MS): void {
  socket.end();
  if (!(socket instanceof Socket)) return;
  socket.once("finish", () => socket.destroySoon());
  socket.setTimeout(timeoutMs, () => socket.destroy());
}

/** Ignores the library's events; the request and the sockets report the same. */
function ignored(): void {}
