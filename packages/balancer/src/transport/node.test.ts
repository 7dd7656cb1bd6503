import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { nodeTransport } from "./node.js";
import { type Connection, type Listener, NO_OWNER } from "./transport.js";

/** The part of a stream's state that its type declarations omit. */
interface WithWritableState {
  _writableState: { bufferedRequestCount: number };
}

describe("a connection to an upstream on Node", () => {
  let directory: string;
  let server: net.Server;
  let peer: net.Socket;
  let connection: Connection;
  let heard: string[];
  /** Nothing more can arrive. */
  let over: Promise<void>;

  beforeEach(async () => {
    directory = mkdtempSync(path.join(tmpdir(), "paceline-transport-"));
    const socketPath = path.join(directory, "peer.sock");
    server = net.createServer();
    await new Promise<void>((resolve) => void server.listen(socketPath, resolve));
    const accepted = new Promise<net.Socket>((resolve) => server.once("connection", resolve));
    heard = [];
    let onOver = (): void => {};
    over = new Promise((resolve) => {
      onOver = resolve;
    });
    connection = await new Promise<Connection>((resolve, reject) => {
      nodeTransport().connect(socketPath, {
        onConnectFailed: reject,
        onConnected(made) {
          resolve(made);
          return {
            onData: (bytes) => heard.push(bytes.toString()) > 0,
            onDrain: () => {},
            onEnd: () => {
              heard.push("the end");
              onOver();
            },
            onClose: () => {
              heard.push("closed");
              onOver();
            },
          };
        },
      });
    });
    peer = await accepted;
    peer.on("error", () => {});
  });

  afterEach(async () => {
    connection.reset();
    peer.destroy();
    await new Promise((resolve) => void server.close(resolve));
    rmSync(directory, { recursive: true, force: true });
  });

  it("joins the pieces written while its peer does not read, and sends them in order", async () => {
    peer.pause();
    const sent: string[] = [];
    let written = 0;
    // The first piece that waits, and many after it.
    for (let n = 0, after = 0; n < 400_000 && after < 50_000; n++) {
      const piece = `${n} `;
      sent.push(piece);
      if (!connection.write(Buffer.from(piece))) after++;
      written += piece.length;
    }
    expect(connection.waitingBytes).toBeGreaterThan(100_000);
    expect(connection.progressBytes).toBe(written - connection.waitingBytes);
    // Node's own queue would hold thousands of pieces.
    const { bufferedRequestCount } = (connection as unknown as { socket: WithWritableState }).socket._writableState;
    expect(bufferedRequestCount).toBeLessThan(8);
    // A large piece is not joined, and does not overtake the others.
    for (const piece of ["x".repeat(50_000), "the last"]) {
      sent.push(piece);
      connection.write(Buffer.from(piece));
    }
    connection.end();
    let received = "";
    peer.setEncoding("latin1").on("data", (text: string) => {
      received += text;
    });
    peer.resume();
    await new Promise((resolve) => void peer.once("end", resolve));
    expect(received === sent.join("")).toBe(true);
  });

  it("reads nothing while it is paused, and continues afterwards", async () => {
    const { owner } = connection;
    const { socket } = connection as unknown as { socket: net.Socket };
    const { onData } = owner;
    const paused = new Promise<void>((resolve) => {
      owner.onData = (bytes) => {
        connection.pause();
        resolve();
        return onData(bytes);
      };
    });
    peer.end("x".repeat(1_000_000));
    await paused;
    const read = socket.bytesRead;
    // Node would read as much again in the next turn.
    for (let n = 0; n < 10; n++) await new Promise((resolve) => setImmediate(resolve));
    expect(socket.bytesRead).toBe(read);
    owner.onData = onData;
    connection.resume();
    await over;
    expect(heard.join("").replace("the end", "").length).toBe(1_000_000);
  });

  it("is read piece by piece while it is firmly paused, and to its end afterwards", async () => {
    connection.pause(true);
    peer.end("x".repeat(10_000));
    const pieces: number[] = [];
    for (const deadline = performance.now() + 20_000; performance.now() < deadline; ) {
      const bytes = connection.readPiece?.(4096) ?? 0;
      if (bytes === 0) break;
      if (bytes > 0) pieces.push(bytes);
      else await new Promise((resolve) => setImmediate(resolve));
    }
    expect(pieces.reduce((sum, bytes) => sum + Math.min(bytes, 4096), 0)).toBe(10_000);
    expect(heard.join("").length).toBe(10_000);
    connection.resume();
    await over;
    expect(heard.at(-1)).toBe("the end");
  });

  it("is read in parts, so that others have their turns", async () => {
    const { owner } = connection;
    const turns: number[] = [];
    let inTurn = 0;
    owner.onData = ({ length }) => {
      if (inTurn === 0)
        setImmediate(() => {
          turns.push(inTurn);
          inTurn = 0;
        });
      inTurn += length;
      return true;
    };
    peer.end("x".repeat(1_000_000));
    await over;
    await new Promise((resolve) => setImmediate(resolve));
    expect(turns.reduce((sum, bytes) => sum + bytes)).toBe(1_000_000);
    // The kernel holds more.
    expect(Math.max(...turns)).toBeLessThanOrEqual(131_072);
  });

  it("is read to its end, even if a write detects first that the peer has gone", async () => {
    peer.write("last words");
    peer.destroy();
    connection.write(Buffer.from("a request"));
    await over;
    expect(heard.join(" ")).toMatch(/^last words (the end|closed)/);
  });

  it("is read to its end, even if the peer has not read everything that was sent to it", async () => {
    peer.pause();
    connection.write(Buffer.from("a request"));
    peer.write("last words");
    peer.destroy();
    await over;
    expect(heard.join(" ")).toMatch(/^last words (the end|closed)/);
  });

  it("is read to its end, even if that is as much as the kernel holds", async () => {
    const words = "x".repeat(150_000);
    peer.write(words);
    const left = peer.writableLength;
    peer.destroy();
    connection.write(Buffer.from("a request"));
    await over;
    expect(left).toBe(0);
    expect(heard.filter((each) => /^x+$/.test(each)).join("")).toBe(words);
  });
});

