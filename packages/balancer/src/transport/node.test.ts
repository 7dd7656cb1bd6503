/** What is read of a peer that has gone, on Node. */
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { nodeTransport } from "./node.js";
import type { Connection, ConnectionOwner } from "./transport.js";

test("what a peer said before it went is read, also when a write finds it gone first", async () => {
  const directory = mkdtempSync(join(tmpdir(), "paceline-transport-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, "peer.sock");
  const accepted = withResolvers<net.Socket>();
  const server = net.createServer((socket) => accepted.resolve(socket));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(() => void server.close());

  const heard: string[] = [];
  const closed = withResolvers<void>();
  const connected = withResolvers<Connection>();
  const owner: ConnectionOwner = {
    onData: (bytes) => heard.push(bytes.toString()) > 0,
    onDrain: () => undefined,
    onEnd: () => undefined,
    onClose: () => closed.resolve(),
  };
  nodeTransport().connect(path, {
    onConnected(connection) {
      connected.resolve(connection);
      return owner;
    },
    onConnectFailed: (error) => connected.reject(error),
  });
  const connection = await connected.promise;
  const peer = await accepted.promise;

  // All within one turn: nothing is read between the peer's end and the write that fails.
  peer.write("last words");
  peer.destroy();
  connection.write(Buffer.from("too late"));
  await closed.promise;
  expect(heard).toEqual(["last words"]);
});

/** Promise.withResolvers, which Node 20 lacks. */
function withResolvers<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
