/** HTTP/2 with commonly used clients: curl, h2load and Chromium, over TLS, through a reload. They trust the internal authority. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { expect, onTestFinished, type TestContext, test } from "vitest";
import { askControl, Project, ROOT } from "./support/fleet.js";
import { freePort } from "./support/ports.js";

const run = promisify(execFile);

const APP = `import { acceptWebSocket } from "${ROOT}packages/server/dist/api/websocket/index.js";
export default {
  fetch(request, info) {
    const { pathname } = new URL(request.url);
    if (pathname === "/socket") {
      const socket = acceptWebSocket(request, info);
      if (socket === undefined) return new Response("no", { status: 426 });
      void (async () => { for await (const message of socket) await socket.send("echo " + message); })();
      return socket.response;
    }
    if (pathname === "/events") {
      let count = 0;
      const body = new ReadableStream({
        async pull(controller) {
          await new Promise((resolve) => setTimeout(resolve, 20));
          controller.enqueue("data: " + count++ + "\\n\\n");
        },
      });
      return new Response(body, { headers: { "content-type": "text/event-stream" } });
    }
    return new Response("hello");
  },
};
`;

/** In the browser: the protocol of the page, what a WebSocket echoes, and the first events of a stream. */
const VISIT = `(async () => {
  const socket = new WebSocket("wss://" + location.host + "/socket");
  const echo = await new Promise((resolve, reject) => {
    socket.onopen = () => socket.send("hello");
    socket.onmessage = ({ data }) => resolve(data);
    socket.onerror = () => reject(new Error("the WebSocket failed"));
  });
  const source = new EventSource("/events");
  const events = [];
  await new Promise((resolve) => {
    source.onmessage = ({ data }) => {
      if (events.push(data) === 3) resolve();
    };
  });
  source.close();
  socket.close();
  return { page: performance.getEntriesByType("navigation")[0].nextHopProtocol, echo, events };
})()`;

/** Returns a home directory in which Chromium trusts an authority in addition to those of the system. */
async function homeThatTrusts(root: string, context: TestContext): Promise<string> {
  if (!existsSync("/usr/bin/certutil")) return context.skip("certutil (libnss3-tools) is not installed");
  const home = mkdtempSync(join(tmpdir(), "pl-home-"));
  onTestFinished(() => rmSync(home, { recursive: true, force: true }));
  const folder = join(home, ".pki/nssdb");
  mkdirSync(folder, { recursive: true });
  const database = ["-d", `sql:${folder}`];
  await run("certutil", [...database, "-N", "--empty-password"]);
  await run("certutil", [...database, "-A", "-t", "C,,", "-n", "internal", "-i", root]);
  return home;
}

test("curl, h2load and Chromium over TLS, with the stats page, a WebSocket and an event stream", async (context) => {
  const [secure, admin] = [await freePort(), await freePort()];
  const project = await Project.make({
    ...{ runtime: "bun", app: APP },
    config: {
      ...{ listen: [`https://localhost:${secure}`], tls: { internal: true }, admin: { listen: `127.0.0.1:${admin}` } },
      pools: {
        web: { app: "./app.js", instances: 2, routes: ["/app", "/socket", "/events"] },
        // Its streams last long: a reload need not wait for them.
        page: { proxy: `http://127.0.0.1:${admin}`, instances: 1, routes: ["/"], drainTimeoutMs: 1000 },
      },
    },
  });
  await project.start();
  const url = `https://localhost:${secure}`;
  const root = join(project.runDir, "tls/root.pem");

  const curl = ["-s", "--cacert", root, "-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
  expect((await run("curl", [...curl, `${url}/app`])).stdout).toBe("2 200");
  expect((await run("curl", [...curl, "--http1.1", `${url}/app`])).stdout).toBe("1.1 200");

  if (existsSync("/usr/bin/h2load")) {
    const { stdout } = await run("h2load", ["-c4", "-m100", "-n4000", `${url}/app`]);
    expect(stdout).toMatch(/4000 succeeded, 0 failed, 0 errored, 0 timeout/);
  }

  const program = ["chromium", "chromium-browser", "google-chrome"].map((name) => `/usr/bin/${name}`).find(existsSync);
  if (program === undefined) return context.skip("chromium is not installed");
  const browser = await chromium.launch({
    executablePath: program,
    timeout: 60_000,
    args: ["--no-sandbox", "--disable-gpu"],
    env: { ...(process.env as Record<string, string>), HOME: await homeThatTrusts(root, context) },
  });
  onTestFinished(() => browser.close());
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  const token = new URL(JSON.parse(await askControl(join(project.runDir, "control.sock"), "/v1/page")).url).hash;
  const seesFleet = () => page.getByText("web.2", { exact: true }).first().waitFor({ timeout: 60_000 });
  await page.goto(`${url}/${token}`);
  await seesFleet();
  expect(await page.evaluate(VISIT)).toMatchObject({ page: "h2", echo: "echo hello", events: ["0", "1", "2"] });
  expect((await project.reload()).code).toBe(0);
  await page.reload();
  await seesFleet();
});
