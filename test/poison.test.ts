/** Requests that crash their process: a small version of the soak, with short delays between the starts of a process. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { ROOT, RUNTIMES, startFleet } from "./support/fleet.js";
import { FLEET_TAG, run, signal, taggedProcesses } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

const LOOPING = `
export default { fetch(request) {
  if (request.url.includes("/loop/")) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  return new Response("fine");
} };
`;

describe.each(RUNTIMES)("requests that crash, on %s", (runtime) => {
  test("take two processes at most, whatever runs them, and the others answer on and come back", async () => {
    const tag = randomUUID();
    onTestFinished(async () => {
      await waitFor("the soak's processes to be gone", () => {
        const left = taggedProcesses(tag);
        for (const pid of left) signal(pid, "SIGKILL");
        return left.length === 0;
      });
    });
    // The other kinds do not run on one of our runtimes.
    const kinds = runtime === "bun" ? ["fetch", "node", "wsgi", "command"] : ["fetch", "node"];
    const args = ["--short", "--crashes", "6", "--instances", "3", "--runtime", runtime, "--kinds", kinds.join()];
    const soak = await run(process.execPath, [join(ROOT, "bench/soak/poison.mjs"), ...args], {
      env: { ...process.env, [FLEET_TAG]: tag },
      deadlineMs: 170_000,
    });
    for (const kind of kinds) {
      expect(soak.output).toMatch(new RegExp(`^holds {2}${kind}: an event names the request`, "m"));
    }
    expect(soak.output).not.toMatch(/^FAILS/m);
    expect(soak.code).toBe(0);
  });

  // test/hung.test.ts covers hung processes on both runtimes.
  testOnce(runtime)("and so do those that keep it from its event loop for good", async () => {
    const project = await startFleet({ runtime, app: LOOPING, instances: 3, config: { hangAfterMs: 3000 } });
    expect((await get(project.port, "/loop/1")).status).toBe(502);
    const events = await waitFor("the event", async () => {
      const told = await project.events();
      return told.includes("lost processes to GET /loop/*: ") && told;
    });
    expect(events.match(/ hung: .* GET \/loop\/1/g), events).toHaveLength(2);
    expect((await get(project.port)).body).toBe("fine");
  });
});
