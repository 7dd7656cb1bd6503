/** What instances write, and what happens to the fleet, can be read by name, and followed. */
import { describe, expect, test } from "vitest";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { RUNTIMES, startFleet } from "./support/fleet.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const LINE = "a line for each request";

describe.each(RUNTIMES)("output on %s", (runtime) => {
  test("logs shows the lines of each instance with its name", async () => {
    const project = await startFleet({ runtime, app: HELLO });
    for (let turn = 0; turn < 2; turn++) expect((await get(project.port, "/chat")).body).toBe(HELLO_BODY);
    await waitFor("a line of both instances", async () => {
      const { stdout } = await project.cli(["logs"]);
      return ["web.1", "web.2"].every((name) => new RegExp(`${name.replace(".", "\\.")}\\b.*${LINE}`).test(stdout));
    });
    const one = await project.cli(["logs", "web.1"]);
    expect(one.stdout).toContain(LINE);
    expect(one.stdout).not.toContain("web.2");
  });

  test("events tells what happened", async () => {
    const project = await startFleet({ runtime, app: HELLO });
    expect((await project.cli(["scale", "web", "3"])).code).toBe(0);
    const events = await project.cli(["events", "--json"]);
    expect(events.code).toBe(0);
    const subjects = events.stdout
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line).subject);
    expect(subjects).toContain("web.3");
  });
});
