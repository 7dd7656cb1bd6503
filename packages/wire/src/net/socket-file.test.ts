/** Which socket files an orphan removes. */
import { existsSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { removeDeadSockets } from "./socket-file.js";

test("a socket file without a listener is removed, one with a listener stays", async () => {
  const folder = mkdtempSync(join(tmpdir(), "pl-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const [dead, live, absent] = ["dead", "live", "absent"].map((name) => join(folder, name)) as [string, string, string];
  for (const path of [dead, live]) {
    const server = createServer((socket) => socket.on("error", () => undefined));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    if (path === live) {
      onTestFinished(() => void server.close());
      continue;
    }
    // Node removes the file of a closed server; a killed server leaves it.
    renameSync(path, `${path}.kept`);
    await new Promise<void>((resolve) => void server.close(() => resolve()));
    renameSync(`${path}.kept`, path);
  }

  await removeDeadSockets([dead, live, absent]);
  expect([existsSync(dead), existsSync(live)]).toEqual([false, true]);
});
