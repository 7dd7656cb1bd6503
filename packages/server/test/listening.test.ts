/** Apps that listen by themselves: what they see of their server, and servers that are not supported. */
import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { freePort } from "../../../test/support/ports.js";
import { ask, eventually, fixture, Program, type RuntimeName, ScriptedSupervisor, Wire } from "./harness.js";

const isOpen = (port: number, host = "127.0.0.1") =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, host, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe(`an app that listens, on ${runtime}`, () => {
    let supervisor: ScriptedSupervisor;
    let program: Program | undefined;
    beforeEach(async () => {
      supervisor = new ScriptedSupervisor();
      await supervisor.listen();
    });
    afterEach(async () => {
      await program?.end();
      program = undefined;
      await supervisor.close();
    });
    const spawn = (app: string, environment: NodeJS.ProcessEnv = {}) => {
      program = supervisor.spawn(runtime, app, { protocol: "lane" }, environment);
      return program;
    };

    it("is served by its server of node:http, which sees the address that it requested", async () => {
      const port = await freePort();
      const { output, exited } = spawn("listening-node.mjs", { ASKED_PORT: String(port) });
      expect(await supervisor.hears("ready")).toMatchObject({ protocol: "http1+control" });
      expect((await ask(supervisor.target, "/")).body).toBe(
        `listened {"address":"127.0.0.1","family":"IPv4","port":${port}}`,
      );
      expect([await isOpen(port), await isOpen(port, "127.0.0.2")]).toEqual([false, false]);
      expect((await ask(supervisor.target, "/throws")).status).toBe(500);
      const wire = new Wire(supervisor.target);
      wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
      expect(await wire.closed()).toMatch(/^HTTP\/1\.1 101 [\s\S]*upgraded$/);
      await expect
        .poll(() => output.filter((line) => line.startsWith("# ")).sort())
        .toEqual(["# again ERR_SERVER_ALREADY_LISTEN", "# called back", "# listening true"]);
      // Its server on another port really listens, and a message says so.
      const heard = supervisor.heard.filter(({ type }) => type === "notice");
      expect(heard.filter(({ askedPort }) => askedPort !== undefined)).toMatchObject([
        { level: "info", message: `the app asked for port ${port}`, askedPort: port },
      ]);
      const notices = heard.filter(({ askedPort }) => askedPort === undefined).map(({ message }) => `${message}`);
      expect(notices).toEqual([
        expect.stringMatching(/^the app also listens on 127\.0\.0\.1:\d+: clients there bypass/),
      ]);
      expect(await isOpen(Number(/:(\d+):/.exec(notices[0] ?? "")?.[1]))).toBe(true);
      program?.kill("SIGTERM");
      expect(await exited).toEqual({ code: 0, signal: null });
      expect(output).toContain("# closed");
    });

    it("keeps classes with which it has replaced the platform's", async () => {
      spawn("own-classes.mjs");
      await supervisor.hears("ready");
      expect((await ask(supervisor.target, "/")).body).toBe("own Response true, Request of the platform true");
    });

    it("is served by its server of node:https, without TLS, and gets a message about that", async () => {
      spawn("listening-https.mjs");
      const { message, level } = await supervisor.hears("notice");
      expect(message).toMatch(/^the app's own TLS is not used; .*end TLS in front/);
      expect(level ?? "warn").toBe("warn");
      await supervisor.hears("ready");
      expect((await ask(supervisor.target, "/")).body).toBe("over TLS alone");
    });

    it("is served by its export, if it has one; it gets a message, and uses no port", async () => {
      const port = await freePort();
      spawn("listens-and-exports.mjs", { ASKED_PORT: String(port) });
      expect(await supervisor.hears("ready")).toMatchObject({ protocol: "lane" });
      expect(await supervisor.hears("notice")).toMatchObject({
        message: expect.stringMatching(new RegExp(`exports an app and also calls listen\\(\\): .* port ${port}$`)),
      });
      expect(await isOpen(port)).toBe(false);
    });

    it.each([
      ["never-listens.mjs", /must export by default .* or call listen\(\) on a server of node:http/],
      [
        "forks-workers.mjs",
        /forks workers with node:cluster, as Paceline does: run the worker's part, and set `instances`/,
      ],
      ["listening-http2.mjs", /listens with node:http2, which Paceline does not support: use node:http/],
    ])("%s cannot be served: it exits immediately with a message that says what to do", async (app, message) => {
      const { exited } = spawn(app);
      expect(await supervisor.hears("fault")).toMatchObject({ message: expect.stringMatching(message) });
      expect(await exited).toEqual({ code: 2, signal: null });
      const alone = new Program(runtime, [fixture(app), "--port", "0"]);
      expect(await alone.exited).toEqual({ code: 2, signal: null });
      expect(alone.output.join("\n")).toMatch(message);
    });
  });
}

describe("an app for Bun.serve", () => {
  let program: Program | undefined;
  afterEach(() => program?.end());
  const start = async (app: string, runtime: RuntimeName = "bun") => {
    program = new Program(runtime, [fixture(app), "--port", "0"]);
    const port = Number(/:(\d+)$/.exec(await program.line(/^listening on /))?.[1]);
    return { program, port, target: { host: "127.0.0.1", port } };
  };
  const talk = async (port: number, path: string, count: number) => {
    const heard: string[] = [];
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`);
    socket.on("message", (data) => heard.push(String(data)));
    socket.on("open", () => socket.send("x"));
    await eventually(`${count} messages`, () => heard.length === count || undefined);
    socket.terminate();
    return heard;
  };

  it("that listens has its routes, WebSockets and page of errors, and sees the address that it requested", async () => {
    const { program, port, target } = await start("listening-bun.mjs");
    await program.line(/^# http:\/\/localhost:3000\/$/);
    for (const [path, body] of [
      ["/static", "static"],
      ["/static", "static"],
      ["/users/7", "user 7 function"],
      ["/other", "/other 127.0.0.1 true"],
      ["/throws", "own page: the handler failed"],
    ] as const) {
      expect((await ask(target, path)).body).toBe(body);
    }
    // Bun's own ETag is set.
    expect((await ask(target, "/static")).headers.etag).toMatch(/^"\w+"$/);
    expect((await ask(target, "/form", { method: "POST", body: "abc" })).body).toBe("posted abc");
    expect(await talk(port, "/ws", 2)).toEqual(["hello ada", "echo x"]);
  });

  it("that is exported is served with its WebSockets; Node reports that it cannot serve it", async () => {
    const { port, target } = await start("exported-bun.mjs");
    expect((await ask(target, "/")).body).toBe("no WebSocket");
    expect(await talk(port, "/", 1)).toEqual(["echo x"]);
    await program?.end();
    const withArray = await start("routes-array.mjs");
    expect((await ask(withArray.target, "/")).body).toBe("by fetch");
    await program?.end();
    const onNode = await start("exported-bun.mjs", "node");
    await onNode.program.line(/exports `websocket` or `routes`, which only Bun serves: set runtime: "bun"/);
  });
});
