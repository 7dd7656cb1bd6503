/** The keys of `hooks`, commands that run once for each reload or deploy, and of `deploy.limits`. */
import { HOOK_NAMES, type HookName, type HooksConfig } from "../core/model.js";
import { DEFAULT_LIMITS } from "../core/verdict-model.js";
import { commandWords, count, fraction, milliseconds, table } from "./fields.js";
import { findProgram } from "./paths.js";

const TIMEOUT_MS = 600_000;

function hook(description: string) {
  return table(
    {
      command: commandWords('The program and its arguments, such as `["npm", "run", "migrate"]`.'),
      timeoutMs: milliseconds(
        TIMEOUT_MS,
        "How long the hook may take. Then all processes of its process group get SIGTERM, and 5 s later SIGKILL, and the hook has failed.",
      ),
    },
    description,
  );
}

export const hookFields = {
  before: hook("Runs before anything changes, such as a migration. If it fails, nothing is changed."),
  afterReady: hook(
    "Runs when the new instances of all pools serve, such as a smoke test. If it fails, the old version is restored.",
  ),
  after: hook("Runs when everything is done. A failure is only reported."),
  onFailure: hook("Runs after a reload or deploy that failed or was rolled back. A failure is only reported."),
} satisfies Record<HookName, unknown>;

type HooksInput = {
  [Name in HookName]?: { command?: string[] | undefined; timeoutMs?: number | undefined } | undefined;
};

/** Returns undefined if there are none. */
export function resolveHooks(
  given: HooksInput | undefined,
  { baseDir, searchPath }: { baseDir: string; searchPath: string },
  report: (path: string[], message: string) => void,
): HooksConfig | undefined {
  const hooks: HooksConfig = {};
  for (const name of HOOK_NAMES) {
    const keys = given?.[name];
    if (keys === undefined) continue;
    const [program, ...args] = keys.command ?? [];
    if (program === undefined) report(["hooks", name, "command"], "is missing");
    else {
      const found = findProgram(program, baseDir, searchPath);
      if (typeof found !== "string") report(["hooks", name, "command"], found.problem);
      else hooks[name] = { command: [found, ...args], timeoutMs: keys.timeoutMs ?? TIMEOUT_MS };
    }
  }
  return Object.keys(hooks).length === 0 ? undefined : hooks;
}

/** The keys of `deploy.limits`: how much worse a release may be than the one in service. */
const POINTS = { min: 0.01, max: 100 };
const FACTOR = { min: 1, max: 100 };

export const deployLimitFields = {
  errorPoints: fraction(
    DEFAULT_LIMITS.errorPoints,
    "By how many percentage points the share of responses with status 500 and above may rise.",
    POINTS,
  ),
  resetPoints: fraction(
    DEFAULT_LIMITS.resetPoints,
    "By how many percentage points the share of requests may rise that are lost or cut off because their process or its connection ended.",
    POINTS,
  ),
  p50Factor: fraction(
    DEFAULT_LIMITS.p50Factor,
    "By which factor the median duration of a route class may rise. The limit is this or `p50Ms`, whichever allows more.",
    FACTOR,
  ),
  p50Ms: milliseconds(DEFAULT_LIMITS.p50Ms, "By how many milliseconds the median duration may rise."),
  p99Factor: fraction(
    DEFAULT_LIMITS.p99Factor,
    "By which factor the 99th percentile of the durations of a route class may rise. The limit is this or `p99Ms`, whichever allows more.",
    FACTOR,
  ),
  p99Ms: milliseconds(DEFAULT_LIMITS.p99Ms, "By how many milliseconds the 99th percentile may rise."),
  crashes: count(
    DEFAULT_LIMITS.crashes,
    "How many more canaries may crash than processes of the version in service, if both groups are of the same size.",
    { min: 0, max: 1000 },
  ),
  memoryMbPerMinute: count(
    DEFAULT_LIMITS.memoryMbPerMinute,
    "How much faster the memory of a canary may grow than that of an equally old process of the version in service, in megabytes (10⁶ bytes) per minute.",
    { max: 100_000 },
  ),
};
