/** Starts fleets of one Python app. */
import type { TestContext } from "vitest";
import { type Project, type RuntimeName, startFleet } from "./fleet.js";

export interface PythonApp {
  /** The Python that runs it; undefined where none can. */
  python: string | undefined;
  /** What is not installed then: the reason for which a test is skipped. */
  missing: string;
  /** What its pool, `web`, has beside the Python. */
  pool: Record<string, unknown>;
  files: Record<string, string>;
}

/** Makes the function that starts a fleet of it; `pool` is laid over the app's own, `config` over the project's. */
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
