/** The parts of the Python package `fapws` that need no server: the interpreter runs each test file in this folder. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeEach, expect, test } from "vitest";
import { findPython } from "./python.js";

const TESTS = fileURLToPath(new URL("fapws/", import.meta.url));
const PACKAGES = fileURLToPath(new URL("../python/", import.meta.url));

const python = findPython();

beforeEach((context) => {
  if (python === undefined) context.skip("Python 3.9 or newer is not installed");
});

test.each(readdirSync(TESTS).filter((name) => name.startsWith("test_")))("%s", (name) => {
  const run = spawnSync(python as string, ["-W", "error", "-m", "unittest", name.replace(/\.py$/, "")], {
    cwd: TESTS,
    env: { ...process.env, PYTHONPATH: PACKAGES, PYTHONDONTWRITEBYTECODE: "1" },
    encoding: "utf8",
    timeout: 150_000,
  });
  expect(run.stderr).toMatch(/^OK$/m);
  expect(run.status).toBe(0);
});
