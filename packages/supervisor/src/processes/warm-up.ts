/** Warms a new instance up before it takes traffic: asks for its `warmup` paths, round after round, until their time settles. */

import { hasSettled } from "../core/checks.js";
import type { PoolConfig, WarmupConfig } from "../core/model.js";

/** A warm-up ends this long before a start must. */
const MARGIN_MS = 500;

/** Returns what a process that was spawned at that time is asked for, and what is left of the time for it. */
export function warmupOf(
  spawnedAt: number,
  pool: Pick<PoolConfig, "warmup" | "policy"> | undefined,
): WarmupConfig | undefined {
  if (pool?.warmup == null) return undefined;
  const { paths, timeoutMs } = pool.warmup;
  const leftMs = Math.round(spawnedAt + pool.policy.readyTimeoutMs - MARGIN_MS - performance.now());
  return { paths, timeoutMs: Math.max(1, Math.min(timeoutMs, leftMs)) };
}

interface WarmUpOptions {
  paths: readonly string[];
  timeoutMs: number;
  /** Sends a GET; resolves with what is wrong with the response, undefined for any status below 500. */
  ask(path: string, timeoutMs: number): Promise<string | undefined>;
  /** Whether the instance has ended or is to end. */
  isOver(): boolean;
  now?: () => number;
}

/** Resolves with what went wrong, undefined if nothing did. A path that failed once is left out from then on. */
export async function warmUp(options: WarmUpOptions): Promise<string | undefined> {
  const { timeoutMs, ask, isOver, now = () => performance.now() } = options;
  const deadline = now() + timeoutMs;
  const problems: string[] = [];
  let paths = options.paths;
  let rounds: number[] = [];
  // Bounded by the deadline and by the number of rounds.
  while (paths.length > 0 && !hasSettled(rounds)) {
    const began = now();
    const served: string[] = [];
    for (const path of paths) {
      const leftMs = deadline - now();
      if (leftMs <= 0) return problems[0] ?? `has not settled within ${timeoutMs} ms`;
      const problem = await ask(path, Math.ceil(leftMs));
      if (isOver()) return undefined;
      if (problem === undefined) served.push(path);
      else problems.push(problem);
    }
    // Times of other paths cannot be compared.
    rounds = served.length < paths.length ? [] : [...rounds, now() - began];
    paths = served;
  }
  return problems.length > 1 ? `${problems[0]}, and ${problems.length - 1} more` : problems[0];
}
