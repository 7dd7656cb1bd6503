/** The keys of `hooks`: commands that run once for each reload or deploy. */
import { HOOK_NAMES, type HookName, type HooksConfig } from "../core/model.js";
import { commandWords, milliseconds, table } from "./fields.js";
import { findProgram } from "./paths.js";

const TIMEOUT_MS = 600_000;

function hook(description: string) {
  return table(
    {
      command: commandWords('The program and its arguments, such as `["npm", "run", "migrate"]`.'),
      timeoutMs: milliseconds(
        TIMEOUT_MS,
        "How long it may take. Then it and all processes of its process group get SIGTERM, and 5 s later SIGKILL; it has failed.",
      ),
    },
    description,
  );
}

export const hookFields = {
  before: hook("Runs before anything changes, such as a migration. If it fails, nothing is changed."),
  afterReady: hook(
    "Runs when the new instances of all pools serve, such as a smoke test. If it fails, the former version is restored.",
  ),
  after: hook("Runs when all is done. If it fails, that is only reported."),
  onFailure: hook("Runs after a reload or deploy that failed or was taken back. If it fails, that is only reported."),
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
