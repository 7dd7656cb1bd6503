import { expect, onTestFinished, test, vi } from "vitest";
import type { Status } from "../control/api.js";
import { ServiceManager, takeInvitation } from "./service-manager.js";

const OK = { ok: true, message: "done" } as const;
const FAILED = { ok: false, code: "failed", message: "web: no database\n  at app.js:1" } as const;

function manager(send: (assignments: readonly string[]) => Promise<void>) {
  const problems: string[] = [];
  const states = { name: "web", ready: 1, wanted: 2 };
  const status = () => ({ pools: [states] }) as unknown as Status;
  const onProblem = (message: string) => problems.push(message);
  return {
    it: new ServiceManager({ variables: {}, socket: "/run/x", watchdogMs: undefined, status, onProblem, send }),
    problems,
    states,
  };
}

test("reports each state of a fleet in order; only one of overlapping reloads, and none before the fleet is ready", async () => {
  const said: string[] = [];
  const { it, problems } = manager(async (assignments) => void said.push(assignments.join(" ")));
  it.reloading();
  it.reloaded(OK);
  it.ready();
  it.reloading();
  it.reloading();
  it.reloaded(OK);
  it.reloaded(FAILED);
  it.stopping();
  it.reloading();
  it.reloaded(OK);
  await expect.poll(() => said.at(-1)).toBe("STOPPING=1 STATUS=stopping");
  expect(said.map((line) => line.replace(/=\d{3,}/, "=…"))).toEqual([
    expect.stringMatching(/^READY=1 MAINPID=\S+ STATUS=web 1\/2 ready$/),
    "RELOADING=1 MONOTONIC_USEC=…",
    "READY=1 STATUS=the last reload failed: web: no database; at app.js:1",
    "STOPPING=1 STATUS=stopping",
  ]);
  expect(problems).toEqual([]);
});

test("while a message waits, changes of the status add no further message, and the last one is sent afterwards", async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const said: string[] = [];
  let take = () => {};
  const { it, states } = manager((assignments) => {
    said.push(assignments.at(-1) ?? "");
    return said.length > 1 ? Promise.resolve() : new Promise((resolve) => (take = resolve));
  });
  it.ready();
  for (let n = 0; n < 10; n++) {
    states.ready = n % 3;
    it.changed();
    await vi.advanceTimersByTimeAsync(1000);
  }
  states.ready = 2;
  expect(said).toEqual(["STATUS=web 1/2 ready"]);
  take();
  await vi.advanceTimersByTimeAsync(2000);
  expect(said).toEqual(["STATUS=web 1/2 ready", "STATUS=web 2/2 ready"]);
});

test("a service manager that cannot be reached causes one warning, and the next message is tried", async () => {
  let tries = 0;
  const { it, problems } = manager(async () => {
    tries++;
    throw new Error("gone");
  });
  it.ready();
  it.stopping();
  await expect.poll(() => tries).toBe(2);
  expect(problems).toEqual(["cannot send READY=1 to the service manager: gone"]);
});

test.each([
  [{}, undefined],
  [{ NOTIFY_SOCKET: "" }, undefined],
  [{ NOTIFY_SOCKET: "/run/x" }, { socket: "/run/x", watchdogMs: undefined }],
  [
    { NOTIFY_SOCKET: "@x", WATCHDOG_USEC: "30000000" },
    { socket: "@x", watchdogMs: 30_000 },
  ],
  [
    { NOTIFY_SOCKET: "@x", WATCHDOG_USEC: "5000", WATCHDOG_PID: "7" },
    { socket: "@x", watchdogMs: 5 },
  ],
  [
    { NOTIFY_SOCKET: "@x", WATCHDOG_USEC: "5000", WATCHDOG_PID: "8" },
    { socket: "@x", watchdogMs: undefined },
  ],
  [
    { NOTIFY_SOCKET: "@x", WATCHDOG_USEC: "soon" },
    { socket: "@x", watchdogMs: undefined },
  ],
])("none of the variables %j is inherited", (variables, expected) => {
  const environment: NodeJS.ProcessEnv = { PATH: "/bin", ...variables };
  const found = takeInvitation(environment, 7);
  expect(found === undefined ? undefined : { socket: found.socket, watchdogMs: found.watchdogMs }).toEqual(expected);
  expect(environment).toEqual({ PATH: "/bin" });
});
