/** One fleet as seen by those that do not use the dashboard: explain, watch, alerts, a coding assistant, and a collector. */
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";
import { PACELINE, Project } from "./support/fleet.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const APP = `export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/kill") process.exit(3);
    return new Response(pathname);
  },
};
`;

interface Got {
  path: string;
  body: Record<string, unknown>;
}

/** Starts a server that accepts JSON, as a webhook or a collector does. */
async function taking(): Promise<{ url: string; got: Got[] }> {
  const got: Got[] = [];
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (part) => {
      text += part;
    });
    request.on("end", () => {
      got.push({ path: request.url ?? "", body: JSON.parse(text) });
      response.end("{}");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  onTestFinished(() => void server.closeAllConnections());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, got };
}

test("a death is explained, watched, told to a webhook and to an assistant, and sampled requests go to the collector", async () => {
  const [hook, collector] = await Promise.all([taking(), taking()]);
  const project = await Project.make({
    ...{ runtime: "bun", app: APP, instances: 2 },
    config: {
      alerts: [{ on: ["death"], webhook: `${hook.url}/hooks/secret` }],
      otlp: { endpoint: collector.url, sampleRatio: 1, metricsEveryMs: 1_000 },
      balancer: { accessLog: { format: "json" }, requestId: true },
    },
  });
  await project.start();
  const env = { ...project.startEnvironment() };
  const follow = (args: string[]) => {
    const child = spawn(PACELINE, args, { cwd: project.folder, env, stdio: ["pipe", "pipe", "inherit"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    const lines: string[] = [];
    createInterface(child.stdout).on("line", (line) => lines.push(line));
    return { child, lines };
  };

  const healthy = await project.cli(["explain", "web"]);
  expect(healthy).toMatchObject({
    code: 0,
    output: expect.stringMatching(/^web: Nothing is wrong, as far as can be seen\.\n\nnow\n {2}2\/2 ready/),
  });

  // An assistant reads raw lines, and gets no actions.
  const assistant = follow(["mcp"]);
  const ask = async (id: number, method: string, params: object = {}) => {
    assistant.child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
    const line = await waitFor(`the response to ${method}`, () =>
      assistant.lines.find((each) => JSON.parse(each).id === id),
    );
    return JSON.parse(line).result;
  };
  expect(
    await ask(1, "initialize", {
      protocolVersion: "2025-06-18",
      capabilities: {},
      clientInfo: { name: "test", version: "1" },
    }),
  ).toMatchObject({ protocolVersion: "2025-06-18" });
  const { tools } = await ask(2, "tools/list");
  expect(tools.map(({ name }: { name: string }) => name)).toEqual([
    "explain",
    "status",
    "logs",
    "events",
    "deaths",
    "history",
  ]);

  // A watcher that is connected before anything happens: its first status has been read when it prints nothing for an unknown reason.
  const watcher = follow(["watch", "--json"]);
  await waitFor("two deaths to be watched", async () => {
    await get(project.port, "/kill").catch(() => undefined);
    const restarts = watcher.lines
      .map((line) => JSON.parse(line))
      .filter(({ name, reason }) => name.startsWith("web.") && /exited with code 3/.test(reason ?? ""));
    return restarts.length >= 2 ? restarts : undefined;
  });

  const explained = await waitFor("the deaths to be explained", async () => {
    const { stdout } = await project.cli(["explain", "--json"]);
    const { findings } = JSON.parse(stdout) as { findings: { kind: string; what: string; todo: string }[] };
    return findings.find(({ kind }) => kind === "killer");
  });
  expect(explained.what).toMatch(/^GET \/kill ends the processes that run it: (twice|\d+ times) in the last hour$/);
  expect(explained.todo).toContain("paceline deaths show ");
  await project.statusWhere("it to need attention", ({ attention = [] }) =>
    attention.some(({ kind, severity, death }) => kind === "killer" && severity === "fault" && death !== undefined),
  );

  const told = await waitFor("the webhook to be told", () => hook.got[0]);
  expect(told).toMatchObject({
    path: "/hooks/secret",
    body: { kind: "death", fleet: "test", text: expect.stringMatching(/^test: web\.\d exited with code 3/) },
  });
  const tried = await project.cli(["alerts", "--test"]);
  expect(tried).toMatchObject({
    code: 0,
    output: expect.stringMatching(/127\.0\.0\.1:\d+: delivered after [\d.]+ s\nthe test alert was delivered\n/),
  });
  expect((await project.cli(["alerts"])).output).toMatch(
    /^127\.0\.0\.1:\d+ {2}\d+ delivered, 0 failed, .*\n {2}on death\n {2}last: test, /s,
  );
  const answer = await ask(3, "tools/call", { name: "explain", arguments: { target: "web" } });
  expect(answer.content[0].text).toContain("GET /kill ends the processes that run it");
  expect(await ask(4, "tools/call", { name: "deaths" })).toMatchObject({
    content: [{ text: expect.stringContaining("exit 3") }],
  });

  // A request by its id, from the access log.
  await project.ready();
  await get(project.port, "/cart");
  const line = await waitFor("the access log", async () => {
    const { stdout } = await project.cli(["logs", "balancer.1"]);
    return stdout.split("\n").find((each) => each.includes('"target":"/cart"'));
  });
  const { requestId, traceId } = JSON.parse(line.slice(line.indexOf("{")));
  await waitFor("the request to be explained", async () => {
    const { stdout } = await project.cli(["explain", requestId]);
    return /^\S+: GET \/cart got 200 after \S+ \S+ from web\.\d\.\n/.test(stdout.replaceAll("\n  ", " "))
      ? stdout
      : undefined;
  });

  // Its spans, and metrics.
  const spans = await waitFor("the collector to have its spans", () => {
    const all = collector.got
      .filter(({ path }) => path === "/v1/traces")
      .flatMap(({ body }) =>
        (body.resourceSpans as { scopeSpans: { spans: { traceId: string; name: string }[] }[] }[]).flatMap(
          ({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans),
        ),
      );
    const own = all.filter((span) => span.traceId === traceId);
    return own.length > 0 ? own : undefined;
  });
  expect(spans.map(({ name }) => name)).toEqual(["GET web", "queue", "lane", "handler"]);
  await waitFor("the collector to have metrics", () => collector.got.find(({ path }) => path === "/v1/metrics"));
  expect((await project.cli(["explain", "wbe"])).output).toMatch(
    /no pool or instance named "wbe" \(known: web, balancer, deploy\)/,
  );
});
