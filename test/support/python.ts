/** Starts fleets of one Python app. */
import type { TestContext } from "vitest";
import { type Project, type RuntimeName, startFleet } from "./fleet.js";

export interface PythonApp {
  /** The Python interpreter; undefined if none is suitable. */
  python: string | undefined;
  /** The missing package, which is the reason for skipping a test. */
  missing: string;
  /** The keys of its pool `web`, except the interpreter. */
  pool: Record<string, unknown>;
  files: Record<string, string>;
}

/** Returns a function that starts a fleet of the app; `pool` overrides the app's pool, `config` the project's config. */
export function pythonFleets(app: PythonApp) {
  return (
    context: TestContext,
    runtime: RuntimeName,
    pool: Record<string, unknown>,
    config: Record<string, unknown> = {},
  ): Promise<Project> => {
    if (app.python === undefined) context.skip(app.missing);
    const pools = { web: { ...app.pool, python: app.python, ...pool } };
    return startFleet({ runtime, app: "", config: { pools, ...config }, files: app.files });
  };
}
