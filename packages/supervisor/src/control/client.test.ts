import { expect, test, vi } from "vitest";
import { ControlClient } from "./client.js";

test("a deadline that has passed before the request is sent is no negative time, of which runtimes warn", async () => {
  const timers = vi.spyOn(globalThis, "setTimeout");
  try {
    const client = new ControlClient({ socketPath: "/nobody/listens/here.sock", timeoutMs: -1 });
    await expect(client.status()).rejects.toThrow();
    // Another file's leftovers may set timers meanwhile.
    const times = timers.mock.calls.map(([, ms]) => ms ?? 0);
    expect(times).toContain(0);
    expect(times.filter((ms) => ms < 0)).toEqual([]);
  } finally {
    timers.mockRestore();
  }
});
