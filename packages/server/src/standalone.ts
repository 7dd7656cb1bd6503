/** Runs one server alone, on a port or a socket, until a signal ends it. */
import { resolve } from "node:path";
import { loadApp } from "./app-loader.js";
import { backgroundWork, logLostWork } from "./background-work.js";
import { Drain } from "./drain.js";
import { exitOnUncaught } from "./fatal.js";
import { DEFAULT_LIMITS, type ServerLimits } from "./limits.js";
import { describeAddress, type ServeAddress } from "./runtime/running-server.js";
import { serve } from "./serve.js";

export interface StandaloneOptions {
  /** The app module's path. */
  app: string;
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
  const work = backgroundWork();
  work.limits = { ...DEFAULT_LIMITS, ...options.limits };
  const server = await serve(await loadApp(resolve(options.app)), options);
  work.requestActivity = server.activity;
  let drain: Drain | undefined;
  const stop = () => {
    if (drain !== undefined) {
      logLostWork();
      process.exit(1);
    }
    drain = new Drain(server, {
      deadlineMs: options.drainTimeoutMs,
      untilReleased: false,
      onEnd: (cut) => {
        if (cut > 0) console.error(`stopped at the deadline with ${cut} requests in flight`);
        server.closeNow();
        process.exit(0);
      },
    });
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  console.log(`listening on ${describeAddress(server.address)}`);
}
