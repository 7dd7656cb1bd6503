/** The examples for timers and defer, started with the command in examples/README.md. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { endExample, startExample } from "./support/example.js";
import { ROOT, startFleet } from "./support/fleet.js";
import { get, RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const BURST = 100;

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // Not written yet.
  }
};

/** Views of two pages, which are saved while the app runs; the last one is saved when it stops. */
async function countsPages(port: number, file: string, prefix = "") {
  const counts = () => {
    const sums: Record<string, number> = {};
    for (const line of read(file).split("\n").filter(Boolean)) {
      const { page, views } = JSON.parse(line) as { page: string; views: number };
      sums[page] = (sums[page] ?? 0) + views;
    }
    return sums;
  };
  for (const page of ["/a", "/b", "/a", "/a", "/b"]) expect((await get(port, prefix + page)).body).toContain(page);
  await waitFor("the counts to be saved", () => counts()["/a"] === 3 && counts()["/b"] === 2);
  await get(port, `${prefix}/a`);
  return () => expect(counts()).toEqual({ "/a": 4, "/b": 2 });
}

/** A burst of votes is saved once. */
async function savesOnce(port: number, file: string, path = "/"): Promise<void> {
  const connections = await Promise.all(Array.from({ length: BURST }, () => RawConnection.open(port)));
  onTestFinished(() => {
    for (const connection of connections) connection.close();
  });
  const savesOf: number[] = [];
  const saved = () => JSON.parse(read(file) || "{}") as { votes?: number; saves?: number };
  // On a busy machine a burst may be interrupted by a pause.
  for (let burst = 1; !savesOf.includes(1) && burst <= 100; burst++) {
    const before = saved().saves ?? 0;
    for (const connection of connections) connection.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const { saves = 0 } = await waitFor("all votes to be saved", () => {
      const now = saved();
      return now.votes === burst * BURST && now;
    });
    savesOf.push(saves - before);
  }
  expect(savesOf).toContain(1);
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "pl-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

describe("by their commands", () => {
  const runtime = "bun";

  test("timers: pages are counted, saved while it runs, and none is missing at the end", async () => {
    const file = join(newFolder(), "counts.jsonl");
    const project = await startExample("timers", runtime, { COUNTS_FILE: file });
    const areAllSaved = await countsPages(project.port, file);
    await endExample(project);
    areAllSaved();
  });

  test("defer: a burst of 100 requests causes one save", async () => {
    const file = join(newFolder(), "votes.json");
    const project = await startExample("defer", runtime, { VOTES_FILE: file });
    await savesOnce(project.port, file);
  });

  test("mail-queue: a worker sends what a page has queued, and a stop lets it finish", async () => {
    const folder = newFolder();
    const project = await startExample("mail-queue", runtime, { MAIL_FOLDER: folder });
    const connection = await RawConnection.open(project.port);
    connection.write("POST /?to=ada HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    await connection.until(/^HTTP\/1\.1 202 /);
    await waitFor("the mail to be sent", async () => (await project.logs("mail")).includes("mail.1 | sent to ada\n"));
    expect(read(join(folder, "sent.log"))).toBe("ada\n");
    expect((await project.status()).pools.map(({ name, cron }) => `${name} ${cron}`)).toContain("report * * * * *");
    await endExample(project);
  });
});

test("timers and defer on Node", async () => {
  const [counts, votes] = [join(newFolder(), "counts.jsonl"), join(newFolder(), "votes.json")];
  const pool = (name: string, env: Record<string, string>) => {
    return { app: join(ROOT, "examples", name, "app.ts"), instances: 1, env, routes: [`/${name}/`], stripPrefix: true };
  };
  const pools = { timers: pool("timers", { COUNTS_FILE: counts }), defer: pool("defer", { VOTES_FILE: votes }) };
  const project = await startFleet({ runtime: "node", app: "", config: { pools } });
  const areAllSaved = await countsPages(project.port, counts, "/timers");
  await savesOnce(project.port, votes, "/defer/");
  expect(await project.stop()).toMatchObject({ code: 0 });
  areAllSaved();
});
