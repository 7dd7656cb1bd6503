/** HTTP/2 with the clients that people have: curl, h2load and Chromium, over TLS, through a reload. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { expect, onTestFinished, test } from "vitest";
import { Project, ROOT } from "./support/fleet.js";
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
    return new Response("<!doctype html><title>page</title>", { headers: { "content-type": "text/html" } });
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

test("curl, h2load and Chromium over TLS", async (context) => {
  const secure = await freePort();
  const project = await Project.make({
    ...{ runtime: "bun", app: APP, instances: 2 },
    config: { listen: [`https://127.0.0.1:${secure}`], tls: { internal: true } },
  });
  await project.start();
  const url = `https://127.0.0.1:${secure}`;

  const curl = ["-s", "-k", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
  expect((await run("curl", [...curl, `${url}/`])).stdout).toBe("2 200");
  expect((await run("curl", [...curl, "--http1.1", `${url}/`])).stdout).toBe("1.1 200");

  if (existsSync("/usr/bin/h2load")) {
    const { stdout } = await run("h2load", ["-c4", "-m100", "-n4000", `${url}/`]);
    expect(stdout).toMatch(/4000 succeeded, 0 failed, 0 errored, 0 timeout/);
  }

  const program = ["chromium", "chromium-browser", "google-chrome"].map((name) => `/usr/bin/${name}`).find(existsSync);
  if (program === undefined) return context.skip("chromium is not installed");
  const browser = await chromium.launch({
    executablePath: program,
    args: ["--no-sandbox", "--disable-gpu", "--ignore-certificate-errors"],
  });
  onTestFinished(() => browser.close());
  const page = await browser.newPage({ ignoreHTTPSErrors: true });
  await page.goto(`${url}/`);
  expect(await page.evaluate(VISIT)).toMatchObject({ page: "h2", echo: "echo hello", events: ["0", "1", "2"] });
  expect((await project.cli(["reload"])).code).toBe(0);
  await page.goto(`${url}/`);
  expect(await page.title()).toBe("page");
});
