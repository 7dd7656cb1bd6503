import { expect, test } from "vitest";
import type { InstanceStatus, Status } from "../control/api.js";
import { lateMessage, waitingMessage } from "./prepare-start.js";

const instance = (name: string, state: string, reason?: string) =>
  ({
    name,
    state,
    lastExit: reason === undefined ? null : { at: 0, reason, lastLines: ["Error: no database"] },
  }) as unknown as InstanceStatus;
const statusOf = (...instances: InstanceStatus[]) => ({ pools: [{ instances }] }) as unknown as Status;

test.each([
  [undefined, "not all instances became ready within 5 s"],
  [statusOf(instance("web.1", "ready")), "not all instances became ready within 5 s"],
  [
    statusOf(instance("web.1", "ready"), instance("web.2", "starting")),
    "not all instances became ready within 5 s: web.2 (starting)",
  ],
  [
    statusOf(...[1, 2, 3, 4, 5].map((n) => instance(`web.${n}`, "backoff", "exited with code 1"))),
    "not all instances became ready within 5 s: web.1 (backoff; exited with code 1), web.2 (backoff; exited with code 1), web.3 (backoff; exited with code 1) and 2 more",
  ],
])("a start that is late names what it waits for", (status, expected) => {
  expect(lateMessage(5000, status)).toEqual({
    message: expected,
    lastLines: expected.includes("exited") ? ["Error: no database"] : [],
  });
});

const running = (name: string, state: string, uptimeSeconds: number | null, reason?: string) =>
  Object.assign(instance(name, state, reason), { uptimeSeconds });

test.each([
  [undefined, "waiting for the supervisor (pid 7), which does not respond yet"],
  [statusOf(running("web.1", "ready", 2)), "waiting for the fleet, whose processes are ready"],
  [
    statusOf(
      running("web.1", "ready", 2),
      running("web.2", "starting", 1.9),
      running("web.3", "backoff", null, "exited"),
    ),
    "waiting for web.2 (starting for 2 s), web.3 (backoff; exited)",
  ],
])("a start that takes longer says what it waits for", (status, expected) => {
  expect(waitingMessage(7, status && { ...status, balancers: [] })).toBe(expected);
});
