/**
 * What a proxy in front of the fleet sees of a stop: first the readiness probe and the agent-check, and no closed socket in the meantime.
 */
import { once } from "node:events";
import net from "node:net";
import { expect, test } from "vitest";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { Project } from "./support/fleet.js";
import { freePort } from "./support/ports.js";
import { signal } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

/** Reads as HAProxy does: to the end of the connection. */
function askAgent(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = net.connect({ port, host: "127.0.0.1" });
    socket.setEncoding("utf8").on("data", (part) => {
      text += part;
    });
    socket.setTimeout(30_000, () => socket.destroy(new Error("the agent does not close the connection")));
    socket.on("error", reject).on("end", () => resolve(text));
  });
}

test.each(["bun", "node"] as const)(
  "a fleet on %s is not ready first, and serves until its time is over",
  async (runtime) => {
    const agentPort = await freePort();
    const balancer = { processes: 2, probes: true, preDrainMs: 600_000 };
    const project = await Project.make({ runtime, app: HELLO, instances: 1, config: { balancer } });
    project.startInForeground();
    const { pid } = await project.ready();
    const probe = async (path = "/-/ready") => (await get(project.port, path)).status;
    expect([await probe(), await probe("/-/live")]).toEqual([200, 200]);

    // A reload opens the port; another program has it at first.
    const squatter = net.createServer().listen(agentPort, "127.0.0.1");
    project.writeConfig({ agentCheck: `127.0.0.1:${agentPort}` });
    expect(await project.reload()).toMatchObject({ code: 0 });
    await waitFor("a warning", async () =>
      /agentCheck cannot listen on 127\.0\.0\.1:\d+ \(EADDRINUSE\)/.test(await project.events()),
    );
    await new Promise((resolve) => squatter.close(resolve));
    const agent = () => askAgent(agentPort).catch(() => "");
    expect(await waitFor("the agent", async () => (await agent()) || undefined)).toMatch(/^up ready \d+%\n$/);
    // A front that sends a line first, and then does not read.
    const mute = net.connect({ port: agentPort, host: "127.0.0.1" }).on("error", () => {});
    mute.pause().write("web/box1\n");
    // Idle connections keep nobody out.
    const idle = Array.from({ length: 200 }, () =>
      net.connect({ port: agentPort, host: "127.0.0.1", allowHalfOpen: true }),
    );
    for (const socket of idle) socket.on("error", () => {});
    await Promise.all(idle.map((socket) => once(socket, "connect")));
    for (let n = 0; n < 5; n++) expect(await askAgent(agentPort)).toMatch(/^up ready \d+%\n$/);
    for (const socket of idle) socket.destroy();

    expect(await project.turn("drain", "web.1", { force: true })).toMatchObject({ code: 0 });
    await waitFor(
      "the agent to leave out what is drained",
      async () => (await agent()) === "down #no instance serves\n",
    );
    const shown = await project.cli(["status", "--check"]);
    expect(shown).toMatchObject({ code: 1, output: expect.stringContaining("1/1 ready, 1 drained") });
    expect(shown.output).toContain("problem: web serves no requests: all of its instances are drained");
    expect(await project.turn("undrain", "web.1")).toMatchObject({ code: 0 });
    await waitFor("it to be ready again", async () => (await probe()) === 200);

    await project.scale("web", 0);
    await waitFor("the agent to say that none serves", async () => (await agent()) === "down #no instance serves\n");
    expect(await probe()).toBe(503);
    await project.scale("web", 1);
    await waitFor("it to be ready again", async () => (await probe()) === 200);

    signal(pid, "SIGTERM");
    // Each of the balancers reports that, and continues to accept.
    await waitFor("both balancers to be unready", async () => {
      for (let n = 0; n < 20; n++) if ((await probe()) !== 503) return false;
      return true;
    });
    expect(await agent()).toBe("drain\n");
    for (let n = 0; n < 10; n++) expect((await get(project.port)).body).toBe(HELLO_BODY);
    expect(await probe("/-/live")).toBe(200);
    expect((await project.status()).state).toBe("stopping");
    expect(await project.events()).toContain("reports not ready, and serves for 600 s before it drains");
    mute.destroy();
    // A second SIGINT means immediately. Two that arrive together may count as one.
    await waitFor("the fleet to end at once", () => {
      signal(pid, "SIGINT");
      return project.processes().length === 0;
    });
  },
);

test("the time is that of the last reload", async () => {
  const project = await Project.make({
    ...{ runtime: "bun", app: HELLO, instances: 1 },
    config: { balancer: { preDrainMs: 600_000 } },
  });
  await project.start();
  project.writeConfig({ balancer: { preDrainMs: 100 } });
  expect(await project.reload()).toMatchObject({ code: 0 });
  expect(await project.stop()).toMatchObject({ code: 0 });
  await project.nothingLeft();
});
