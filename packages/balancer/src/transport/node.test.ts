import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { nodeTransport } from "./node.js";
import type { Connection } from "./transport.js";

describe("a connection to an upstream on Node", () => {
  let directory: string;
  let server: net.Server;
  let peer: net.Socket;
  let connection: Connection;
  let heard: string[];
  /** Nothing more can come. */
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

  it("is read to its end, also when a write finds first that the peer has gone", async () => {
    peer.write("last words");
    peer.destroy();
    connection.write(Buffer.from("a request"));
    await over;
    expect(heard.join(" ")).toMatch(/^last words (the end|closed)/);
  });

  it("is read to its end, also when the peer had not read all that it was sent", async () => {
    peer.pause();
    connection.write(Buffer.from("a request"));
    peer.write("last words");
    peer.destroy();
    await over;
    expect(heard.join(" ")).toMatch(/^last words (the end|closed)/);
  });

  it("is read to its end, when it is as much as the kernel holds", async () => {
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
