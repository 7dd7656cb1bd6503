/** One request and its response on a raw socket, with a deadline: on a new connection, or on one that an earlier exchange has kept open. */
import { connect, type NetConnectOpts, type Socket } from "node:net";
import { ResponseReader } from "./response-reader.js";

/** A request without a body. */
export interface Ask {
  method: string;
  host: string;
  path: string;
  cookie?: string | undefined;
}

/**
 * How a request was lost: no connection was made, no byte of a response arrived, only a part of a response arrived, it was not HTTP, or it
 * did not arrive in time.
 */
export type Loss = "refused" | "reset" | "cut" | "malformed" | "timeout";

export interface Outcome {
  ask: Ask;
  /** The status of a complete response; 0 if there was none. */
  status: number;
  /** Null for a complete response. */
  loss: Loss | null;
  /** A value of performance.now(). */
  startedAt: number;
  durationMs: number;
  cookies: readonly string[];
  body: string;
  /** Whether the server has announced when it closes the connection. */
  announcesClose: boolean;
  /** The connection, for use by a further request; null if it is closed. */
  socket: Socket | null;
}

interface ExchangeOptions {
  address: NetConnectOpts;
  deadlineMs: number;
  /** An idle connection to the same server. */
  kept?: Socket | undefined;
  /** Whether the connection is to be closed after the response. */
  closes: boolean;
  /** Called when the request is written. */
  onSent?: (() => void) | undefined;
}

/** Never rejects. If the server has just closed a kept connection, the request is sent over a new one, as browsers do. */
export async function exchange(ask: Ask, options: ExchangeOptions): Promise<Outcome> {
  const outcome = await attempt(ask, options);
  if (options.kept === undefined || outcome.loss !== "reset") return outcome;
  const again = await attempt(ask, { ...options, kept: undefined });
  return { ...again, startedAt: outcome.startedAt, durationMs: again.startedAt + again.durationMs - outcome.startedAt };
}

function attempt(ask: Ask, { address, deadlineMs, kept, closes, onSent }: ExchangeOptions): Promise<Outcome> {
  return new Promise((resolve) => {
    const startedAt = performance.now();
    const reader = new ResponseReader(ask.method);
    const isNew = kept === undefined || kept.destroyed;
    const socket = isNew ? connect({ ...address, noDelay: true } as NetConnectOpts) : kept;
    let isConnected = !isNew;
    const end = (loss: Loss | null) => {
      clearTimeout(timer);
      socket.off("data", hear).off("end", ended).off("close", closed).off("connect", send);
      const isKept = loss === null && reader.keepsAlive && !closes;
      if (!isKept) socket.destroy();
      resolve({
        ...{
          ask,
          startedAt,
          durationMs: performance.now() - startedAt,
          loss,
          status: loss === null ? reader.status : 0,
        },
        ...{ cookies: reader.cookies, body: reader.body, announcesClose: reader.announcesClose },
        socket: isKept ? socket : null,
      });
    };
    const send = () => {
      isConnected = true;
      socket.write(requestText(ask, closes), () => onSent?.());
    };
    const hear = (bytes: Buffer) => {
      const progress = reader.push(bytes);
      if (progress !== "more") end(progress === "done" ? null : "malformed");
    };
    const ended = () => {
      if (reader.status === 0) end(reader.hasHeard ? "cut" : "reset");
      else end(reader.end() === "done" ? null : "cut");
    };
    const closed = () => end(isConnected ? (reader.hasHeard ? "cut" : "reset") : "refused");
    const timer = setTimeout(() => end("timeout"), deadlineMs);
    socket.on("data", hear).on("end", ended).on("close", closed);
    if (isNew) {
      // "close" follows each error, even on an idle connection.
      socket.on("error", () => {});
      socket.on("connect", send);
    } else send();
  });
}

function requestText({ method, path, host, cookie }: Ask, closes: boolean): string {
  const fields = [`Host: ${host}`, "User-Agent: paceline-rehearse", "Accept: */*"];
  if (cookie !== undefined) fields.push(`Cookie: ${cookie}`);
  if (closes) fields.push("Connection: close");
  return `${method} ${path} HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n`;
}

/** Returns a name such as `GET /cart`. */
export function nameOf({ method, path }: Pick<Ask, "method" | "path">): string {
  return `${method} ${path}`;
}
