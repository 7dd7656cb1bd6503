import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { takeLock } from "../run-dir/lock.js";
import { StartedFleet } from "./create-fleet.js";

test("a supervisor that exits without a message has lost to the running one, if there is one", async () => {
  const runDirPath = mkdtempSync(join(tmpdir(), "paceline-start-"));
  onTestFinished(() => rmSync(runDirPath, { recursive: true, force: true }));
  const exited = Promise.resolve({ code: null, signal: "SIGKILL" });
  const supervisor = { pid: 0, exited, notice: async () => "ended", output: () => "" };
  const fleet = new StartedFleet({ runDirPath } as never, supervisor as never, true);
  await expect(fleet.untilUp(1000)).rejects.toMatchObject({
    ...{ code: "failed", message: "the supervisor was killed by SIGKILL", lastLines: [] },
  });
  takeLock(runDirPath);
  const message = expect.stringMatching(`^already running \\(pid ${process.pid}\\) in `);
  await expect(fleet.untilUp(1000)).rejects.toMatchObject({ code: "running", message });
});
