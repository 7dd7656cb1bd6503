/** Listening sockets in /proc. */
import { createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { hostOf, isLoopback, listenersOf } from "./listeners.js";

test.each([
  ["0100007F", "127.0.0.1", true],
  ["00000000", "0.0.0.0", false],
  ["0200A8C0", "192.168.0.2", false],
  ["00000000000000000000000001000000", "::1", true],
  ["00000000000000000000000000000000", "::", false],
  ["0000000000000000FFFF00000100007F", "::ffff:127.0.0.1", true],
  ["0000000000000000FFFF00000200A8C0", "::ffff:192.168.0.2", false],
  ["B80D0120000000000000000001000000", "2001:db8::1", false],
])("%s is %s", (hex, host, loopback) => {
  expect(hostOf(hex)).toBe(host);
  expect(isLoopback(host)).toBe(loopback);
});

test.skipIf(process.platform !== "linux")("the addresses that a process listens on", async () => {
  const before = listenersOf([process.pid]);
  const server = createServer();
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  expect(listenersOf([process.pid]).filter(({ port }) => before.every((each) => each.port !== port))).toEqual([
    { host: "127.0.0.1", port },
  ]);
});
