/** The delivery of alerts to a real server and a real program. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { ALERT_NAMES } from "../core/alerts.js";
import type { AlertConfig, FleetConfig } from "../core/model.js";
import { EventLog } from "../logs/event-log.js";
import { Alerts } from "./alerts.js";

const common = { on: ALERT_NAMES, repeatAfterMs: 0, maxPerHour: 1_000, quiet: null, timeoutMs: 5_000, retries: 3 };

interface Got {
  headers: IncomingHttpHeaders;
  body: Record<string, unknown>;
}

/** Starts a server that responds as specified. */
async function listening(
  answer: (response: ServerResponse, count: number) => void,
): Promise<{ url: string; got: Got[] }> {
  const got: Got[] = [];
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (part) => {
      text += part;
    });
    request.on("end", () => {
      got.push({ headers: request.headers, body: JSON.parse(text) });
      answer(response, got.length);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.closeAllConnections());
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks/T0/secret`, got };
}

function alerting(...alerts: AlertConfig[]): { alerts: Alerts; log: EventLog; folder: string } {
  const folder = mkdtempSync(join(tmpdir(), "alerts-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const pool = { cwd: folder, env: {}, secrets: {} };
  const config = { name: "shop", pools: [pool], alerts } as unknown as FleetConfig;
  const log = new EventLog();
  const made = new Alerts({
    log,
    config: () => config,
    environment: () => ({ PATH: process.env.PATH ?? "" }),
    runDir: folder,
    retryDelayMs: () => 1,
  });
  made.follow();
  onTestFinished(() => made.close());
  return { alerts: made, log, folder };
}

const webhook = (url: string, more: object = {}): AlertConfig => ({ ...common, webhook: url, headers: {}, ...more });
const settled = (check: () => void) => vi.waitFor(check, { timeout: 60_000, interval: 5 });

it("is delivered at the second attempt, with headers from files, and only for events of a kind", async () => {
  const { url, got } = await listening((response, count) => response.writeHead(count === 1 ? 503 : 204).end());
  const folder = mkdtempSync(join(tmpdir(), "alerts-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "token"), "Bearer abc\n");
  const { alerts, log } = alerting(webhook(url, { headers: { Authorization: { file: join(folder, "token") } } }));
  log.event("info", "web.1", "is ready");
  log.event("warn", "web.1", "exited with code 1: \x1b[2J\u202e", "death");
  await settled(() => expect(alerts.status()[0]).toMatchObject({ delivered: 1, failed: 0, waiting: 0 }));
  expect(got.map(({ headers }) => headers.authorization)).toEqual(["Bearer abc", "Bearer abc"]);
  const { text, kind, subject, fleet, count } = got[1]?.body ?? {};
  expect({ text, kind, subject, fleet, count }).toEqual({
    ...{
      text: "shop: web.1 exited with code 1: \\x1b[2J\\u202e",
      kind: "death",
      subject: "web.1",
      fleet: "shop",
      count: 1,
    },
  });
});

it("that fails is one event without the path of the webhook, and the next alert is tried again", async () => {
  const { url, got } = await listening((response) => response.writeHead(404).end("no such hook"));
  const { alerts, log } = alerting(webhook(url));
  for (const name of ["web.1", "web.2"]) log.event("warn", name, "exited with code 1", "death");
  await settled(() => expect(alerts.status()[0]?.failed).toBe(2));
  expect(got.length).toBe(2);
  const said = log.recentEvents().filter(({ message }) => message.includes("could not be delivered"));
  expect(said.length).toBe(1);
  expect(said[0]?.message).toMatch(
    /^an alert \(death\) could not be delivered to 127\.0\.0\.1:\d+: the server responded 404: no such hook$/,
  );
});

it("with two destinations on one host, the event says which, and cuts the response of the server", async () => {
  const { url } = await listening((response) => response.writeHead(404).end("page ".repeat(40)));
  const { alerts, log } = alerting(webhook(url, { on: [] }), webhook(`${url}/2`));
  log.event("warn", "web.1", "exited with code 1", "death");
  await settled(() => expect(alerts.status()[1]?.failed).toBe(1));
  expect(alerts.status().map(({ to }) => to)).toEqual([0, 1].map((at) => `${new URL(url).host} (alerts[${at}])`));
  const said = log.recentEvents().find(({ message }) => message.includes("could not be delivered"))?.message;
  expect(said).toMatch(/\(alerts\[1\]\): the server responded 404: (page ){15}page…$/);
});

it("waits for a server no longer than its deadline", async () => {
  const { url } = await listening(() => {});
  const { alerts, log } = alerting(webhook(url, { timeoutMs: 30, retries: 1 }));
  log.event("warn", "web.1", "exited with code 1", "death");
  await settled(() => expect(alerts.status()[0]?.last?.problem).toBe("no response within 0.03 s"));
});

it("waits in a bounded queue", async () => {
  const { url } = await listening(() => {});
  const { alerts, log } = alerting(webhook(url));
  for (let index = 0; index < 200; index++) log.event("warn", `web.${index}`, "exited with code 1", "death");
  expect(alerts.status()[0]).toMatchObject({ waiting: 64, suppressed: 136 });
});

it("is passed to a command in its environment, and a test reports what happened", async () => {
  const folder = mkdtempSync(join(tmpdir(), "alerts-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const script = join(folder, "tell");
  writeFileSync(script, `#!/bin/sh\necho "$PACELINE_ALERT|$PACELINE_ALERT_TEXT" > ${folder}/told\n`);
  chmodSync(script, 0o755);
  const { alerts, log } = alerting(
    { ...common, command: [script] },
    { ...common, command: ["/bin/sh", "-c", "echo no such channel; exit 3"] },
  );
  log.event("error", "web", "serves no requests", "pool-down");
  await settled(() =>
    expect(readFileSync(join(folder, "told"), "utf8")).toBe("pool-down|shop: web serves no requests\n"),
  );
  const lines: string[] = [];
  const result = await alerts.test((line) => lines.push(line.replace(/[\d.]+ s/, "N s")));
  expect(lines).toEqual(["tell: delivered after N s", "sh: failed after N s: exited with code 3: no such channel"]);
  expect(result).toEqual({ ok: false, code: "failed", message: "1 of 2 test alerts were not delivered" });
});
