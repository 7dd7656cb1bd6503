import { mkdtempSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { OutputFile } from "./output.js";
import { OutputPoller, type OutputPollerOptions } from "./output-poller.js";

/** A poller of one file, and the number of its checks. */
function start(options: Partial<OutputPollerOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "output-"));
  const lines: string[] = [];
  const sink = { lines: (texts: string[]) => lines.push(...texts), lost: () => expect.unreachable("lines are lost") };
  const file = new OutputFile(join(folder, "out"), 1000, sink);
  const seen = { looks: 0 };
  const files = () => {
    seen.looks++;
    return [file];
  };
  const problem = (error: unknown) => expect.unreachable(`${error}`);
  const poller = new OutputPoller({ folder, files, isBusy: () => false, problem, pollMs: 1, ...options });
  poller.start();
  onTestFinished(() => {
    poller.stop();
    file.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { file, lines, seen };
}

test("while the log is busy nothing is read, and afterwards everything is", async () => {
  let isBusy = true;
  let asked = 0;
  const { file, lines } = start({
    isBusy: () => {
      asked++;
      return isBusy;
    },
  });
  writeSync(file.fd, "one\n");
  await expect.poll(() => asked).toBeGreaterThan(2);
  expect(lines).toEqual([]);
  isBusy = false;
  await expect.poll(() => lines).toEqual(["one"]);
});

test.runIf(process.platform === "linux")(
  "without output there are no checks, and new output is read immediately",
  async () => {
    const { file, lines, seen } = start();
    for (const text of ["one", "two", "three"]) {
      // Ten checks without news, and one after the watch has begun.
      await expect.poll(() => seen.looks).toBe(11);
      seen.looks = 0;
      writeSync(file.fd, `${text}\n`);
      await expect.poll(() => lines.at(-1)).toBe(text);
      // The successful check does not count for the next silence.
      seen.looks--;
    }
    expect(lines).toEqual(["one", "two", "three"]);
  },
);

test("the checks continue if nothing can be watched", async () => {
  const { file, lines, seen } = start({ folder: "/nowhere" });
  await expect.poll(() => seen.looks).toBeGreaterThan(30);
  writeSync(file.fd, "one\n");
  await expect.poll(() => lines).toEqual(["one"]);
});
