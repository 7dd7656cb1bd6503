/** Starts Debian's PostgreSQL for a test. */
import { onTestFinished, type TestContext } from "vitest";
import { startPostgres as start } from "../../bench/soak/object-store/postgres.mjs";

/** Skips the test if PostgreSQL is not installed; stops it after the test. */
export async function startPostgres(context: TestContext): Promise<{ url: string }> {
  const postgres = await start();
  if (postgres === undefined) context.skip("PostgreSQL is not installed");
  onTestFinished(() => postgres?.stop());
  return { url: (postgres as { url: string }).url };
}
