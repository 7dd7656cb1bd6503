/** `serve` for those that import this package: most of them are apps, for which the server that serves them is there already. */
import type { App } from "../app/app.js";
import type { RunningServer } from "../http1/running-server.js";
import type { ServeOptions } from "../process/serve.js";

/**
 * Listens and serves.
 *
 * @throws ServerError `address-in-use` or `cannot-listen`
 */
export async function serve(app: App, options: ServeOptions): Promise<RunningServer> {
  // A module costs every process that loads it: an app that sets a timer has no use for this one.
  return (await import("../process/serve.js")).serve(app, options);
}