describe("what the peer of a TCP connection has acknowledged, on Node", () => {
  it("is what its kernel accepted, and more as it reads", async (context) => {
    if (process.platform !== "linux") return context.skip("only Linux tells of it");
    const server = net.createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
    const accepted = new Promise<net.Socket>((resolve) => server.once("connection", resolve));
    const connection = await new Promise<Connection>((resolve, reject) => {
      const { port } = server.address() as net.AddressInfo;
      nodeTransport().connect(
        { host: "127.0.0.1", port },
        {
          onConnectFailed: reject,
          onConnected(made) {
            resolve(made);
            return NO_OWNER;
          },
        },
      );
    });
    const peer = await accepted;
    expect(connection.seesAcknowledgements).toBe(true);
    connection.write(Buffer.alloc(BODY_BYTES));
    // Unknown at first, then the bytes that the peer's kernel accepted; our kernel holds megabytes more.
    const since = performance.now();
    expect(connection.acknowledgedBytes(since, 0)).toBe(-1);
    await expect.poll(() => connection.acknowledgedBytes(since, 0)).toBeGreaterThan(0);
    expect(connection.acknowledgedBytes(since, 0)).toBeLessThan(1_500_000);
    peer.resume();
    await expect.poll(() => connection.acknowledgedBytes(0, 0)).toBe(BODY_BYTES);
    connection.reset();
    peer.destroy();
    await new Promise((resolve) => void server.close(resolve));
  });
});

/** Internals of node:net. */
interface Handle {
  fd: number;
  getsockname(out: { port?: number }): number;
  writeQueueSize: number;
}

describe("a client of a listener on Node", () => {
  it("can leave only part of a megabyte unread in the kernel", async (context) => {
    if (process.platform !== "linux") return context.skip("other kernels have other defaults");
    const { _createServerHandle: bind } = net as unknown as { _createServerHandle(...of: unknown[]): Handle };
    const bound = bind("127.0.0.1", 0, 4, undefined, 0);
    const name: { port?: number } = {};
    bound.getsockname(name);
    let listener: Listener | undefined;
    const accepted = new Promise<Connection>((resolve) => {
      listener = nodeTransport().listen(bound.fd, (connection) => {
        resolve(connection);
        return NO_OWNER;
      });
    });
    const client = net.connect(name.port as number, "127.0.0.1").pause();
    client.on("error", () => {});
    const connection = await accepted;
    connection.write(Buffer.alloc(BODY_BYTES));
    const { _handle } = (connection as unknown as { socket: { _handle: Handle } }).socket;
    expect(BODY_BYTES - _handle.writeQueueSize).toBeLessThan(1_000_000);
    connection.reset();
    client.destroy();
    listener?.close();
  });
});

const BODY_BYTES = 24_000_000;
