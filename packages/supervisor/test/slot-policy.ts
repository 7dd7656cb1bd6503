/** The policy of the slots in tests of the core. */
import type { SlotPolicy } from "../src/core/process.js";

export const SLOT_POLICY: SlotPolicy = {
  readyTimeoutMs: 1000,
  stableAfterMs: 5000,
  drainTimeoutMs: 2000,
  termTimeoutMs: 500,
  killTimeoutMs: 300,
  hangAfterMs: 30_000,
  minReadyMs: 100,
  maxSurge: 1,
  backoff: { initialMs: 100, maxMs: 1000, factor: 2, jitter: 0 },
  restartBudget: { maxFailures: 3, periodMs: 10_000 },
  giveUp: true,
  isUpstream: true,
};
