/** The stream sockets of this process's runtime, and a check whether a server behind one is up and healthy. */
import type { SocketAddress } from "../control/protocol.js";
import type { OnSocket, StreamListener, StreamSocket, StreamSocketOwner } from "./stream-socket.js";
import { connectOnBun, listenOnBun } from "./stream-socket-bun.js";
import { connectOnNode, listenOnNode } from "./stream-socket-node.js";

/** Starts connecting; the owner is notified later, never from within this call. */
export function connectLocally(address: SocketAddress, owner: StreamSocketOwner): StreamSocket {
  return process.versions.bun === undefined ? connectOnNode(address, owner) : connectOnBun(address, owner);
}

/** Listens on a unix socket with mode 0600. @throws the runtime's error if that fails */
export async function listenLocally(path: string, onSocket: OnSocket): Promise<StreamListener> {
  return process.versions.bun === undefined ? await listenOnNode(path, onSocket) : listenOnBun(path, onSocket);
}

export interface Probe {
  address: SocketAddress;
  /** The path to GET; without it a connection is enough. */
  path?: string | undefined;
  host: string;
  timeoutMs: number;
}

/** Longer status lines are invalid. */
const MAX_STATUS_LINE_BYTES = 4096;

/** Resolves with what is wrong with the server; undefined if it is healthy. Never rejects. */
export function probe({ address, path, host, timeoutMs }: Probe): Promise<string | undefined> {
  return new Promise((resolve) => {
    let heard = "";
    let isOpen = false;
    const done = (problem: string | undefined) => {
      clearTimeout(timer);
      connection.destroy();
      resolve(problem);
    };
    const timer = setTimeout(() => {
      done(isOpen ? `GET ${path} got no response within ${timeoutMs} ms` : `nothing accepts on ${show(address)}`);
    }, timeoutMs);
    const connection = connectLocally(address, {
      onOpen() {
        isOpen = true;
        if (path === undefined) return done(undefined);
        connection.write(Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`));
      },
      onData(bytes) {
        heard += bytes.toString("latin1");
        const verdict = judge(heard, path);
        if (verdict !== "more") done(verdict);
      },
      onDrain() {},
      onClose() {
        done(
          isOpen ? `GET ${path}: the connection was closed without a response` : `nothing listens on ${show(address)}`,
        );
      },
    });
  });
}

/** @param heard the beginning of the response received so far */
export function judge(heard: string, path: string | undefined): "more" | string | undefined {
  const end = heard.indexOf("\n");
  if (end < 0 && heard.length < MAX_STATUS_LINE_BYTES) return "more";
  const [, status] = /^HTTP\/1\.[01] (\d{3})(?:[ \r\n]|$)/.exec(heard) ?? [];
  if (status === undefined) return `GET ${path} returned something other than HTTP/1.1`;
  return problemOfStatus(Number(status), path);
}

/** 2xx and 3xx are healthy. */
export function problemOfStatus(status: number, path: string | undefined): string | undefined {
  return status >= 200 && status < 400 ? undefined : `GET ${path} returned ${status}`;
}

/** For people. */
function show(address: SocketAddress): string {
  return typeof address === "string" ? `unix:${address}` : `${address.host}:${address.port}`;
}
