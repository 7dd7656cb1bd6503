import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { makeFolder } from "../../test/support.js";
import { callerField, callerOf } from "./caller.js";
import { ControlClient } from "./client.js";

test("a deadline that has passed before the request is sent does not become a negative time, for which runtimes print a warning", async () => {
  const timers = vi.spyOn(globalThis, "setTimeout");
  try {
    const client = new ControlClient({ socketPath: "/nobody/listens/here.sock", timeoutMs: -1 });
    await expect(client.status()).rejects.toThrow();
    // Leftovers of another test file may set timers in the meantime.
    const times = timers.mock.calls.map(([, ms]) => ms ?? 0);
    expect(times).toContain(0);
    expect(times.filter((ms) => ms < 0)).toEqual([]);
  } finally {
    timers.mockRestore();
  }
});

test("a request whose head is too long is rejected with a clear message, and not mistaken for an exit of the supervisor", async () => {
  const socketPath = join(makeFolder(), "s.sock");
  const server = createServer({ maxHeaderSize: 2_048 }, (_request, response) => response.end());
  onTestFinished(() => void server.close());
  await once(server.listen(socketPath), "listening");
  const client = new ControlClient({ socketPath, timeoutMs: 10_000 });
  for (const length of [3_000, 100_000]) {
    const asked = client.document(`/v1/open-requests?name=${"x".repeat(length)}`);
    await expect(asked).rejects.toMatchObject({ code: "invalid", message: expect.stringContaining("is too long") });
  }
});

test("the caller's name has a bounded length, whatever the environment contains", () => {
  const long = "\u{2603}".repeat(17_000);
  const caller = callerOf({ PACELINE_ACTOR: long, SUDO_USER: long, CI_JOB_URL: long, SSH_CONNECTION: long });
  expect(callerField(caller).length).toBeLessThan(10_000);
  expect(callerOf({ PACELINE_ACTOR: "" })).toMatchObject({ actor: null, sudoUser: null, job: null });
});
