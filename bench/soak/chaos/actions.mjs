/** What can happen to a fleet in a history of the chaos soak, and how often. */
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { wait } from "../support.mjs";

const MAX_STOP_MS = 4000;
/** A start takes about this long. */
const MAX_START_MS = 600;
const MAX_INSTANCES = 5;

/** Each entry returns a description of what it did; undefined if it found no target. */
const ACTIONS = [
  { weight: 4, act: ({ kill }) => kill("supervisor") },
  { weight: 3, act: ({ kill }) => kill("instance") },
  { weight: 2, act: ({ kill }) => kill("balancer") },
  { weight: 1, act: ({ stop, random }) => stop("supervisor", random() * MAX_STOP_MS) },
  // Several at once.
  { weight: 2, act: ({ kill }) => ["supervisor", "balancer"].map(kill) },
  { weight: 1, act: ({ kill }) => ["instance", "supervisor", "instance"].map(kill) },
  { weight: 1, act: ({ startWhileStopped, random }) => startWhileStopped(500 + random() * MAX_STOP_MS) },
  { weight: 1, act: ({ killStart, random }) => killStart(random() * MAX_START_MS) },
  { weight: 2, act: ({ replaceBehindWaiting, random }) => replaceBehindWaiting(random() < 0.5) },
  { weight: 1, act: ({ operate, killLater }) => [operate("reload"), killLater()] },
  { weight: 1, act: ({ operate, killLater }) => [operate("restart"), killLater()] },
  { weight: 1, act: ({ stop, random }) => stop("balancer", random() * MAX_STOP_MS) },
  { weight: 2, act: ({ stop, random }) => stop("instance", random() * MAX_STOP_MS) },
  { weight: 1, act: ({ operate }) => operate("reload") },
  { weight: 1, act: ({ operate }) => operate("restart") },
  { weight: 1, act: ({ operate, random }) => operate("scale", 1 + Math.floor(random() * MAX_INSTANCES)) },
  { weight: 1, act: ({ fill, random }) => fill(random() * MAX_STOP_MS) },
];

export async function actAtRandom(fleet) {
  const total = ACTIONS.reduce((sum, { weight }) => sum + weight, 0);
  let left = fleet.random() * total;
  for (const { weight, act } of ACTIONS) {
    left -= weight;
    if (left < 0) return act(fleet);
  }
}

let saidWhyNot = false;

/** Mounts a separate small disk at the run directory, which only root can do. */
export function mountSmallDisk(folder) {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", folder], { stdio: "pipe" });
    return true;
  } catch (error) {
    if (!saidWhyNot) process.stdout.write(`no full disk: ${`${error.stderr}`.trim()}\n`);
    saidWhyNot = true;
    return false;
  }
}

/** Fills a small disk, and frees it after `forMs`. Returns a promise for that. */
export function fillDisk(folder, forMs) {
  const ballast = path.join(folder, "ballast");
  try {
    writeFileSync(ballast, Buffer.alloc(64 << 20));
  } catch {
    // The disk is full, as intended; the data that fitted stays.
  }
  return wait(forMs).then(() => rmSync(ballast, { force: true }));
}
