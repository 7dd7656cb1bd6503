/** Listening sockets as clients and proxies meet them: addresses, rights, and what a stop does to them. */
import { existsSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { Project, RUNTIMES } from "./support/fleet.js";
import { RawConnection } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

/** Answers with what was sent, once all of it has come. */
const ECHO = 'export default { fetch: async (request) => new Response("got " + (await request.text())) };\n';

const POST = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab";

/** Why a connection fails; "accepted" if it does not. */
function connecting(place: net.TcpNetConnectOpts | net.IpcNetConnectOpts): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(place);
    socket.on("connect", () => {
      socket.destroy();
      resolve("accepted");
    });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

async function refused(place: net.TcpNetConnectOpts | net.IpcNetConnectOpts): Promise<void> {
  let seen = "";
  await waitFor(
    `connections to ${JSON.stringify(place)} to be refused`,
    async () => {
      seen = await connecting(place);
      return /ECONNREFUSED|ENOENT/.test(seen);
    },
    { details: () => seen },
  );
}

describe.each(RUNTIMES)("listening on %s", (runtime) => {
  const once = testOnce(runtime);

  /** A fleet on a port and on a unix socket. */
  async function startOnBoth(config: Record<string, unknown>) {
    const project = await Project.make({ runtime, app: ECHO, config });
    project.writeConfig({ listen: [`127.0.0.1:${project.port}`, "unix:./shop.sock"] });
    const started = await project.startDetached();
    expect(`${started.code} ${started.output}`).toMatch(/^0 /);
    return { project, path: join(project.folder, "shop.sock") };
  }

  test("on stop new clients are refused while what is in flight is finished, and another may take the addresses", async () => {
    const balancer = { processes: 2, limits: { idleDrainMs: 10_000 } };
    const { project, path } = await startOnBoth({ balancer });
    const slow = await RawConnection.open(project.port);
    slow.write(POST);
    const kept = await RawConnection.open(project.port);
    kept.write(`${POST}cd`);
    await kept.until(/got abcd/);
    await project.statusWhere("the slow request", ({ balancers }) => balancers.some(({ inFlight }) => inFlight === 1));

    const stopping = project.cli(["stop"]);
    await refused({ path });
    await refused({ host: "127.0.0.1", port: project.port });
    const others = [net.createServer(), net.createServer()];
    onTestFinished(() => others.forEach((server) => void server.close()));
    for (const [at, place] of [{ path }, { host: "127.0.0.1", port: project.port }].entries()) {
      await new Promise<void>((resolve, reject) => others[at]?.on("error", reject).listen(place, resolve));
    }
    // A kept connection may have had its next request on the way.
    kept.write(`${POST}cd`);
    await kept.until(/got abcd[\s\S]*connection: close[\s\S]*got abcd/i);
    slow.write("cd");
    await slow.until(/connection: close[\s\S]*got abcd/i);
    const stopped = await stopping;
    expect(`${stopped.code} ${stopped.output}`).toMatch(/^0 /);
    await waitFor("its processes to be gone", () => project.processes().length === 0);
    // It is the other's now.
    expect(existsSync(path)).toBe(true);
    expect(await connecting({ path })).toBe("accepted");
  });

  once("on stop a balancer that is stopped by a signal keeps no client waiting", async () => {
    const { project, path } = await startOnBoth({});
    const slow = await RawConnection.open(project.port);
    slow.write(POST);
    const { balancers } = await project.statusWhere("the slow request", (status) =>
      status.balancers.some(({ inFlight }) => inFlight === 1),
    );
    const pid = balancers[0]?.pid as number;
    process.kill(pid, "SIGSTOP");
    const stopping = project.cli(["stop"]);
    await refused({ host: "127.0.0.1", port: project.port });
    await refused({ path });
    process.kill(pid, "SIGCONT");
    slow.write("cd");
    await slow.until(/got abcd/);
    expect((await stopping).code).toBe(0);
    await project.nothingLeft();
  });
});
