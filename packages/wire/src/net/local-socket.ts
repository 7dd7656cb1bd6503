/** The stream sockets of this process's runtime, and a check of whether a server on such a socket is running and healthy. */
import type { SocketAddress } from "../control/protocol.js";
import type { ProxyVersion } from "../control/snapshot.js";
import type { OnSocket, StreamListener, StreamSocket, StreamSocketOwner } from "./stream-socket.js";
import { connectOnBun, listenOnBun } from "./stream-socket-bun.js";
import { connectOnNode, listenOnNode } from "./stream-socket-node.js";

/** Starts to connect. The owner is notified later, never from within this call. */
export function connectLocally(address: SocketAddress, owner: StreamSocketOwner): StreamSocket {
  return process.versions.bun === undefined ? connectOnNode(address, owner) : connectOnBun(address, owner);
}

/**
 * Listens on a unix socket with mode 0600.
 * @throws the runtime's error if that fails
 */
export async function listenLocally(path: string, onSocket: OnSocket): Promise<StreamListener> {
  return process.versions.bun === undefined ? await listenOnNode(path, onSocket) : listenOnBun(path, onSocket);
}

interface Probe {
  address: SocketAddress;
  /** The path for the GET. Without a path, a connection is enough. */
  path?: string | undefined;
  host: string;
  timeoutMs: number;
  /** The version of the PROXY header at the start of the connection, which names no other client. */
  sendProxy?: ProxyVersion | undefined;
  /** Any status below 500 is good, and the body is read. */
  isWarmUp?: boolean;
}

/** How much of a body is read. */
export const MAX_WARM_UP_BYTES = 1 << 20;
/** If the server does not close the connection after a body, the body counts as complete after this time without data, in milliseconds. */
const QUIET_BODY_MS = 250;

/** Version 1 has no LOCAL, and some programs refuse an UNKNOWN client. So the client is one on this machine. */
const LOCAL_PROXY_HEADERS: Record<ProxyVersion, Buffer> = {
  v1: Buffer.from("PROXY TCP4 127.0.0.1 127.0.0.1 1 80\r\n"),
  v2: Buffer.from("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
};

/** Longer status lines are invalid. */
const MAX_STATUS_LINE_BYTES = 4096;

/** Resolves with the problem of the server; undefined if it is healthy. Never rejects. */
export function probe({
  address,
  path,
  host,
  timeoutMs,
  sendProxy,
  isWarmUp = false,
}: Probe): Promise<string | undefined> {
  return new Promise((resolve) => {
    let heard = "";
    let isOpen = false;
    let bodyBytes = 0;
    let quiet: NodeJS.Timeout | undefined;
    const done = (problem: string | undefined) => {
      clearTimeout(timer);
      clearTimeout(quiet);
      connection.destroy();
      resolve(problem);
    };
    const timer = setTimeout(() => {
      done(isOpen ? `GET ${path} got no response within ${timeoutMs} ms` : `nothing accepts on ${show(address)}`);
    }, timeoutMs);
    const connection = connectLocally(address, {
      onOpen() {
        isOpen = true;
        if (sendProxy !== undefined) connection.write(LOCAL_PROXY_HEADERS[sendProxy]);
        if (path === undefined) return done(undefined);
        connection.write(Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`));
      },
      onData(bytes) {
        if (quiet === undefined) {
          heard += bytes.toString("latin1");
          const verdict = problemOfResponse(heard, path, isWarmUp);
          if (verdict === "more") return;
          if (verdict !== undefined || !isWarmUp) return done(verdict);
        }
        bodyBytes += bytes.length;
        if (bodyBytes > MAX_WARM_UP_BYTES) return done(undefined);
        clearTimeout(quiet);
        quiet = setTimeout(() => done(undefined), QUIET_BODY_MS);
      },
      onDrain() {},
      onClose() {
        if (quiet !== undefined) return done(undefined);
        done(
          isOpen ? `GET ${path}: the connection was closed without a response` : `nothing listens on ${show(address)}`,
        );
      },
    });
  });
}

/** @param heard the beginning of the response, as received so far */
export function problemOfResponse(
  heard: string,
  path: string | undefined,
  isWarmUp = false,
): "more" | string | undefined {
  const end = heard.indexOf("\n");
  if (end < 0 && heard.length < MAX_STATUS_LINE_BYTES) return "more";
  const [, status] = /^HTTP\/1\.[01] (\d{3})(?:[ \r\n]|$)/.exec(heard) ?? [];
  if (status === undefined) return `GET ${path} returned something other than HTTP/1.1`;
  return problemOfStatus(Number(status), path, isWarmUp);
}

/** 2xx and 3xx are healthy. For a warm-up, 4xx is good, too. */
export function problemOfStatus(status: number, path: string | undefined, isWarmUp = false): string | undefined {
  return status >= 200 && status < (isWarmUp ? 500 : 400) ? undefined : `GET ${path} returned ${status}`;
}

/** Formats an address for display. */
function show(address: SocketAddress): string {
  return typeof address === "string" ? `unix:${address}` : `${address.host}:${address.port}`;
}
