/** The metrics of a running fleet: the same figures as its status, how promtool and a real Prometheus read them, and hostile requests. */
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { HELLO } from "./support/apps.js";
import { askControl, sharedFleet } from "./support/fleet.js";
import { freePort } from "./support/ports.js";
import { needs, run } from "./support/processes.js";
import { get, RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

interface Reply {
  status: number;
  type: string;
  text: string;
}

function ask(
  to: { port: number; host: "127.0.0.1" } | { socketPath: string },
  path = "/metrics",
  { method = "GET", ...headers }: Record<string, string> = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const request = http.request({ ...to, path, method, headers, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, type: response.headers["content-type"] ?? "", text }),
      );
    });
    request.on("error", reject).end();
  });
}

const valueIn = (text: string, sample: string) =>
  Number(
    text
      .split("\n")
      .find((line) => line.startsWith(`${sample} `))
      ?.slice(sample.length + 1),
  );

const rssOf = (name: string) => `paceline_process_resident_memory_bytes{pool="web",process="${name}"}`;

const CPU = 'paceline_process_cpu_ratio{pool="web",process="web.2"}';

/**
 * Sends requests with always new Hosts, methods and paths, many on each connection, and some malformed ones. Returns how many were sent.
 */
async function sendHostile(port: number, count: number): Promise<number> {
  const methods = ["GET", "POST", "PROPFIND", "X-Q", "DELETE", "HEAD"];
  const each = 100;
  for (let from = 0; from < count; from += each) {
    const requests = Array.from({ length: each }, (_, at) => {
      const n = from + at;
      const method = n % 7 === 0 ? `M${n}` : methods[n % methods.length];
      const last = at === each - 1 ? "Connection: close\r\n" : "";
      return `${method} /${n}/%22%7d%0a?${n} HTTP/1.1\r\nHost: h${n}.example\r\nX-${n}: "}\r\n${last}\r\n`;
    });
    const connection = await RawConnection.open(port);
    connection.write(requests.join(""));
    await connection.end();
  }
  const malformed = 20;
  for (let n = 0; n < malformed; n++) {
    const connection = await RawConnection.open(port);
    connection.write(`GET /${n}\\"} HTTP/1.1\r\nHost: h${n}.example\r\n\r\n`);
    await connection.until(/ 400 /);
    connection.close();
  }
  return Math.ceil(count / each) * each + malformed;
}

const port = await freePort();
const fleet = sharedFleet({
  ...{ runtime: "bun", app: HELLO, instances: 2 },
  config: { admin: { listen: `127.0.0.1:${port}` } },
});
const admin = { port, host: "127.0.0.1" } as const;
const SENT = 20;

beforeAll(async () => {
  for (let n = 0; n < SENT; n++) await get(fleet().port);
});

test("promtool accepts them, and a real Prometheus gets them", async (context) => {
  needs(context, "promtool");
  needs(context, "prometheus");
  const project = fleet();
  project.write("metrics.txt", (await ask(admin)).text);
  const checked = await run("sh", ["-c", `promtool check metrics < ${join(project.folder, "metrics.txt")}`]);
  expect(checked).toMatchObject({ code: 0 });

  const listen = await freePort();
  const scrape = { job_name: "paceline", static_configs: [{ targets: [`127.0.0.1:${port}`] }] };
  project.write("prometheus.json", JSON.stringify({ global: { scrape_interval: "1s" }, scrape_configs: [scrape] }));
  const data = join(project.folder, "data");
  mkdirSync(data);
  const args = [`--config.file=${join(project.folder, "prometheus.json")}`, `--storage.tsdb.path=${data}`];
  const prometheus = spawn("prometheus", [...args, `--web.listen-address=127.0.0.1:${listen}`], { stdio: "ignore" });
  onTestFinished(() => void prometheus.kill("SIGKILL"));
  const query = encodeURIComponent('paceline_pool_requests_total{pool="web"}');
  await waitFor("Prometheus to have the requests", async () => {
    const to = { port: listen, host: "127.0.0.1" } as const;
    const reply = await ask(to, `/api/v1/query?query=${query}`).catch(() => undefined);
    return reply?.status === 200 && JSON.parse(reply.text).data.result[0]?.value[1] === `${SENT}`;
  });
});

