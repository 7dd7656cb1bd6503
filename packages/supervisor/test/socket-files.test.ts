/** Which socket files are removed, by each place that creates sockets, on both runtimes. */
import { execFile, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { findPython } from "../../server/test/python.js";

const run = promisify(execFile);
const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const bunPackage = `@oven/bun-${process.platform}-${process.arch === "arm64" ? "aarch64" : "x64"}/package.json`;
const RUNTIMES = {
  bun: join(dirname(createRequire(import.meta.url).resolve(bunPackage)), "bin", "bun"),
  node: process.env.PACELINE_TEST_NODE ?? process.execPath,
};
const PLACES = ["listen", "runDir", "server", "orphan"];
/** Held by a running process: a listener with a full backlog, sockets of other types, one with another name. */
const HELD = ["full", "datagram", "seqpacket", "bound", "relative", "linked"];
/** Nobody listens, although an accepted connection may exist. */
const STALE = ["ended", "accepted"];

/** An argument of the holder that would start a new line if it were printed unchanged. */
const HOSTILE = "\u001b[2J\n=";

test("only the file of a socket that no process has is removed", async (context) => {
  const python = process.platform === "linux" ? findPython() : undefined;
  if (python === undefined) return context.skip("needs Linux and Python");
  const folder = mkdtempSync(join(tmpdir(), "pl-files-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const cases = Object.keys(RUNTIMES).flatMap((runtime) =>
    PLACES.flatMap((place) =>
      [...HELD, ...STALE, ...(place === "runDir" ? [] : ["file"])].map((kind) => {
        const path = join(folder, `${runtime}-${place}-${kind}`, "control.sock");
        mkdirSync(dirname(path), { mode: 0o700 });
        return { runtime, place, kind, path };
      }),
    ),
  );
  const files = cases.map(({ kind, path }) => `${kind}=${path}`);
  const home = join(folder, "home");
  mkdirSync(home);
  copyFileSync(fixture("hold-sockets.py"), join(home, "hold.py"));
  const holder = spawn(python, ["hold.py", HOSTILE, ...files], {
    cwd: home,
    stdio: ["pipe", "pipe", "inherit"],
  });
  onTestFinished(() => void holder.kill("SIGKILL"));
  await new Promise((resolve, reject) => {
    holder.stdout.once("data", resolve);
    holder.once("error", reject).once("exit", reject);
  });

  const said: Record<string, string> = {};
  for (const [runtime, program] of Object.entries(RUNTIMES)) {
    const own = cases.filter((one) => one.runtime === runtime).map(({ place, path }) => `${place}=${path}`);
    const { stdout } = await run(program, [fixture("clear-socket-file.mjs"), ...own], { timeout: 60_000 });
    Object.assign(said, JSON.parse(stdout));
  }
  const remains = cases.filter(({ path }) => existsSync(path)).map(({ path }) => path);
  expect(remains).toEqual(cases.filter(({ kind }) => !STALE.includes(kind)).map(({ path }) => path));
  for (const { place, kind, path } of cases) {
    const message = said[path] ?? "";
    if (kind === "file" && place !== "orphan")
      expect(message).toBe(`cannot listen on unix:${path}: the file there is not a socket`);
    else if (!HELD.includes(kind) || place === "orphan" || place === "runDir")
      expect([path, message]).toEqual([path, "done"]);
    else if (place === "server") expect(message).toBe(`cannot listen on unix:${path}: it is in use`);
    else {
      // In one line, whatever the holder's arguments are.
      expect(message).toContain(`cannot listen on unix:${path}: it is held by pid ${holder.pid} (`);
      expect(message).toContain("\\x1b[2J\\n");
      expect(message).toMatch(/^[ -~]{1,300}…\)$/);
    }
  }
});
