/** The environment of all tests: run directories apart from the user's, frequent reports, no certificates to read. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), "pl-state-"));
  process.env.PACELINE_STATE_DIR = folder;
  // Otherwise most tests that compare counters would wait for a second.
  process.env.PACELINE_REPORT_EVERY_MS = "250";
  // With it, each Node needs 64 ms of CPU to start instead of 24. What installs from a registry gets it back: see processes.ts.
  const { NODE_EXTRA_CA_CERTS: certificates } = process.env;
  delete process.env.NODE_EXTRA_CA_CERTS;
  if (certificates !== undefined) process.env.TEST_EXTRA_CA_CERTS = certificates;
  return () => rmSync(folder, { recursive: true, force: true });
}