test("the metrics are the figures of the status, and what clients send makes no series of its own", async () => {
  const project = fleet();
  const text = await waitFor("the counts to arrive", async () => {
    const { text } = await ask(admin);
    const isCounted =
      valueIn(text, 'paceline_pool_requests_total{pool="web"}') === 20 &&
      valueIn(text, "paceline_responses_total") === 20;
    // Memory and CPU time are only read while a client asks for them.
    return isCounted && valueIn(text, CPU) >= 0 && valueIn(text, "paceline_cpu_ratio") >= 0 ? text : undefined;
  });
  const { pools, balancers } = await project.status();
  for (const { name, requestsTotal, rssBytes } of pools[0]?.instances ?? []) {
    expect(valueIn(text, `paceline_requests_total{pool="web",process="${name}"}`)).toBe(requestsTotal);
    expect(Math.abs(valueIn(text, rssOf(name)) - (rssBytes ?? 0))).toBeLessThan(32 << 20);
    expect(valueIn(text, `paceline_request_duration_seconds_count{pool="web",process="${name}"}`)).toBe(requestsTotal);
  }
  expect(balancers[0]?.requestsTotal).toBe(20);
  const statuses = (pools[0]?.instances ?? []).map(({ responses }) => responses?.["2xx"] ?? 0);
  expect(statuses.reduce((sum, count) => sum + count)).toBe(20);
  expect(valueIn(text, 'paceline_balancer_requests_total{pool="balancer",process="balancer.1"}')).toBe(20);

  const seriesOf = (metrics: string) => metrics.split("\n").map((line) => line.replace(/^([^#]\S*) .*$/, "$1"));
  // What a process reports for the first time, for example a reading of its memory.
  const ofAProcess = /\{pool="(web|balancer)",process="(web|balancer)\.\d"\}$/;
  const sent = await sendHostile(project.port, 3_000);
  const after = await waitFor("the hostile ones to be counted", async () => {
    const { text } = await ask(admin);
    return valueIn(text, "paceline_responses_total") >= 20 + sent ? text : undefined;
  });
  const known = new Set(seriesOf(text));
  expect(seriesOf(after).filter((series) => !known.has(series) && !ofAProcess.test(series))).toEqual([]);
  const routes = after.split("\n").filter((line) => /^paceline_route_responses_total\{/.test(line));
  expect(routes.reduce((sum, line) => sum + Number(line.replace(/.* /, "")), 0)).toBe(20 + sent);
  expect(
    valueIn(after, 'paceline_route_responses_total{pool="web",route="/",access="reads",status="2xx"}'),
  ).toBeGreaterThan(20);
  expect(
    valueIn(after, 'paceline_route_responses_total{pool="",route="none",access="reads",status="4xx"}'),
  ).toBeGreaterThan(0);

  // Over the control socket, and in the other format.
  const open = await ask({ socketPath: join(project.runDir, "control.sock") }, "/metrics", {
    accept: "application/openmetrics-text",
  });
  expect(open).toMatchObject({ status: 200, type: expect.stringMatching(/^application\/openmetrics-text; version=1/) });
  expect(open.text).toMatch(/# TYPE paceline_requests counter\n[\s\S]*# EOF\n$/);

  // Everything else there needs the token, and is not available to pages of other sites; nothing changes unless the configuration allows
  // it.
  const { url } = JSON.parse(await askControl(join(project.runDir, "control.sock"), "/v1/page"));
  const [, token] = /^http:\/\/127\.0\.0\.1:\d+\/#token=([\w-]{32})$/.exec(url) ?? [];
  const authorization = `Bearer ${token}`;
  const host = `127.0.0.1:${port}`;
  const asked: [path: string, headers: Record<string, string>, status: number][] = [
    ["/metrics", { method: "POST" }, 405],
    ["/metrics", { host: "evil.example" }, 403],
    ["/metrics", { method: "HEAD", host: `localhost:${port}` }, 200],
    ["/", {}, 200],
    ["/", { host: "evil.example" }, 403],
    ["/v1/status", {}, 401],
    ["/v1/status", { authorization: `Bearer ${token?.slice(0, -1)}${token?.endsWith("x") ? "y" : "x"}` }, 401],
    ["/v1/status", { authorization }, 200],
    ["/v1/status", { authorization, host, origin: `http://${host}` }, 200],
    ["/v1/status", { authorization, host, origin: "http://evil.example" }, 403],
    ["/v1/status", { authorization, "sec-fetch-site": "cross-site" }, 403],
    ["/v1/stream", {}, 401],
    ["/v1/logs?follow=1", {}, 401],
    ["/v1/page", { authorization }, 404],
    ["/v1/deploy", { method: "POST", authorization }, 404],
    ["/v1/restart", { method: "POST", authorization }, 403],
    ["/v1/restart", { method: "POST" }, 401],
  ];
  for (const [path, headers, status] of asked)
    expect({ path, headers, status: (await ask(admin, path, headers)).status }).toEqual({ path, headers, status });
  expect(
    (await ask({ socketPath: join(project.runDir, "control.sock") }, "/v1/status", { host: "evil.example:80" })).status,
  ).toBe(403);

  // Nobody blocks it with heads that do not end.
  const heads = [];
  for (let n = 0; n < 100; n++) {
    const head = await RawConnection.open(port);
    head.write("GET /metrics HTTP/1.1\r\nHo");
    heads.push(head);
  }
  expect((await ask(admin)).status).toBe(200);
  for (const head of heads) head.close();

  // A reload moves it.
  const moved = await freePort();
  project.writeConfig({ admin: { listen: `127.0.0.1:${moved}` } });
  expect(await project.reload()).toMatchObject({ code: 0 });
  expect((await ask({ port: moved, host: "127.0.0.1" })).status).toBe(200);
  await expect(ask(admin)).rejects.toThrow("ECONNREFUSED");
});
