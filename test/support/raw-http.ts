/** A client that sends exact bytes and keeps every received byte. */
import net from "node:net";
import { waitFor } from "./wait.js";

export class RawConnection {
  /** Everything received so far, one character per byte. */
  received = "";
  /** How the server ended the connection, if it did. */
  ended: "no" | "closed" | "reset" = "no";
  readonly #socket: net.Socket;
  /** Each is called after bytes were received or the connection ended. */
  readonly #watchers = new Set<() => void>();

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    const tell = () => {
      for (const watcher of this.#watchers) watcher();
    };
    socket.setEncoding("latin1");
    socket.on("data", (text) => {
      this.received += text;
      tell();
    });
    socket.on("end", () => {
      if (this.ended === "no") this.ended = "closed";
      tell();
    });
    socket.on("error", () => {
      this.ended = "reset";
      tell();
    });
  }

  /** Connects to a port of 127.0.0.1; rejects if the connection is refused. */
  static open(port: number): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ host: "127.0.0.1", port });
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new RawConnection(socket));
      });
    });
  }

  write(text: string): void {
    this.#socket.write(Buffer.from(text, "latin1"));
  }

  /** Resolves with everything received when it matches `pattern`. */
  async until(pattern: RegExp, deadlineMs?: number): Promise<string> {
    const details = () => `${this.ended} after ${JSON.stringify(this.received.slice(-300))}`;
    await this.#holds(`${pattern} on a connection`, () => pattern.test(this.received), deadlineMs, details);
    return this.received;
  }

  /** Resolves when the server has closed or reset the connection. */
  async end(deadlineMs?: number): Promise<"closed" | "reset"> {
    const details = () => JSON.stringify(this.received.slice(-300));
    await this.#holds("the server to close", () => this.ended !== "no", deadlineMs, details);
    return this.ended as "closed" | "reset";
  }

  /** Resolves as soon as `condition` holds. */
  #holds(what: string, condition: () => boolean, deadlineMs = 60_000, details: () => string): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error?: Error) => {
        clearTimeout(timer);
        this.#watchers.delete(check);
        if (error === undefined) resolve();
        else reject(error);
      };
      const check = () => condition() && settle();
      const late = () => settle(new Error(`waited ${deadlineMs} ms in vain for ${what}; ${details()}`));
      const timer = setTimeout(late, deadlineMs);
      this.#watchers.add(check);
      check();
    });
  }

  /** Stops reading. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.destroy();
  }
}

export interface Received {
  status: number;
  headers: Map<string, string>;
  body: string;
}

/** Sends one GET on a new connection; rejects if the response is incomplete. */
export async function get(port: number, path = "/", deadlineMs?: number): Promise<Received> {
  const connection = await RawConnection.open(port);
  connection.write(`GET ${path} HTTP/1.0\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
  const ended = await connection.end(deadlineMs);
  connection.close();
  const [head = "", ...rest] = connection.received.split("\r\n\r\n");
  const body = rest.join("\r\n\r\n");
  const [statusLine = "", ...fields] = head.split("\r\n");
  const headers = new Map(
    fields.map((field) => {
      const colon = field.indexOf(":");
      return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()];
    }),
  );
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(statusLine)?.[1]);
  const length = headers.get("content-length");
  if (!status || ended === "reset" || (length !== undefined && Number(length) !== body.length)) {
    throw new Error(`no whole answer for GET ${path}: ${ended} after ${JSON.stringify(connection.received)}`);
  }
  return { status, headers, body };
}

/**
 * Sends GET requests, one after another, until `count` different bodies were received; returns them sorted. Only `policy: "exact"` is
 * strictly in turn: otherwise an instance that was slow for a moment is skipped.
 */
export async function differentBodies(port: number, count: number, path = "/"): Promise<string[]> {
  const bodies = new Set<string>();
  const ask = async () => bodies.add((await get(port, path)).body).size >= count;
  await waitFor(`${count} different responses to ${path}`, ask, { details: () => [...bodies].join() });
  return [...bodies].sort();
}
