/** `paceline rehearse` names what is wrong with each broken app of fixtures/rehearse, and finds nothing in examples. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, type TestContext, test } from "vitest";
import type { PhaseName } from "../packages/supervisor/dist/rehearse/phases.js";
import { PHASE_NAMES } from "../packages/supervisor/dist/rehearse/phases.js";
import { type Rehearsal, rehearse } from "../packages/supervisor/dist/rehearse/rehearsal.js";
import { PACELINE, ROOT } from "./support/fleet.js";
import { run } from "./support/processes.js";

const APPS = join(ROOT, "test/fixtures/rehearse");

const PROGRAMS = ["ignores-sigterm", "closes-idle"];

/** By the name of the pool, which is that of the app: what is found, and the description of the evidence. */
const BROKEN: Record<string, [kind: string, seen: RegExp]> = {
  "exits-at-once": ["exits-at-once", /exited with code 0 .* on SIGTERM, with .*GET \/exits-at-once\//],
  "ignores-sigterm": ["stays", /did not exit within 300 ms of SIGTERM/],
  "closes-idle": ["idle-connections", /closed a kept connection after \d+ ms/],
  state: ["state", /cookie sid: of 8 requests .* 4 kept it, and 4 got a new one/],
  counts: ["state", /counts for itself: responses in turn have (\d+, ){3}\d+/],
  blocks: ["blocks", /GET \/blocks\/report took .*, and the event loop stood still/],
  crashes: ["crashes", /exited with code 1 .*the database is closed/],
};

/** Deadlines for which nothing has to wait; an instance whose event loop is delayed on a busy machine keeps its requests. */
const SETTINGS = { minReadyMs: 50, backoff: { initialMs: 20 }, balancer: { limits: { stallAfterMs: 60_000 } } };
const NOT_ENDING = { termTimeoutMs: 300 };

/** Returns what `rehearse` finds in these apps, each a pool with its own route. */
async function rehearsed(
  apps: string[],
  how: { rate: number; only: PhaseName[]; paths?: string[] },
  { onTestFinished }: TestContext,
): Promise<Rehearsal> {
  const cwd = mkdtempSync(join(tmpdir(), "pl-"));
  onTestFinished(() => rmSync(cwd, { recursive: true, force: true }));
  const pools = apps.map((name) => {
    const path = join(APPS, `${name}.mjs`);
    const kind = PROGRAMS.includes(name) ? { command: [process.execPath, path] } : { app: path };
    const deadlines = name === "ignores-sigterm" ? NOT_ENDING : {};
    // Strictly in turn: an instance that was slow for a moment is not skipped.
    return [name, { ...kind, ...deadlines, policy: "exact", instances: 2, routes: [`/${name}/`] }] as const;
  });
  writeFileSync(join(cwd, "paceline.config.json"), JSON.stringify({ ...SETTINGS, pools: Object.fromEntries(pools) }));
  const { signal } = new AbortController();
  return rehearse({ start: { cwd }, forMs: 3_000, paths: [], signal, onProgress: () => {}, ...how });
}

// Concurrent, because these tests mostly wait.
describe.concurrent("paceline rehearse", () => {
  test("names what is wrong with each broken app", async (context) => {
    const apps = Object.keys(BROKEN);
    const paths = [...apps.map((name) => `/${name}/`), "/blocks/report"];
    const { ok, findings } = await rehearsed(apps, { rate: 16, only: ["term", "state"], paths }, context);
    expect(ok).toBe(false);
    const found = findings.map(({ kind, what }) => `${what.split(" ", 1)[0]}: ${kind}`).sort();
    expect(found).toEqual(
      Object.entries(BROKEN)
        .map(([pool, [kind]]) => `${pool}: ${kind}`)
        .sort(),
    );
    for (const [pool, [, seen]] of Object.entries(BROKEN))
      expect(findings.find(({ what }) => what.startsWith(`${pool} `))?.evidence.join("\n"), pool).toMatch(seen);
  });

  test("names a leak", async (context) => {
    const { findings } = await rehearsed(["leaks"], { rate: 20, only: [] }, context);
    expect(findings).toMatchObject([{ kind: "leaks", evidence: [GROWTH, GROWTH] }]);
  });

  test("finds nothing in examples, and leaves nothing behind", async ({ onTestFinished }) => {
    const [folder, place] = [mkdtempSync(join(tmpdir(), "pl-")), mkdtempSync(join(tmpdir(), "pl-"))];
    onTestFinished(() => [folder, place].forEach((each) => void rmSync(each, { recursive: true, force: true })));
    const env = { ...process.env, TMPDIR: folder };
    const examples = { "hello/app.ts": PHASE_NAMES, "express/app.js": ["term", "kill"] as PhaseName[] };
    const all = await Promise.all(
      Object.entries(examples).map(async ([name, only], at) => {
        const config = join(place, `${at}.json`);
        const { balancer } = SETTINGS;
        writeFileSync(config, JSON.stringify({ balancer, app: join(ROOT, "examples", name), instances: 2 }));
        const words = [config, "--for", "3", "--only", only.join(), "--json"];
        return { only, ...(await run(PACELINE, ["rehearse", ...words], { cwd: ROOT, env })) };
      }),
    );
    for (const { only, code, stdout, output } of all) {
      const { findings, phases, notes } = JSON.parse(stdout || "{}") as Rehearsal;
      expect(findings, output).toEqual([]);
      const whole = PHASE_NAMES.filter((name) => name === "steady" || only.includes(name));
      expect(phases.map(({ name, lost, holds }) => ({ name, lost, holds }))).toEqual(
        whole.map((name) => ({ name, lost: 0, holds: true })),
      );
      expect(notes.filter((note) => !note.includes("slow"))).toEqual([]);
      expect(code).toBe(0);
    }
    expect(readdirSync(folder)).toEqual([]);
  });
});

const GROWTH = expect.stringMatching(/^leaks\.\d grew from \d+ MB to \d+ MB in .* s: about .* a request$/);
