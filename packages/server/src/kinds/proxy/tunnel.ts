/** One upgrade through the library, such as a WebSocket: until both ends speak through it, and until both are closed. */
import { type ClientRequest, type IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { REASONS } from "@paceline/wire/reasons";
import { cut } from "../../http1/node-responses.js";
import { setFields } from "./library.js";
import { hopByHop, upgradeFields, upstreamTarget } from "./request-head.js";
import { clientFields, problemOf, reasonOf } from "./response-head.js";
import { type Fault, faultOf, type Upstream } from "./upstream.js";

/** How long the last bytes for a client or an upstream may lie without one of them being taken. */
const LAST_BYTES_TIMEOUT_MS = 30_000;

export class Tunnel {
  private state: "asking" | "refused" | "open" | "over" = "asking";
  private request: ClientRequest | undefined;

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
    // What follows is the new protocol's; a body before it would have to be told from that.
    if (target === undefined || hasBody) return this.respondFault(400);
    setFields(incoming, upgradeFields(incoming, upstream.isBehindBalancer));
    socket.once("close", () => this.clientGone());
    // Without a response nobody is left to take one.
    socket.once("end", () => this.state === "asking" && this.clientGone());
    // The library writes the head of the 101 as text.
    if (socket instanceof Socket) socket.setDefaultEncoding("latin1");
    upstream.request(
      target,
      (request) => this.watch(request),
      () => upstream.library.ws(incoming, socket, head, { agent: upstream.fresh }, ignored),
    );
    // The library writes a refusal with the framing that its body no longer has.
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
    request.once("error", (error) => this.fail(faultOf(error)));
    request.once("close", () => this.fail(NO_RESPONSE));
    request.once("upgrade", (upstreamResponse) => {
      wait.end();
      this.onUpgrade(upstreamResponse);
    });
  }

  /** Before the library sees it. */
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

  /** After the library has joined both sockets: an end that is orderly lets the last bytes go, another one breaks the other off. */
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
    // How long a slow client may take is the balancer's to say.
    const clientMs = this.upstream.isBehindBalancer ? tunnelIdleTimeoutMs : LAST_BYTES_TIMEOUT_MS;
    upstreamSocket.once("close", () => leave(socket, upstreamSocket, clientMs));
  }

  private refuse(upstreamResponse: IncomingMessage): void {
    const { socket, incoming, upstream } = this;
    if (this.state !== "asking") return;
    upstreamResponse.on("error", () => {});
    const problem = problemOf(upstreamResponse);
    if (problem !== undefined) return this.fail({ status: 502, reason: problem });
    this.state = "refused";
    const response = new ServerResponse(incoming);
    response.shouldKeepAlive = false;
    response.assignSocket(socket as Socket);
    socket.on("drain", () => response.emit("drain"));
    // What the client has sent meanwhile was for the protocol that it did not get.
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

/** What an end does to the other one. */
function leave(other: Duplex, closed: Duplex, timeoutMs: number): void {
  if (closed.readableEnded) endSoon(other, timeoutMs);
  else cut(other);
}

/** Sends what waits, and then closes; at the deadline all the same. */
function endSoon(socket: Duplex, timeoutMs = LAST_BYTES_TIMEOUT_MS): void {
  socket.end();
  if (!(socket instanceof Socket)) return;
  socket.once("finish", () => socket.destroySoon());
  socket.setTimeout(timeoutMs, () => socket.destroy());
}

/** All that the library tells of here is heard of from the request and the sockets themselves. */
function ignored(): void {}
