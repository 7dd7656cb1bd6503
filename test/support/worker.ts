/** What holds in every test file, in any worker and after any other files. */
import { statSync } from "node:fs";
import fc from "fast-check";
import { afterAll, vi } from "vitest";

/** Property tests try the same cases in each run. `SEED=7 npm test` tries others, and `npm run fuzz` searches for more. */
const SEED = 1;

fc.configureGlobal({ seed: Number(process.env.SEED ?? SEED) });

// Node 20 resolves no symbolic links of a module's path if the last file that was looked at in this process is a socket or a pipe
// (fs.realpathSync reads the shared result of that look), and then does not find the packages that the module imports.
statSync(import.meta.dirname);

const { cwd, exitCode } = { cwd: process.cwd(), exitCode: process.exitCode };
const environment = { ...process.env };
const real = { setTimeout, setInterval, setImmediate, Date, now: performance.now, random: Math.random };

/** Test files share their worker: a file that leaves it changed could make another one fail. */
afterAll(() => {
  const left: string[] = [];
  for (const name of new Set([...Object.keys(environment), ...Object.keys(process.env)])) {
    const before = environment[name];
    if (process.env[name] === before) continue;
    left.push(`process.env.${name}`);
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  }
  vi.restoreAllMocks();
  if (vi.isFakeTimers()) {
    left.push("fake timers");
    vi.useRealTimers();
  }
  const now = { setTimeout, setInterval, setImmediate, Date, now: performance.now, random: Math.random };
  for (const name of Object.keys(real) as (keyof typeof real)[]) if (now[name] !== real[name]) left.push(name);
  if (process.cwd() !== cwd) left.push("the working directory");
  if (process.exitCode !== exitCode) left.push("process.exitCode");
  process.chdir(cwd);
  process.exitCode = exitCode;
  if (left.length > 0) throw new Error(`this file leaves to the next one in its worker: ${left.join(", ")}`);
});
