/** Keeps the run directories of all tests out of the user's state, and makes all processes report often. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), "pl-state-"));
  process.env.PACELINE_STATE_DIR = folder;
  // Otherwise most tests that compare counters would wait for a second.
  process.env.PACELINE_REPORT_EVERY_MS = "250";
  return () => rmSync(folder, { recursive: true, force: true });
}
