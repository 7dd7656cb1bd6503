/** Listening sockets in /proc. */
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { hasNoTcp6, hostOf, isLoopback, listenersOf } from "./listeners.js";

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

test.skipIf(process.platform !== "linux").for(["127.0.0.1", "::1"])(
  "a process that listens on %s",
  async (host, context) => {
    const server = createServer();
    onTestFinished(() => void server.close());
    const isUp = await new Promise<boolean>((resolve) => {
      server.on("error", () => resolve(false)).listen(0, host, () => resolve(true));
    });
    if (!isUp) return context.skip("this machine has no such address");
    const { port } = server.address() as { port: number };
    expect(listenersOf([process.pid]).filter((each) => each.port === port)).toEqual([{ host, port }]);
  },
);

test.skipIf(process.platform !== "linux")("a process that has only unix sockets needs no table of TCP", () => {
  // The pipes of a child are such sockets.
  const child = spawn("sleep", ["60"]);
  onTestFinished(() => void child.kill("SIGKILL"));
  const tables = () => {
    throw new Error("it was read");
  };
  expect(listenersOf([child.pid as number], tables)).toEqual([]);
  expect(() => listenersOf([child.pid as number], tables, () => new Set())).toThrow("it was read");
});

test.each([
  ["TCP6: inuse 0\nUDP6: inuse 3\n", true],
  ["TCP6: inuse 10\nUDP6: inuse 0\n", false],
  ["", false],
])("%j has no IPv6 sockets: %s", (counts, isNone) => {
  expect(hasNoTcp6(counts)).toBe(isNone);
});
