/** The environment of all tests: run directories separate from the user's, frequent reports, fast runtimes. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), "pl-state-"));
  process.env.PACELINE_STATE_DIR = folder;
  // Otherwise, most tests that compare counters would wait for a second.
  process.env.PACELINE_REPORT_EVERY_MS = "250";
  // With this variable, each Node needs 64 ms of CPU time to start instead of 24. Commands that install from a registry get it back: see
  // processes.ts.
  const { NODE_EXTRA_CA_CERTS: certificates } = process.env;
  delete process.env.NODE_EXTRA_CA_CERTS;
  if (certificates !== undefined) process.env.TEST_EXTRA_CA_CERTS = certificates;
  const programs = mkdtempSync(join(tmpdir(), "pl-bin-"));
  preferSystemPython(programs);
  return () => {
    for (const each of [folder, programs]) rmSync(each, { recursive: true, force: true });
  };
}

const SYSTEM_PYTHON = "/usr/bin/python3";

/**
 * A version manager's python3 may be a script that finds the real one and takes 0.1 s of CPU time for each start; the system's takes 0.01
 * s.
 */
function preferSystemPython(folder: string): void {
  const program = "import sys\nassert sys.version_info >= (3, 9)";
  if (spawnSync(SYSTEM_PYTHON, ["-c", program]).status !== 0) return;
  symlinkSync(SYSTEM_PYTHON, join(folder, "python3"));
  process.env.PATH = `${folder}${delimiter}${process.env.PATH ?? ""}`;
}
