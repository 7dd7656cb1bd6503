/** Runs one server alone, on a port or a socket, until a signal ends it. */
import { resolve } from "node:path";
import type { AppStyle } from "./app.js";
import { loadApp } from "./app-loader.js";
import { Drain } from "./drain.js";
import { exitOnUncaught } from "./fatal.js";
import type { ServerLimits } from "./limits.js";
import { describeAddress, type ServeAddress } from "./runtime/running-server.js";
import { serve } from "./serve.js";

export interface StandaloneOptions {
  /** The app module's path. */
  app: string;
  /** What its default export is to be taken for; by default its shape tells. */
  style?: AppStyle;
  address: ServeAddress;
  limits: Partial<ServerLimits>;
  drainTimeoutMs: number;
}

/**
 * Serves until SIGTERM or SIGINT; then drains and exits 0. A second signal exits at once, with status 1.
 *
 * @throws ServerError when the app cannot be loaded or the address not be listened on.
 */
export async function runStandalone(options: StandaloneOptions): Promise<void> {
  exitOnUncaught(async () => {});
  const app = await loadApp(resolve(options.app), options.style);
  // Without a deadline: whoever waits for the line that it listens can end it.
  if (app.start !== undefined) await (await import("./app-lifecycle.js")).startApp(app);
  const server = await serve(app, options);
  let drain: Drain | undefined;
  const stop = () => {
    if (drain !== undefined) process.exit(1);
    const begun = new Drain(server, {
      deadlineMs: options.drainTimeoutMs,
      untilReleased: false,
      onEnd: async (cut) => {
        if (cut > 0) console.error(`stopped at the deadline with ${cut} requests in flight`);
        if (app.stop !== undefined) await (await import("./app-lifecycle.js")).stopApp(app, begun.remainingMs);
        server.closeNow();
        process.exit(0);
      },
    });
    drain = begun;
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  console.log(`listening on ${describeAddress(server.address)}`);
}
