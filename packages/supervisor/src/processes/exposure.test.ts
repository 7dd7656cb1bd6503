/** Instances are checked together and reported once. */
import { createServer } from "node:net";
import { listeningSockets } from "@paceline/wire/proc";
import { expect, onTestFinished, test, vi } from "vitest";
import type { EventLog } from "../logs/event-log.js";
import { Exposure } from "./exposure.js";
import type { LiveProcess } from "./live-process.js";

const childOf = (name: string) =>
  ({ kind: "instance", name, pid: process.pid, commandTag: null, exit: null, exposed: [] }) as unknown as LiveProcess;

test.skipIf(process.platform !== "linux")("a reading of the kernel's tables serves all that are due", async () => {
  const server = createServer();
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
  const { port } = server.address() as { port: number };
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const events: string[] = [];
  const log = { event: (_: string, name: string, text: string) => events.push(`${name} ${text}`) };
  let readings = 0;
  const exposure = new Exposure(log as unknown as EventLog, () => {
    readings++;
    return [...listeningSockets()];
  });
  for (const name of ["web.1", "web.2", "web.3"]) exposure.watch(childOf(name));
  const ended = Object.assign(childOf("web.4"), { exit: { code: 0, signal: null } });
  exposure.watch(ended);
  vi.advanceTimersByTime(6_000);
  expect(readings).toBe(3);
  expect(events).toHaveLength(3);
  for (const event of events) expect(event).toMatch(new RegExp(`^web\\.[123] listens on .*0\\.0\\.0\\.0:${port}\\b`));
});
