/** A client that sends exact bytes and keeps exact bytes. */
import net from "node:net";
import tls from "node:tls";
import { Changes } from "./changes.js";
import { Http2Text } from "./http2-text.js";

/** The protocol of the clients of a port, unless it is HTTP/1.1 over TCP: HTTP/1.1 over TLS, or HTTP/2 over TLS. */
export const spokenAt = new Map<number, "TLS" | "HTTP/2">();

/** The TCP sockets below the TLS sockets. */
const below = new WeakMap<net.Socket, net.Socket>();

/**
 * Connects, with TLS if the port needs it.
 * @param protocols for ALPN
 */
export function connectTo(port: number, localAddress = "127.0.0.1", protocols?: string[]): net.Socket {
  const socket = net.connect({ port, host: "127.0.0.1", localAddress, allowHalfOpen: true });
  const spoken = spokenAt.get(port);
  if (spoken === undefined) return socket;
  const isText = spoken === "HTTP/2" && protocols === undefined;
  const known = isText ? ["h2"] : protocols;
  const secured = tls.connect({
    ...{ socket, servername: "a.test", rejectUnauthorized: false },
    ...(known !== undefined && { ALPNProtocols: known }),
  });
  const client = isText ? (new Http2Text(secured, true) as unknown as net.Socket) : secured;
  below.set(client, socket);
  return client;
}

/** Closes a connection with a reset. */
export function resetSocket(socket: net.Socket): void {
  (below.get(socket) ?? socket).resetAndDestroy();
}

export type Ending = "open" | "fin" | "reset";

export class RawClient {
  received = "";
  ending: Ending = "open";
  private readonly changes = new Changes();

  /** @param localAddress for example 127.0.0.2, for a client with another address */
  static async connect(port: number, localAddress = "127.0.0.1"): Promise<RawClient> {
    const socket = connectTo(port, localAddress);
    let wasReset = false;
    await new Promise<void>((resolve, reject) => {
      socket.once(socket instanceof tls.TLSSocket ? "secureConnect" : "connect", resolve);
      socket.once("error", (error: NodeJS.ErrnoException) => {
        // It was connected: an immediate reset is detected first.
        wasReset = error.code === "ECONNRESET";
        if (wasReset) resolve();
        else reject(error);
      });
    });
    const client = new RawClient(socket);
    if (wasReset) client.ending = "reset";
    return client;
  }

  private constructor(readonly socket: net.Socket) {
    socket.setNoDelay(true);
    socket.on("data", (bytes) => {
      this.received += bytes.toString("latin1");
      this.changes.tell();
    });
    socket.on("end", () => {
      if (this.ending === "open") this.ending = "fin";
      this.changes.tell();
    });
    socket.on("error", () => {
      this.ending = "reset";
      this.changes.tell();
    });
    socket.on("close", () => this.changes.tell());
  }

  /** Sends these bytes (latin1), and resolves when the kernel has accepted them. */
  send(text: string): Promise<void> {
    return new Promise((resolve) => this.socket.write(Buffer.from(text, "latin1"), () => resolve()));
  }

  async until(holds: (client: RawClient) => boolean, what: string, timeoutMs?: number): Promise<this> {
    const failure = () => `the client never saw: ${what}; it got (${this.ending}): ${this.received.slice(0, 2000)}`;
    await this.changes.until(() => holds(this), failure, timeoutMs);
    return this;
  }

  /** Waits for the end of the connection; returns everything received before it. */
  async ended(): Promise<string> {
    await this.until(({ ending }) => ending !== "open", "the end of the connection");
    return this.received;
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** Sends bytes on a new connection and waits for the end of the connection. */
export async function exchangeRaw(
  port: number,
  text: string,
  localAddress?: string,
): Promise<{ received: string; ending: Ending }> {
  const client = await RawClient.connect(port, localAddress);
  await client.send(text);
  await client.ended();
  client.destroy();
  return { received: client.received, ending: client.ending };
}
