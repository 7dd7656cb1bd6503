/** Listening sockets for clients and proxies: addresses, permissions, and the effect of a stop. */
import { spawn } from "node:child_process";
import { once as eventOf } from "node:events";
import { chmodSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { PACELINE, Project, RUNTIMES } from "./support/fleet.js";
import { freePort } from "./support/ports.js";
import { needs, pause, run } from "./support/processes.js";
import { get, RawConnection } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

/** Returns the request body after all of it has arrived. */
const ECHO = 'export default { fetch: async (request) => new Response("got " + (await request.text())) };\n';

const POST = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab";

/** Returns why a connection fails; "accepted" if it does not. */
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

/** In a separate network, where listening on all addresses is safe: starts a fleet on each list; connects over IPv4 and IPv6. */
const ASK_EACH = `
import { execFileSync } from "node:child_process";
import http from "node:http";
execFileSync("ip", ["link", "set", "lo", "up"]);
const [paceline, ...lists] = process.argv.slice(2);
const ask = (host) => new Promise((resolve) => {
  const request = http.get({ host, port: 8080, agent: false }, (response) => response.once("data", (text) => resolve(text)));
  request.on("error", (error) => resolve(error.code));
});
for (const list of lists) {
  const addresses = list.split(" ").flatMap((address) => ["--listen", address]);
  execFileSync(paceline, ["start", "--detach", ...addresses], { stdio: "inherit" });
  console.log(\`\${list} => \${await ask("127.0.0.1")} \${await ask("::1")}\`);
  execFileSync(paceline, ["stop"]);
}
`;

describe.each(RUNTIMES)("listening on %s", (runtime) => {
  const once = testOnce(runtime);

  /** A fleet on a port and on a unix socket. */
  async function startOnBoth(config: Record<string, unknown>) {
    const project = await Project.make({ runtime, app: ECHO, config });
    project.writeConfig({ listen: [`127.0.0.1:${project.port}`, "unix:./shop.sock"] });
    await project.start();
    return { project, path: join(project.folder, "shop.sock") };
  }

  test("on stop new clients are refused while what is in flight is finished, and another may take the addresses", async () => {
    const balancer = { processes: 2, limits: { idleDrainMs: 60_000 } };
    const { project, path } = await startOnBoth({ balancer });
    const slow = await RawConnection.open(project.port);
    slow.write(POST);
    const kept = await RawConnection.open(project.port);
    kept.write(`${POST}cd`);
    await kept.until(/got abcd/);
    await project.statusWhere("the slow request", ({ balancers }) => balancers.some(({ inFlight }) => inFlight === 1));

    const stopping = project.stop();
    await refused({ path });
    await refused({ host: "127.0.0.1", port: project.port });
    const others = [net.createServer(), net.createServer()];
    onTestFinished(() => others.forEach((server) => void server.close()));
    for (const [at, place] of [{ path }, { host: "127.0.0.1", port: project.port }].entries()) {
      await new Promise<void>((resolve, reject) => others[at]?.on("error", reject).listen(place, resolve));
    }
    // The next request on a kept connection may have been on its way.
    kept.write(`${POST}cd`);
    await kept.until(/got abcd[\s\S]*connection: close[\s\S]*got abcd/i);
    slow.write("cd");
    await slow.until(/connection: close[\s\S]*got abcd/i);
    const stopped = await stopping;
    expect(`${stopped.code} ${stopped.output}`).toMatch(/^0 /);
    await waitFor("its processes to be gone", () => project.processes().length === 0);
    // It belongs to the other process now.
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
    await pause(pid);
    const stopping = project.stop();
    await refused({ host: "127.0.0.1", port: project.port });
    await refused({ path });
    process.kill(pid, "SIGCONT");
    slow.write("cd");
    await slow.until(/got abcd/);
    expect((await stopping).code).toBe(0);
    await project.nothingLeft();
  });

  test("[::] takes both families alone, and IPv6 beside the IPv4 wildcard of its port", async (context) => {
    needs(context, "unshare");
    needs(context, "ip");
    const namespace = ["--user", "--map-root-user", "--net"];
    const allowed = await run("unshare", [...namespace, "ip", "link", "set", "lo", "up"]);
    if (allowed.code !== 0) context.skip(`no network namespace can be made: ${allowed.output.trim()}`);
    const app = "export default { fetch: (request, info) => new Response(info.clientAddress) };\n";
    const project = await Project.make({ runtime, app, instances: 1, files: { "ask.mjs": ASK_EACH } });
    const lists = ["[::]:8080 :8080", "[::]:8080"];
    const asked = await run("unshare", [...namespace, process.execPath, "ask.mjs", PACELINE, ...lists], {
      cwd: project.folder,
      env: project.startEnvironment(),
    });
    for (const list of lists) expect(asked.output).toContain(`${list} => 127.0.0.1 ::1`);
  });

  once("nginx as another user reaches a socket whose group it is in, and no other", async (context) => {
    needs(context, "nginx");
    const www = await run("id", ["-g", "www-data"]);
    if (www.code !== 0 || process.getuid?.() !== 0) context.skip("needs root and a user www-data");
    const project = await Project.make({ runtime, app: HELLO, instances: 1 });
    const folder = mkdtempSync(join(tmpdir(), "pl-nginx-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    chmodSync(folder, 0o755);
    const port = await freePort();
    project.writeConfig({ listen: [`unix:${folder}/shop.sock?mode=660&group=www-data`, `unix:${folder}/own.sock`] });
    expect((await project.startDetached()).output).not.toContain("rror");
    const { listen } = await project.status();
    expect(listen).toEqual([`unix:${folder}/shop.sock`, `unix:${folder}/own.sock`]);
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    project.write(
      "nginx.conf",
      `daemon off; user www-data; pid ${folder}/nginx.pid; error_log stderr crit; events {}
      http { access_log off; ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join(" ")}
        server { listen 127.0.0.1:${port};
          location / { proxy_pass http://unix:${folder}/shop.sock:/; }
          location /own/ { proxy_pass http://unix:${folder}/own.sock:/; } } }`,
    );
    // Where `needs` looks, too.
    const env = { PATH: `${process.env.PATH}:/usr/sbin` };
    const nginx = spawn("nginx", ["-c", join(project.folder, "nginx.conf")], { stdio: "ignore", env });
    onTestFinished(async () => {
      nginx.kill("SIGTERM");
      await eventOf(nginx, "exit");
    });
    const response = await waitFor("nginx to listen", () => get(port).catch(() => undefined));
    expect(`${response.status} ${response.body}`).toBe(`200 ${HELLO_BODY}`);
    expect((await get(port, "/own/")).status).toBe(502);
  });
});
