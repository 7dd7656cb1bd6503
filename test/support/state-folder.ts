/** Keeps the run directories of all tests out of the user's own state. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), "pl-state-"));
  process.env.PACELINE_STATE_DIR = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
